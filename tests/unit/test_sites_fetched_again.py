"""Where a tracer's handler fetches units again (3.11): on handlers made up here, whose next unit is in r10."""

from __future__ import annotations

from pathlib import Path

import pytest

from latency.cpython.sites.fetched_again import tracing_fetches
from latency.errors import UnsupportedBuild
from tests.unit.made_handlers import address_of, made_handlers

GOES_ON = "ffe0"  # jmp rax: the dispatch of a unit
FETCHES, FETCHES_BY_RDX = "410fb702", "0fb702"  # movzx eax, word [r10]; of [rdx]
COPIES, KEEPS, TAKES = "4c89d2", "4c895424 08", "488b542408"  # mov rdx, r10; mov [rsp + 8], r10; mov rdx, [rsp + 8]
LOSES = "4989c2"  # mov r10, rax
OTHERS = {"NOP": f"4983c202 {FETCHES} {GOES_ON}"}


def fetches(directory: Path, code: dict[str, str]) -> list[int]:
    """How far behind the beginning of DO_TRACING they are, in bytes."""
    found = made_handlers(directory, {**OTHERS, **code})
    start = address_of(found, {**OTHERS, **code}, "DO_TRACING")
    return [address - start for address in tracing_fetches(found)]


def test_the_first_fetch_on_each_way_is_one(tmp_path: Path) -> None:
    # je to the other fetch; what is fetched behind the first one is no further one
    code = {"DO_TRACING": f"7406 {FETCHES} {GOES_ON} {FETCHES} {FETCHES} {GOES_ON}"}
    assert fetches(tmp_path, code) == [6, 12]


@pytest.mark.parametrize(
    ("before", "size"),
    [(f"{COPIES} {LOSES}", 6), (f"{KEEPS} {LOSES} {TAKES}", 13), (f"{KEEPS} {LOSES} e800000000 {TAKES}", 18)],
    ids=["in another register", "on the stack", "across a call"],
)
def test_the_unit_is_followed_where_it_is_moved_to(tmp_path: Path, before: str, size: int) -> None:
    assert fetches(tmp_path, {"DO_TRACING": f"{before} {FETCHES_BY_RDX} {GOES_ON}"}) == [size + 3]


@pytest.mark.parametrize(
    "before",
    [LOSES, f"{COPIES} {LOSES} e800000000", f"{KEEPS} {LOSES} 4889442408"],  # mov [rsp + 8], rax
    ids=["overwritten", "lost by a call", "overwritten on the stack"],
)
def test_a_unit_that_is_lost_before_it_is_fetched_is_refused(tmp_path: Path, before: str) -> None:
    with pytest.raises(UnsupportedBuild, match="fetches units for tracers where pylat cannot follow"):
        fetches(tmp_path, {"DO_TRACING": f"{before} {TAKES} {FETCHES_BY_RDX} {GOES_ON}"})


def test_a_fetch_that_other_handlers_come_to_is_refused(tmp_path: Path) -> None:
    code = {"DO_TRACING": "90 jmp:fetching", "POP_TOP": "4983c202 jmp:fetching", "fetching": f"{FETCHES} {GOES_ON}"}
    with pytest.raises(UnsupportedBuild, match=r"fetches units for tracers before .* and others there as well"):
        fetches(tmp_path, code)
    assert fetches(tmp_path, {**code, "POP_TOP": OTHERS["NOP"]}) != []
