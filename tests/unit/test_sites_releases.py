"""Where frames give back their code objects, and that nothing is watched where that does not show: made-up code."""

from __future__ import annotations

from pathlib import Path

import pytest

from latency.cpython.offsets import Offsets, load
from latency.cpython.sites import Place, Role, SitePlan
from latency.cpython.sites.code import Code
from latency.cpython.sites.releases import releasing
from latency.errors import UnsupportedBuild
from latency.target.elf import Image
from tests.unit.made_handlers import address_of, assembled, made_handlers

KEEPS = "53 4889f3"  # push rbx; mov rbx, rsi: the frame
LOADS = "488b3b"  # mov rdi, [rbx]: its code object
COUNTS = "832f01"  # sub dword [rdi], 1
# mov rax, [rdi]; test eax, eax; js +6; sub rax, 1; mov [rdi], rax (not at once: it is immortal)
COUNTS_UNLESS_IMMORTAL = "488b07 85c0 7807 4883e801 488907"
ASKS = "807e4600"  # cmp byte [rsi + 0x46], 0
RELEASES = f"{KEEPS} {LOADS} {COUNTS} 5b c3"


@pytest.fixture(scope="module")
def offsets() -> Offsets:
    return load((3, 13, 5))


def found_in(
    directory: Path, offsets: Offsets, monkeypatch: pytest.MonkeyPatch, code: dict[str, str], roles: dict[Role, str]
) -> str:
    """The part in which frames are released, of parts that are functions; sites lie at the beginnings of parts."""
    found = made_handlers(directory, {**code, "NOP": "90"})
    begins = {name: address_of(found, {**code, "NOP": "90"}, name) for name in code}
    sizes = {name: len(part) for name, part in assembled(code).items()}

    def code_range(_: Image, address: int) -> tuple[int, int] | None:
        ranges = ((begin, begin + sizes[name]) for name, begin in begins.items())
        return next((each for each in ranges if each[0] <= address < each[1]), None)

    monkeypatch.setattr(Image, "code_range", code_range)
    at = {role: begins[name] for role, name in roles.items()}
    sites = tuple(found.code.site(role, role.value, address, found.code.at(address)) for role, address in at.items())
    plan = SitePlan("handlers", sites, {"entry.frame": Place("rbp")}, "oparg")
    around = releasing(Code(found.code.image), plan, offsets)
    (name,) = [name for name, begin in begins.items() if (begin, begin + sizes[name]) == around]
    return name


@pytest.mark.parametrize(
    "clear",
    [
        RELEASES,
        f"{KEEPS} {LOADS} {COUNTS_UNLESS_IMMORTAL} 5b c3",
        f"{KEEPS} {ASKS} 7402 5b c3 {LOADS} {COUNTS} 5b c3",  # clang: the end of one way lies before the other
        f"{KEEPS} {LOADS} 4883e7fc {COUNTS} 5b c3",  # and rdi, -4
        # mov [rsp + 8], rsi; call; mov rsi, [rsp + 8]; mov rdi, [rsi]
        f"4883ec18 4889742408 call:other 488b742408 488b3e {COUNTS} 4883c418 c3",
    ],
    ids=["at once", "unless immortal", "behind a return", "tagged", "of a frame on the stack"],
)
def test_a_function_that_releases_frames_is_watched_itself(
    tmp_path: Path, offsets: Offsets, monkeypatch: pytest.MonkeyPatch, clear: str
) -> None:
    code = {"clear": clear, "other": RELEASES}
    assert found_in(tmp_path, offsets, monkeypatch, code, {Role.EXIT: "clear"}) == "clear"


@pytest.mark.parametrize("goes", ["jmp:thread", "call:thread c3"], ids=["goes on there", "calls it"])
def test_where_it_only_goes_on_to_another_that_one_is_watched(
    tmp_path: Path, offsets: Offsets, monkeypatch: pytest.MonkeyPatch, goes: str
) -> None:
    code = {"clear": f"{ASKS} jne:generator {goes}", "generator": "c3", "thread": RELEASES}
    assert found_in(tmp_path, offsets, monkeypatch, code, {Role.EXIT: "clear"}) == "thread"


def test_where_there_are_only_copies_what_all_of_them_call_is_watched(
    tmp_path: Path, offsets: Offsets, monkeypatch: pytest.MonkeyPatch
) -> None:
    # jne over the call; mov rsi, rbp; call. The other one has its call on the other way
    code = {
        "value": "7508 4889ee call:thread c3",
        "unwinding": "7401 c3 4889ee call:thread c3",
        "thread": RELEASES,
    }
    roles = {Role.RETURN: "value", Role.RAISE: "unwinding"}
    assert found_in(tmp_path, offsets, monkeypatch, code, roles) == "thread"


@pytest.mark.parametrize(
    ("code", "roles", "why"),
    [
        ({"clear": f"{ASKS} c3"}, {Role.EXIT: "clear"}, "does not show one function"),
        ({"clear": f"{KEEPS} {LOADS} 5b c3"}, {Role.EXIT: "clear"}, "does not show"),
        ({"clear": f"{KEEPS} 488b7b08 {COUNTS} 5b c3"}, {Role.EXIT: "clear"}, "does not show"),
        ({"clear": f"{KEEPS} {LOADS} 4889c7 {COUNTS} 5b c3"}, {Role.EXIT: "clear"}, "does not show"),
        ({"clear": f"4889742408 50 488b742408 488b3e {COUNTS} c3"}, {Role.EXIT: "clear"}, "does not show"),
        (
            {"clear": "jne:other jmp:thread", "other": RELEASES, "thread": RELEASES},
            {Role.EXIT: "clear"},
            "does not show one",
        ),
        (
            {"value": "7500 call:thread c3", "unwinding": "7500 call:other c3", "other": RELEASES, "thread": RELEASES},
            {Role.RETURN: "value", Role.RAISE: "unwinding"},
            "does not show one",
        ),
        (
            {"clear": RELEASES, "value": "7500 c3"},
            {Role.EXIT: "clear", Role.RETURN: "value"},
            "frames in return",
        ),
    ],
    ids=[
        *("nothing is released", "the count does not change", "another member's count", "another object's count"),
        "the stack has moved",
        *("in two functions", "copies that differ", "copies beside the function"),
    ],
)
def test_what_does_not_show_one_place_is_not_watched(
    tmp_path: Path,
    offsets: Offsets,
    monkeypatch: pytest.MonkeyPatch,
    code: dict[str, str],
    roles: dict[Role, str],
    why: str,
) -> None:
    with pytest.raises(UnsupportedBuild, match=why):
        found_in(tmp_path, offsets, monkeypatch, code, roles)
