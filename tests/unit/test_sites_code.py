"""Machine code around a site is read right: on instructions made up here, assembled by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from latency.cpython.sites import Role
from latency.cpython.sites.code import (
    Code,
    copies,
    emulated,
    first_emulated,
    full_register,
    is_branch,
    is_jump,
    memory,
    register,
    target,
    text,
    written,
)
from latency.errors import MalformedImage, PylatError
from latency.target.elf import Image
from tests.unit.elf_builder import ALLOC, CODE, Elf, Section

Assemble = Callable[[str], tuple[Code, int]]


@pytest.fixture
def assembled(tmp_path: Path) -> Assemble:
    """``assembled("90 c3")``: the code, and the address at which it begins."""

    def make(hexadecimal: str) -> tuple[Code, int]:
        elf = Elf([Section(".text", bytes.fromhex(hexadecimal), flags=ALLOC | CODE)])
        (tmp_path / "image").write_bytes(elf.build())
        return Code(Image.open(tmp_path / "image")), elf[".text"].address

    return make


@pytest.mark.parametrize(
    ("part", "whole"),
    [
        *(("al", "rax"), ("eax", "rax"), ("ah", "rax"), ("bx", "rbx"), ("dil", "rdi"), ("spl", "rsp")),
        *(("r8d", "r8"), ("r15b", "r15"), ("r10w", "r10"), ("rbp", "rbp"), ("r12", "r12")),
    ],
)
def test_a_part_of_a_register_is_the_whole(part: str, whole: str) -> None:
    assert full_register(part) == whole


@pytest.mark.parametrize(
    "code",
    ["90", "53", "41 57", "e8 00000000", "e9 00000000", "eb 00", "75 00", "0f 84 00000000"],
    ids=["nop", "push rbx", "push r15", "call", "jmp", "jmp short", "jne", "je near"],
)
def test_what_the_kernel_emulates_is_known(assembled: Assemble, code: str) -> None:
    made, start = assembled(code)
    assert emulated(made.at(start))


@pytest.mark.parametrize(
    "code",
    ["f3 0f 1e fa", "48 89 fb", "48 8d 05 00000000", "5b", "c3", "f2 e9 00000000", "ff e0", "ff d0", "66 90"],
    ids=["endbr64", "mov", "lea", "pop", "ret", "bnd jmp", "jmp rax", "call rax", "nop of 2"],
)
def test_what_it_single_steps_is_not_taken_for_emulated(assembled: Assemble, code: str) -> None:
    made, start = assembled(code)
    assert not emulated(made.at(start))


def test_operands_are_read(assembled: Assemble) -> None:
    made, start = assembled("48 89 43 38")  # mov [rbx + 0x38], rax
    step = made.at(start)
    assert memory(step, 0) == ("rbx", 0x38)
    assert register(step, 1) == "rax"
    assert register(step, 0) is None
    assert memory(step, 5) is None
    assert text(step) == "mov qword ptr [rbx + 0x38], rax"


def test_half_a_register_is_no_pointer(assembled: Assemble) -> None:
    made, start = assembled("89 c3")  # mov ebx, eax
    assert register(made.at(start), 0) is None
    assert written(made.at(start)) == {"rbx"}


def test_a_call_changes_what_the_abi_lets_it(assembled: Assemble) -> None:
    made, start = assembled("e8 00000000")
    changed = written(made.at(start))
    assert {"rax", "rdi", "r11"} <= changed
    assert not {"rbx", "rbp", "r12"} & changed
    assert target(made.at(start)) == start + 5


def test_jumps_and_branches_are_told_apart(assembled: Assemble) -> None:
    made, start = assembled("eb 02 75 fc")
    assert is_jump(made.at(start))
    assert not is_branch(made.at(start))
    assert is_branch(made.at(start + 2))


def test_a_straight_line_ends_at_a_return_or_a_jump_and_follows_it_if_asked(assembled: Assemble) -> None:
    made, start = assembled("90 eb 01 cc 53 c3")  # nop; jmp +1; int3; push rbx; ret
    assert [text(step).split()[0] for step in made.straight(start)] == ["nop", "jmp"]
    assert [text(step).split()[0] for step in made.straight(start, follow=True)] == ["nop", "jmp", "push", "ret"]


def test_a_loop_of_jumps_is_not_followed_for_ever(assembled: Assemble) -> None:
    made, start = assembled("eb fe")
    assert len(list(made.straight(start, follow=True, limit=10))) == 10


def test_copies_of_an_argument_are_followed_until_they_are_overwritten(assembled: Assemble) -> None:
    # mov rbx, rsi; xor esi, esi; mov r12, rbx; mov rbx, rax; ret
    made, start = assembled("48 89 f3 31 f6 49 89 dc 48 89 c3 c3")
    held = [set(holders) for _, holders in copies(made.straight(start), "rsi")]
    assert held == [{"rsi"}, {"rsi", "rbx"}, {"rbx"}, {"rbx", "r12"}, {"r12"}]


def test_the_first_emulated_instruction_is_taken_while_the_register_still_holds(assembled: Assemble) -> None:
    made, start = assembled("48 89 f3 53 c3")  # mov rbx, rsi; push rbx
    steps = list(made.straight(start))
    found = first_emulated(copies(steps, "rsi"), lambda _, held: "rsi" in held)
    assert found is not None
    assert found[0].address == start + 3
    assert first_emulated(copies(steps, "rsi"), lambda _, held: "rbx" in held) is None


def test_a_site_knows_its_place_in_the_file(assembled: Assemble) -> None:
    made, start = assembled("53 c3")
    site = made.site(Role.ENTRY, "name", start, made.at(start))
    assert site.emulated
    assert site.instruction == "push rbx"
    assert made.image.offset_of(site.address) == site.offset


def test_a_sweep_knows_who_jumps_into_a_stretch(assembled: Assemble) -> None:
    made, start = assembled("90 53 75 fd e8 00000000 eb f4 c3")  # nop; push; jne push; call; jmp far back; ret
    sweep = made.sweep([(start, start + 12)])
    assert sweep.jumps_into(start + 1, start + 1) == {start + 2}
    assert sweep.jumps_into(start + 4, start + 8) == set()


def test_no_code_is_no_instruction(assembled: Assemble) -> None:
    made, start = assembled("06 06")  # not an instruction in 64-bit mode
    with pytest.raises(PylatError):
        made.at(start)
    with pytest.raises(MalformedImage):
        made.at(start + (1 << 40))
