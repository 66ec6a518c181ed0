"""Where the thread state and the frame are at a marker in a function of its own: on code made up here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from latency.cpython.offsets import Offsets, load
from latency.cpython.sites import Place, SitePlan
from latency.cpython.sites.code import Code, Instruction
from latency.cpython.sites.marker_functions import _at_marker, _counted_in, _frame
from latency.errors import UnsupportedBuild
from latency.target.elf import Image
from latency.tracing.counted.parameters import cflags
from tests.unit.elf_builder import ALLOC, CODE, Elf, Section

Assemble = Callable[[str], tuple[Image, list[Instruction]]]

# 3.15.2 of Debian: push rbp; mov rbp, rsp; push r14; push r13; mov r13, rdi; push r12; push rbx; mov r12, [rdi]
SAVES_R12 = "55 4889e5 4156 4155 4989fd 4154 53 4c8b27"
COUNTS_IN_R12 = "4183442434 01"  # add dword ptr [r12 + 0x34], 1


@pytest.fixture(scope="module")
def offsets() -> Offsets:
    return load((3, 15, 2))


@pytest.fixture
def assembled(tmp_path: Path) -> Assemble:
    """``assembled("90 c3")``: the image, and the instructions up to the return."""

    def make(hexadecimal: str) -> tuple[Image, list[Instruction]]:
        elf = Elf([Section(".text", bytes.fromhex(hexadecimal), flags=ALLOC | CODE)])
        (tmp_path / "image").write_bytes(elf.build())
        image = Image.open(tmp_path / "image")
        return image, list(Code(image).straight(elf[".text"].address))

    return make


def test_the_frame_is_the_argument_where_it_survives(assembled: Assemble, offsets: Offsets) -> None:
    image, steps = assembled(SAVES_R12 + "90 c3")
    assert _frame(image, steps[:-1], offsets) == "r13"


@pytest.mark.parametrize(
    "code",
    ["55 4989fd 90 c3", "55 4989fd 4c8b27 4d31ed 90 c3", "55 4c8b27 90 c3"],
    ids=["nothing asks for its code object", "the copy is overwritten", "no copy outlives a call"],
)
def test_what_is_not_plainly_a_frame_is_refused(assembled: Assemble, offsets: Offsets, code: str) -> None:
    image, steps = assembled(code)
    with pytest.raises(UnsupportedBuild, match="keeps no frame"):
        _frame(image, steps[:-1], offsets)


@pytest.mark.parametrize(
    ("code", "place"),
    [
        (COUNTS_IN_R12, Place("r12")),
        ("488b45d0 83403401", Place("rbp", (-0x30,))),  # mov rax, [rbp - 0x30]; add dword ptr [rax + 0x34], 1
        ("4d31e4" + COUNTS_IN_R12, None),  # xor r12, r12
        ("83403401", None),  # rax did not outlive the call
        ("488b45d0 31c0 83403401", None),  # overwritten in between
        ("488b00 83403401", None),  # from where a register that did not outlive it points to
    ],
    ids=["register", "stack frame", "register changed", "no register", "load lost", "load from nowhere"],
)
def test_the_callers_show_the_thread_state(
    assembled: Assemble, offsets: Offsets, code: str, place: Place | None
) -> None:
    _, steps = assembled(code + "c3")
    assert _counted_in(steps, offsets) == place


@pytest.mark.parametrize(
    ("code", "place", "found"),
    [
        (SAVES_R12, Place("r12"), Place("rsp", (8,))),
        (SAVES_R12 + "4883ec10", Place("r12"), Place("rsp", (0x18,))),  # sub rsp, 0x10
        (SAVES_R12, Place("rbp", (-0x128,)), Place("rsp", (0x20, -0x128))),
        (SAVES_R12, Place("r15"), Place("r15")),
    ],
    ids=["saved", "below locals", "in the caller's stack frame", "not touched"],
)
def test_the_thread_state_is_where_the_function_saved_it(
    assembled: Assemble, code: str, place: Place, found: Place
) -> None:
    image, steps = assembled(code + "90 c3")
    assert _at_marker(image, steps[:-1], place) == found


@pytest.mark.parametrize(
    ("code", "place"),
    [("4d31e4", Place("r12")), ("4154 58", Place("rbx")), ("53", Place("rbp", (-8,)))],
    ids=["overwritten, not saved", "pops", "a stack frame that nothing points to"],
)
def test_a_thread_state_that_is_lost_is_refused(assembled: Assemble, code: str, place: Place) -> None:
    image, steps = assembled(code + "90 c3")
    with pytest.raises(UnsupportedBuild):
        _at_marker(image, steps[:-1], place)


def test_a_path_of_reads_is_told_to_the_program_and_to_people(offsets: Offsets) -> None:
    plan = SitePlan("usdt", (), {"exit.tstate": Place("rsp", (48, -0x128))}, "owner", resume_opcodes=(128, 244))
    flags = cflags(offsets, plan, every_function=True)
    expected = {
        "EXIT_TSTATE_LOADS=2",
        "EXIT_TSTATE_AT=48",
        "EXIT_TSTATE_BESIDE=-296",
        "RESUME_1=128",
        "RESUME_2=244",
        "RESUME_3=-1",
    }
    assert {f"-DPYLAT_{each}" for each in expected} <= set(flags)
    assert str(plan.places["exit.tstate"]) == "[[rsp+0x30]-0x128]"
    assert SitePlan.from_json(plan.to_json()) == plan
