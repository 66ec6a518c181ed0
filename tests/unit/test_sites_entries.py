"""Where an entry is seen, and what its unit is read from: on handlers made up here, by the code of real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from latency.cpython.offsets import load
from latency.cpython.sites import Place, Role, SitePlan
from latency.cpython.sites.dispatch import Handlers, _registers, falls_into
from latency.cpython.sites.entries import entry_sites
from latency.errors import UnsupportedBuild
from latency.target.elf import Image
from latency.tracing.counted.parameters import PT_REGS, cflags
from latency.tracing.probes.calibration import NOP, _instruction
from tests.unit.made_handlers import made_handlers

Handled = Callable[..., Handlers]

# gcc: mov [rbx + 0x38], r12; add r12, 2; je +0; ret
STORES_FIRST = "4c896338 4983c402 7400 c3"
# clang 21, 3.13.5: mov rax, rbp; mov rbp, r10; mov [rsp + 0x10], rax
COPIES = "4889e8 4c89d5 4889442410"
# mov [rax + 0x38], r10; lea rbx, [r10 + 2]; mov rax, [rsp + 8]; jne +0; ret
THEN_STORES = "4c895038 498d5a02 488b442408 7500 c3"
# mov [rbp + 0x38], r10; lea rbx, [r10 + 2]; mov rax, [rsp + 8]; jne +0; ret
STORES_AND_KEEPS = "4c895538 498d5a02 488b442408 7500 c3"
CALL, JUMP, NOP_OF_4 = "e8 00000000", "eb fe", "0f1f4000"


@pytest.fixture
def handled(tmp_path: Path) -> Handled:
    """``handled(RESUME="90 c3")``: see ``made_handlers``."""

    def make(frame: str = "rbp", next_instr: str = "r10", **code: str) -> Handlers:
        return made_handlers(tmp_path, code, frame=frame, next_instr=next_instr)

    return make


def test_a_unit_is_read_from_the_frame_where_the_store_can_be_passed(handled: Handled) -> None:
    found = handled("rbx", "r12", RESUME=STORES_FIRST)
    (site,), registers = entry_sites(found)
    assert registers == {"entry.frame": Place("rbx")}
    assert site.instruction.startswith("je")
    assert site.role is Role.ENTRY


def test_where_it_cannot_the_unit_is_in_next_instr_at_the_first_instruction(handled: Handled) -> None:
    found = handled(RESUME=COPIES + THEN_STORES)
    (site,), registers = entry_sites(found)
    assert registers == {"entry.frame": Place("rbp"), "entry.next_instr": Place("r10")}
    assert (site.address, site.emulated) == (site.start, False)


def test_an_emulated_instruction_is_taken_while_both_registers_hold(handled: Handled) -> None:
    found = handled(RESUME=COPIES + THEN_STORES, RESUME_CHECK=STORES_AND_KEEPS)
    (_, check), registers = entry_sites(found)
    assert "entry.next_instr" in registers
    assert check.emulated
    found = handled(RESUME=COPIES + THEN_STORES, RESUME_CHECK="4c895538 4983c202 7500 c3")  # add r10, 2
    (_, check), _ = entry_sites(found)
    assert check.address == check.start


def test_an_instruction_that_others_jump_to_is_not_taken(handled: Handled) -> None:
    # jne back to the jne of RESUME_CHECK
    found = handled(RESUME=COPIES + THEN_STORES, RESUME_CHECK=STORES_AND_KEEPS, behind="75 fb c3")
    (_, check), _ = entry_sites(found)
    assert check.address == check.start


@pytest.mark.parametrize(
    "code",
    [
        COPIES + "48895038 7500 c3",  # mov [rax + 0x38], rdx
        COPIES + "488b442408 4c895038 7500 c3",  # mov rax, [rsp + 8] before the store
        COPIES + "7500 4c895038 c3",  # jne before the store
        "488b442438 4c895038 7500 c3",  # the frame lies on the stack: mov rax, [rsp + 0x38]
        "4983c202" + COPIES + THEN_STORES,  # next_instr has gone on: add r10, 2
    ],
    ids=["another value", "another frame", "only on one way", "frame in no register", "the next unit"],
)
def test_a_handler_that_does_not_show_both_registers_is_refused(handled: Handled, code: str) -> None:
    with pytest.raises(UnsupportedBuild, match=r"RESUME handler at 0x\w+ that does not store next_instr \(r10\)"):
        entry_sites(handled(RESUME=code))


def test_a_handler_that_others_jump_to_is_refused(handled: Handled) -> None:
    found = handled(RESUME=COPIES + THEN_STORES, other="eb e3")
    with pytest.raises(UnsupportedBuild, match="jumps to its RESUME handler"):
        entry_sites(found)


@pytest.mark.parametrize("padding", ["", NOP_OF_4], ids=["close", "aligned"])
def test_a_handler_that_other_code_runs_into_is_refused(handled: Handled, padding: str) -> None:
    with pytest.raises(UnsupportedBuild, match="runs into its RESUME handler"):
        entry_sites(handled(before="4c89d5" + padding, RESUME=COPIES + THEN_STORES))


@pytest.mark.parametrize("before", [JUMP, "c3", "0f0b", "ffe0" + NOP_OF_4, CALL])
def test_code_that_goes_elsewhere_may_lie_before_it(handled: Handled, before: str) -> None:
    """A call too, as long as next_instr does not outlive it."""
    assert entry_sites(handled(before=before, RESUME=COPIES + THEN_STORES))


def test_a_call_behind_which_both_registers_would_still_hold_is_refused(handled: Handled) -> None:
    # mov rax, rbx; mov rbx, r12; mov [rax + 0x38], r12; jne
    code = "4889d8 4c89e3 4c896038 7500 c3"
    with pytest.raises(UnsupportedBuild, match="runs into"):
        entry_sites(handled("rbx", "r12", before=CALL, RESUME=code))


@pytest.mark.parametrize(
    ("function", "returns"),
    [("ebfe", False), ("c3", True), ("eb20", True), ("ffe0", True)],
    ids=["loops for ever", "returns", "goes elsewhere", "goes who knows where"],
)
def test_a_call_that_never_returns_is_known_by_its_function(
    handled: Handled, monkeypatch: pytest.MonkeyPatch, function: str, returns: bool
) -> None:
    size = len(bytes.fromhex(function))
    before = "e8" + (-5 - size & 0xFFFFFFFF).to_bytes(4, "little").hex()
    found = handled(function=function, before=before, RESUME="c3")
    begin = found.sweep.lines[0].address
    monkeypatch.setattr(Image, "code_range", lambda *_: (begin, begin + size))
    assert (falls_into(found, found.by_name["RESUME"]) is not None) == returns


def test_the_registers_are_those_that_return_value_begins_with(handled: Handled) -> None:
    found = handled(RETURN_VALUE="4c895538 4d8b73f8 c3")  # mov [rbp + 0x38], r10; mov r14, [r11 - 8]
    assert _registers(found.code.image, found.code, found.by_name["RETURN_VALUE"], 0x38) == ("rbp", "r10", "r11")


def test_a_frame_that_has_to_be_loaded_first_is_refused(handled: Handled) -> None:
    # clang 21, 3.11.2: mov rdx, [rsp + 0x38]; mov [rdx + 0x38], rbp; mov rbx, [r14 - 8]
    found = handled(RETURN_VALUE="488b542438 48896a38 498b5ef8 c3")
    with pytest.raises(UnsupportedBuild, match=r"frames in no register .*: mov rdx, qword ptr \[rsp \+ 0x38\]"):
        _registers(found.code.image, found.code, found.by_name["RETURN_VALUE"], 0x38)


def test_the_program_is_told_of_next_instr_only_where_it_is_needed() -> None:
    registers = {"entry.frame": Place("rbp"), "exit.frame": Place("rsi"), "exit.tstate": Place("rdi")}
    plain = cflags(load((3, 13, 5)), SitePlan("handlers", (), registers, "oparg"), every_function=True)
    registers = {**registers, "entry.next_instr": Place("r10")}
    more = cflags(load((3, 13, 5)), SitePlan("handlers", (), registers, "oparg"), every_function=True)
    assert f"-DPYLAT_ENTRY_NEXT_INSTR={PT_REGS['r10']}" in more
    assert all("ENTRY_NEXT_INSTR" in flag for flag in set(more) - set(plain))


def test_a_resume_that_turns_itself_into_another_does_not_make_a_hit_dear(handled: Handled) -> None:
    sites, registers = entry_sites(handled(RESUME=COPIES + THEN_STORES, RESUME_CHECK=STORES_AND_KEEPS))
    assert _instruction(SitePlan("handlers", tuple(sites), registers, "oparg"), Role.ENTRY) == NOP
    sites, registers = entry_sites(handled(RESUME=COPIES + THEN_STORES))
    assert _instruction(SitePlan("handlers", tuple(sites), registers, "oparg"), Role.ENTRY) != NOP
