"""Which code fetches units: the handlers', its parts elsewhere, and that of who has the table of handlers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latency.cpython.sites.dispatch import Handlers
from latency.cpython.sites.fetches import MOST_PARTS, fetching, homes_at_fetches
from latency.cpython.sites.plan import Place
from latency.errors import UnsupportedBuild
from latency.target.elf import Image
from tests.unit.made_handlers import address_of, assembled, made_handlers

DISPATCHES = "410fb607 ff24c1"  # movzx eax, byte [r15]; jmp [rcx + 8 * rax]
TABLE = 0x123456
TAKES_THE_TABLE = f"b9{TABLE.to_bytes(4, 'little').hex()}"  # mov ecx, the table
CALLS_A_HANDLER = "ff14c1"  # call [rcx + 8 * rax]


Stretches = dict[str, tuple[int, int]]


def in_stretches(
    directory: Path, monkeypatch: pytest.MonkeyPatch, code: dict[str, str], **of_handlers: Any
) -> tuple[Handlers, Stretches]:
    """Handlers, and where each part lies: a stretch of its own. ``hidden`` is in no table of the unwinder's."""
    found = made_handlers(directory, code, frame="r12", next_instr="r15")
    ranges, at = {}, address_of(found, code, next(iter(code)))
    for name, part in assembled(code).items():
        ranges[name] = (at, at + len(part))
        at += len(part)

    def code_range(_: Image, address: int) -> tuple[int, int] | None:
        return next((each for name, each in ranges.items() if name != "hidden" and each[0] <= address < each[1]), None)

    monkeypatch.setattr(Image, "code_range", code_range)
    handlers = tuple(each for name, each in ranges.items() if name.isupper())
    return replace(found, parts=handlers, sweep=found.code.sweep(handlers), **of_handlers), ranges


def fetched_in(
    directory: Path, monkeypatch: pytest.MonkeyPatch, code: dict[str, str], *, table: int = TABLE
) -> list[str]:
    """The parts that fetch units."""
    found, ranges = in_stretches(directory, monkeypatch, code, table=table)
    names = {each: name for name, each in ranges.items()}
    return [names[part] for part in fetching(found)]


def homes_in(
    directory: Path, monkeypatch: pytest.MonkeyPatch, code: dict[str, str], **of_handlers: Any
) -> dict[str, str]:
    """Where frames lie at fetches, by the instruction."""
    found, _ = in_stretches(directory, monkeypatch, code, table=TABLE, **of_handlers)
    homes = dict(homes_at_fetches(found, fetching(found)))
    return {
        f"{line.mnemonic} {line.operands}": str(homes[line.address + line.size])
        for line in found.sweep.lines
        if line.address + line.size in homes
    }


def test_parts_that_jump_back_or_go_on_themselves_belong_to_the_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = {"NOP": f"je:cold jne:far {DISPATCHES}", "cold": "90 jmp:NOP", "far": DISPATCHES}
    assert fetched_in(tmp_path, monkeypatch, code) == ["NOP", "cold", "far"]


def test_parts_of_parts_belong_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = {"NOP": f"je:cold {DISPATCHES}", "cold": "je:far jmp:NOP", "far": "90 jmp:cold"}
    assert fetched_in(tmp_path, monkeypatch, code) == ["NOP", "cold", "far"]


@pytest.mark.parametrize(
    "code",
    [
        {"NOP": f"call:other {DISPATCHES}", "other": DISPATCHES},
        {"NOP": f"je:other {DISPATCHES}", "other": "90 c3"},
        {"NOP": f"je:other {DISPATCHES}", "other": "ff2510000000"},  # jmp [rip + 0x10]: by the global offset table
        {"NOP": f"je:hidden {DISPATCHES}", "hidden": "ff2510000000"},
        {"NOP": f"je:other {DISPATCHES}", "other": "ffe0"},  # jmp rax
    ],
    ids=["called", "what goes nowhere", "what another file has", "the linkage table", "what goes anywhere"],
)
def test_other_functions_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: dict[str, str]) -> None:
    if "hidden" in code:
        monkeypatch.setattr("latency.cpython.sites.code.Code.lands", lambda _, address: address + 1)
    assert fetched_in(tmp_path, monkeypatch, code) == ["NOP"]


def test_of_one_function_any_part_that_goes_on_belongs_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = {"NOP": f"je:far {DISPATCHES}", "far": "410fb607 ffe0"}  # jmp rax
    found, ranges = in_stretches(tmp_path, monkeypatch, code)
    inside = replace(found, by_name={"NOP": ranges["NOP"][0] + 1})
    assert fetching(inside) == (ranges["NOP"], ranges["far"])


def test_handlers_that_are_functions_each_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = dict.fromkeys(("NOP", "POP_TOP", "RESUME"), DISPATCHES)
    assert fetched_in(tmp_path, monkeypatch, code) == ["NOP", "POP_TOP", "RESUME"]


def test_so_do_labels_that_they_jump_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = {
        "NOP": f"je:error {DISPATCHES}",
        "error": "90 jmp:unwinding",
        "unwinding": f"je:leaving {DISPATCHES}",
        "leaving": "85c0 je:error c3",
    }
    assert fetched_in(tmp_path, monkeypatch, code) == ["NOP", "error", "unwinding", "leaving"]


@pytest.mark.parametrize(
    "function",
    [f"{TAKES_THE_TABLE} 410fb607 {CALLS_A_HANDLER} c3", f"{TAKES_THE_TABLE} call:start c3"],
    ids=["a copy of a label", "calls one"],
)
def test_so_does_who_begins_with_the_table_of_handlers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    code = {"NOP": DISPATCHES, "function": function, "start": DISPATCHES, "other": f"410fb607 {CALLS_A_HANDLER} c3"}
    assert fetched_in(tmp_path, monkeypatch, code) == [
        *("NOP", "function"),
        *(["start"] if "call:start" in function else []),
    ]


