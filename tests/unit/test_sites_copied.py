"""Copies of handlers in others, which a profile makes of builds with tail calls: on code made up here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from latency.cpython.sites.copied import require_no_copies, words_of_the_frame
from latency.errors import UnsupportedBuild
from latency.target.elf import Image
from tests.unit.made_handlers import address_of, assembled, made_handlers

FETCHES = "410fb707 0fb6c8"  # movzx eax, word [r15]; movzx ecx, al
IS_RESUME = "3c95"  # cmp al, 0x95
GOES_ON = "ff24ca"  # jmp [rdx + 8 * rcx]
LEAVES = "4883c410 5d"  # add rsp, 0x10; pop rbp
STORES = "4d897c2438"  # mov [r12 + 0x38], r15
RESUME = f"{STORES} {GOES_ON}"


def require(directory: Path, code: dict[str, str]) -> None:
    """On these handlers; RESUME has the number 0x95."""
    found = replace(made_handlers(directory, code, frame="r12", next_instr="r15"), numbers={"RESUME": 0x95, "NOP": 1})
    require_no_copies(found, found.sweep.lines, ("RESUME",))


@pytest.mark.parametrize(
    "code",
    [
        {"NOP": f"{FETCHES} {GOES_ON}", "RESUME": RESUME},
        {"NOP": f"{FETCHES} {IS_RESUME} je:leaving {GOES_ON}", "leaving": f"{LEAVES} jmp:RESUME", "RESUME": RESUME},
        {"NOP": f"{FETCHES} {IS_RESUME} 7502 eb03 {GOES_ON}", "RESUME": RESUME},  # jne over a jump there
        {"NOP": f"{FETCHES} 3c94 7501 c3 {GOES_ON}", "RESUME": RESUME},
        {"NOP": f"{FETCHES} b095 {IS_RESUME} 7501 c3 {GOES_ON}", "RESUME": RESUME},  # mov al, 0x95
        {"NOP": f"85c0 {IS_RESUME} 7501 c3 {FETCHES} {GOES_ON}", "RESUME": RESUME},
    ],
    ids=[
        *("all by the table", "it leads there", "it leads there, at once", "another opcode", "another value"),
        "before the fetch",
    ],
)
def test_a_comparison_that_leads_to_the_handler_itself_makes_no_copy(tmp_path: Path, code: dict[str, str]) -> None:
    require(tmp_path, code)


@pytest.mark.parametrize(
    "nop",
    [
        f"{FETCHES} {IS_RESUME} 7508 {RESUME} {GOES_ON}",
        f"{FETCHES} {IS_RESUME} 7403 {GOES_ON} {RESUME}",
        f"{FETCHES} 81f995000000 7508 {RESUME} {GOES_ON}",  # cmp ecx, 0x95
        f"{FETCHES} 3c01 7403 {IS_RESUME} 7408 {RESUME} {GOES_ON}",  # one comparison behind another
        f"41803f95 7508 {RESUME} {FETCHES} {GOES_ON}",  # cmp byte [r15], 0x95
        f"{FETCHES} {IS_RESUME} 0f94c2 {GOES_ON}",  # sete dl: whatever that leads to
    ],
    ids=["not equal over it", "equal to it", "of a copy of the opcode", "the second", "in memory", "no jump"],
)
def test_a_comparison_that_leads_anywhere_else_is_refused(tmp_path: Path, nop: str) -> None:
    with pytest.raises(UnsupportedBuild, match=r"has copies of its RESUME handler in others, at 0x\w+"):
        require(tmp_path, {"NOP": nop, "RESUME": RESUME})


def test_who_takes_the_handlers_address_to_compare_it_is_refused(tmp_path: Path) -> None:
    code = {"NOP": f"{FETCHES} 488d1500000000 {GOES_ON}", "RESUME": RESUME}  # lea rdx, [rip + …]
    found = made_handlers(tmp_path, code)
    distance = address_of(found, code, "RESUME") - address_of(found, code, "NOP") - 14
    code["NOP"] = f"{FETCHES} 488d15{distance.to_bytes(4, 'little').hex()} {GOES_ON}"
    with pytest.raises(UnsupportedBuild, match="has copies of its RESUME handler"):
        require(tmp_path, code)


KEEPS = "4c8965f8"  # mov [rbp - 8], r12


def words(directory: Path, monkeypatch: pytest.MonkeyPatch, code: dict[str, str]) -> frozenset[tuple[str, int]]:
    """Of a handler CALL, of which ``behind`` is the end; ``cold`` lies elsewhere."""
    found = made_handlers(directory, code, frame="r12", next_instr="r15")
    begins = {name: address_of(found, code, name) for name in code}
    cold = begins.get("cold", 1 << 32)

    def code_range(_: Image, address: int) -> tuple[int, int]:
        return (begins["CALL"], cold) if address < cold else (cold, cold + len(assembled(code)["cold"]))

    monkeypatch.setattr(Image, "code_range", code_range)
    return words_of_the_frame(found, begins["CALL"])


@pytest.mark.parametrize(
    "call",
    [f"{KEEPS} c3", f"85c0 7402 90 90 {KEEPS} 4c8b65f8 c3", "4d89e2 4c8955f8 c3", f"{KEEPS} 488945f0 c3"],
    ids=["at once", "behind a branch", "by a copy of its register", "beside another word"],
)
def test_a_word_that_is_written_to_once_has_what_was_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    assert words(tmp_path, monkeypatch, {"CALL": call}) == {("rbp", -8)}


@pytest.mark.parametrize(
    "code",
    [
        {"CALL": f"{KEEPS} 488945f8 c3"},  # mov [rbp - 8], rax
        {"CALL": f"{KEEPS} c645fb00 c3"},  # mov byte [rbp - 5], 0
        {"CALL": f"{KEEPS} {KEEPS} c3"},
        {"CALL": f"4989c4 {KEEPS} c3"},  # mov r12, rax
        {"CALL": "488945f8 c3"},
        {"CALL": "4c8963f8 c3"},  # mov [rbx - 8], r12
        {"CALL": f"{KEEPS} je:cold 90", "behind": "90 c3", "cold": "488945f8 jmp:behind"},
    ],
    ids=[
        *("another value too", "a part of it", "twice", "another value in its register", "another register"),
        *("no word of the stack", "elsewhere"),
    ],
)
def test_other_words_may_hold_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: dict[str, str]) -> None:
    assert words(tmp_path, monkeypatch, code) == frozenset()