def test_the_table_may_be_named_by_its_distance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # lea rcx, [rip + 0x100000], 7 bytes long
    code = {"NOP": DISPATCHES, "function": f"488d0d00001000 {CALLS_A_HANDLER} c3"}
    found = made_handlers(tmp_path, code)
    behind = address_of(found, code, "function") + 7
    assert fetched_in(tmp_path, monkeypatch, code, table=behind + 0x100000) == ["NOP", "function"]


def test_what_only_names_that_address_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = {"NOP": DISPATCHES, "function": f"{TAKES_THE_TABLE} call:other c3", "other": "c3"}
    assert fetched_in(tmp_path, monkeypatch, code) == ["NOP"]


def test_a_jump_to_code_of_no_known_bounds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnsupportedBuild, match=r"goes on at 0x\w+, outside of the unwinder's table"):
        fetched_in(tmp_path, monkeypatch, {"NOP": f"je:hidden {DISPATCHES}", "hidden": "90 jmp:NOP"})


def test_more_stretches_than_there_is_room_for_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = dict.fromkeys(map("part{}".format, range(MOST_PARTS)), "90 jmp:NOP")
    with pytest.raises(UnsupportedBuild, match=f"in more than {MOST_PARTS:,} stretches"):
        fetched_in(tmp_path, monkeypatch, {"NOP": " ".join(f"je:{name}" for name in parts), **parts})


FETCHES = "410fb73f"  # movzx edi, word [r15]
TAKES_IT_BACK = "4c8b642408"  # mov r12, [rsp + 8]
GOES_ON = "400fb6c7 4883c418 ff24c1"  # movzx eax, dil; add rsp, 0x18; jmp [rcx + 8 * rax]


def test_the_word_from_which_the_frame_is_loaded_behind_a_fetch_is_its_home_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = {"CALL": f"{FETCHES} {TAKES_IT_BACK} {GOES_ON}", "NOP": DISPATCHES}
    assert homes_in(tmp_path, monkeypatch, code) == {"movzx edi, word ptr [r15]": "[rsp+0x8]"}


def test_each_handler_has_a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # mov rbp, rsp; movzx eax, word [r15]; mov r12, [rbp - 0x10]
    code = {"CALL": f"{FETCHES} {TAKES_IT_BACK} {GOES_ON}", "NOP": f"4889e5 410fb707 4c8b65f0 {GOES_ON}"}
    homes = {"movzx edi, word ptr [r15]": "[rsp+0x8]", "movzx eax, word ptr [r15]": "[rbp-0x10]"}
    assert homes_in(tmp_path, monkeypatch, code) == homes


def test_it_may_be_loaded_where_the_code_jumps_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = {"CALL": f"{FETCHES} jmp:end", "NOP": f"90 {TAKES_IT_BACK} {GOES_ON}", "end": f"{TAKES_IT_BACK} {GOES_ON}"}
    assert homes_in(tmp_path, monkeypatch, code) == {"movzx edi, word ptr [r15]": "[rsp+0x8]"}


@pytest.mark.parametrize(
    "call",
    [
        f"{TAKES_IT_BACK} {FETCHES} {GOES_ON}",
        f"{FETCHES} 4989c4 {TAKES_IT_BACK} {GOES_ON}",  # mov r12, rax
        f"{FETCHES} 4883c410 {TAKES_IT_BACK} {GOES_ON}",  # add rsp, 0x10
        f"{FETCHES} 4889442408 {TAKES_IT_BACK} {GOES_ON}",  # mov [rsp + 8], rax
        f"{FETCHES} 4c8b6308 {TAKES_IT_BACK} {GOES_ON}",  # mov r12, [rbx + 8]
        f"498b3f {TAKES_IT_BACK} {GOES_ON}",  # mov rdi, [r15]: four units
        f"488d3f {TAKES_IT_BACK} {GOES_ON}",  # lea rdi, [rdi]
    ],
    ids=[
        *("loaded before", "another value", "the stack moves", "written to", "no word of the stack"),
        *("no unit is read", "nothing is read"),
    ],
)
def test_otherwise_there_is_no_such_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    assert homes_in(tmp_path, monkeypatch, {"CALL": call, "NOP": DISPATCHES}) == {}


def test_so_it_is_in_handlers_of_one_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = {"CALL": f"{FETCHES} {TAKES_IT_BACK} {GOES_ON}"}
    found, ranges = in_stretches(tmp_path, monkeypatch, code)
    (begin, end), *_ = ranges.values()
    behind = begin + len(bytes.fromhex(FETCHES))
    inside = replace(found, by_name={"CALL": behind}, parts=((begin, end),))
    assert homes_at_fetches(inside, inside.parts) == ((behind, Place("rsp", (8,))),)
    assert homes_at_fetches(replace(found, frame=Place("rsp", (8,))), found.parts) == ()


@pytest.mark.parametrize("frame", ["r12", "rbp"])
def test_a_frame_that_is_loaded_from_another_one_was_no_word_of_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frame: str
) -> None:
    load = {"r12": "4c8b6508", "rbp": "488b6d08"}[frame]  # mov frame, [rbp + 8]: rbp is no frame pointer
    code = {"CALL": f"{FETCHES} {load} {GOES_ON}"}
    found, _ = in_stretches(tmp_path, monkeypatch, code, frame=Place(frame))
    assert homes_at_fetches(found, found.parts) == ()
