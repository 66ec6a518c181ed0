"""Where an entry is seen, and what its unit is read from: on handlers made up here, by the code of real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from latency.cpython.offsets import load
from latency.cpython.sites import Place, Role, Site, SitePlan
from latency.cpython.sites.choose import _is_cheap
from latency.cpython.sites.dispatch import Handlers, _places, falls_into
from latency.cpython.sites.entries import entry_sites
from latency.errors import UnsupportedBuild
from latency.target.elf import Image
from latency.tracing.counted.parameters import PT_REGS, cflags
from latency.tracing.probes.calibration import NOP, _instruction
from tests.unit.made_handlers import address_of, made_handlers, place

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
    code = {"function": function, "before": before, "RESUME": "c3"}
    found = handled(**code)
    begin = address_of(found, code, "function")
    monkeypatch.setattr(Image, "code_range", lambda *_: (begin, begin + size))
    assert (falls_into(found, found.by_name["RESUME"]) is not None) == returns


@pytest.mark.parametrize(
    ("code", "frame", "next_instr", "stack_pointer"),
    [
        ("4c895538 4d8b73f8 c3", "rbp", "r10", "r11"),  # mov [rbp + 0x38], r10; mov r14, [r11 - 8]
        # gcc 14: mov rsi, [rsp]; mov r12, [rbx - 8]; mov [rsi + 0x38], r15
        ("488b3424 4c8b63f8 4c897e38 c3", "rsp+0", "r15", "rbx"),
        # clang 21, 3.11.2: mov rdx, [rsp + 0x38]; mov [rdx + 0x38], rbp; mov rbx, [r14 - 8]
        ("488b542438 48896a38 498b5ef8 c3", "rsp+56", "rbp", "r14"),
        # mov rax, [rbp - 0x28]; mov rcx, r14; add r14, 2; mov [rax + 0x38], rcx; mov rdx, [rbx - 8]
        ("488b45d8 4c89f1 4983c602 48894838 488b53f8 c3", "rbp-40", "r14", "rbx"),
        # mov rax, [rsp + 8]; mov rcx, [rsp + 16]; mov [rax + 0x38], rcx; mov rdx, [rsp + 24]; mov rdx, [rdx - 8]
        ("488b442408 488b4c2410 48894838 488b542418 488b52f8 c3", "rsp+8", "rsp+16", "rsp+24"),
        # clang 22 -O1: mov [rsp + 0x38], r15; mov [r11 + 0x38], r9; mov r14, [r8 - 8]
        ("4c897c2438 4d894b38 4d8b70f8 c3", "r11", "r9", "r8"),
        # mov [rbp + 0x38], r15; mov rax, [rbp - 8]; mov rax, [rbp - 0x28]; mov [rax + 0x38], r14; mov rdx, [rbx - 8]
        ("4c897d38 488b45f8 488b45d8 4c897038 488b53f8 c3", "rbp-40", "r14", "rbx"),
    ],
    ids=[
        *("registers", "the stack", "clang", "beside a frame pointer", "nothing in a register"),
        *("behind a local variable", "behind others beside a frame pointer"),
    ],
)
def test_the_places_are_those_that_return_value_begins_with(
    handled: Handled, code: str, frame: str, next_instr: str, stack_pointer: str
) -> None:
    found = handled(RETURN_VALUE=code)
    places = _places(found.code, found.by_name["RETURN_VALUE"], 0x38, frame_pointer=frame.startswith("rbp-"))
    assert places == (place(frame), place(next_instr), place(stack_pointer))


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("488b5308 48896a38 498b5ef8 c3", "frames in no place"),  # mov rdx, [rbx + 8]: of another frame
        ("48891424 488b1424 48896a38 498b5ef8 c3", "frames in no place"),  # mov [rsp], rdx; mov rdx, [rsp]
        ("488b55d8 48896a38 498b5ef8 c3", "frames in no place"),  # mov rdx, [rbp - 0x28], and rbp is no frame pointer
        ("50 488b542438 48896a38 498b5ef8 c3", "frames in no place"),  # push rax before it
        ("4883c502 48896a38 498b5ef8 c3", "next unit in no place"),  # add rbp, 2
        ("48896c2438 498b5ef8 c3", "shows no frame"),  # mov [rsp + 0x38], rbp
    ],
)
def test_a_frame_or_unit_that_no_one_place_holds_is_refused(handled: Handled, code: str, what: str) -> None:
    found = handled(RETURN_VALUE=code)
    with pytest.raises(UnsupportedBuild, match=what):
        _places(found.code, found.by_name["RETURN_VALUE"], 0x38, frame_pointer=False)


# gcc 14, 3.13.5: mov rax, [rsp]; mov [rax + 0x38], r15; lea rax, [r15 + 2]; mov [rsp + 0x10], rax; je +0; ret
ON_THE_STACK = "488b0424 4c897838 498d4702 4889442410 7400 c3"


def test_a_frame_on_the_stack_is_read_from_there(handled: Handled) -> None:
    (site,), places = entry_sites(handled("rsp+0", "r15", RESUME=ON_THE_STACK))
    assert places == {"entry.frame": Place("rsp", (0,))}
    assert site.instruction.startswith("je")


@pytest.mark.parametrize(
    "store",
    ["48890424", "c7042400000000", "c644240700", "0f110424", "4889440424", "4883ec08", "50"],
    ids=["the word", "its lower half", "a byte of it", "more", "somewhere beside", "the stack pointer", "a push"],
)
def test_a_site_lies_before_what_may_change_the_place(handled: Handled, store: str) -> None:
    before = "488b0424 4c897838"  # mov rax, [rsp]; mov [rax + 0x38], r15
    (site,), _ = entry_sites(handled("rsp+0", "r15", RESUME=f"{before} {store} 7400 c3"))
    assert site.address - site.start == len(bytes.fromhex(before))
    (site,), _ = entry_sites(handled("rsp+0", "r15", RESUME=f"{before} 48894424f8 4889442408 7400 c3"))
    assert site.emulated  # the words beside it may change


def test_a_unit_that_is_stored_before_the_place_is_read_again_is_not_followed(handled: Handled) -> None:
    with pytest.raises(UnsupportedBuild, match="RESUME handler"):
        # mov [rsp], rax; mov rax, [rsp]; mov [rax + 0x38], r15
        entry_sites(handled("rsp+0", "r15", RESUME="48890424 488b0424 4c897838 7400 c3"))


# clang 23, 3.11: where a frame starts: lea rsi, [r15 + 0x38]; mov [rsp + 0x28], rsi; mov [rsp + 0x18], r15; jmp rax
STARTS = "498d7738 4889742428 4c897c2418 ffe0"
# mov rax, [rsp + 0x28]; mov [rax], rbp; add rbp, 2; je +0; ret
THROUGH_A_POINTER = "488b442428 48896d00 4883c502 7400 c3".replace("48896d00", "488928")


@pytest.mark.parametrize("start", [STARTS, STARTS.replace("ffe0", "4983c748 ffe0")], ids=["at once", "goes on with it"])
def test_a_unit_can_be_stored_through_a_pointer_to_it(handled: Handled, start: str) -> None:
    (site,), places = entry_sites(handled("rsp+24", "rbp", start=start, RESUME_QUICK=THROUGH_A_POINTER))
    assert places == {"entry.frame": Place("rsp", (24,))}
    assert site.emulated


def test_such_a_pointer_is_known_of_a_frame_in_a_register_too(handled: Handled) -> None:
    # clang 19: lea rsi, [r12 + 0x38]; mov [rsp + 0x28], rsi; jmp to the dispatch
    code = {"start": "498d7424384889742428 eb01 90 ffe0", "RESUME_QUICK": THROUGH_A_POINTER}
    (site,), places = entry_sites(handled("r12", "rbp", **code))
    assert places == {"entry.frame": Place("r12")}
    assert site.emulated


@pytest.mark.parametrize(
    "start",
    [
        "498d7748 4889742428 4c897c2418 ffe0",  # of another member
        "498d7638 4889742428 4c897c2418 ffe0",  # of another frame
        "498d7738 4831f6 4889742428 4c897c2418 ffe0",  # xor rsi, rsi
        "498d7738 4889742428 4c897c2418 7400 ffe0",  # not on each way
        "498d7738 4889742428 4c897c2418 4c89742418 ffe0",  # mov [rsp + 0x18], r14: another frame gets there
        "498d7738 4889742428 4c897c2418 488944242c ffe0",  # mov [rsp + 0x2c], rax: half of it changes
        "498d7738 4889742430 4c897c2418 ffe0",  # to another word
        "498d7738 4889742428 ffe0",  # the frame does not get to its place
        "498d7738 4889742428 4983c748 4c897c2418 ffe0",  # add r15, 0x48: something else gets there
    ],
)
def test_a_pointer_to_something_else_is_not_taken_for_it(handled: Handled, start: str) -> None:
    with pytest.raises(UnsupportedBuild, match="RESUME_QUICK handler"):
        entry_sites(handled("rsp+24", "rbp", start=start, RESUME_QUICK=THROUGH_A_POINTER))


def test_two_opcodes_of_one_handler_have_one_site(handled: Handled) -> None:
    found = handled("rbx", "r12", RESUME_CHECK=STORES_FIRST)
    found.by_name["RESUME_CHECK_JIT"] = found.by_name["RESUME_CHECK"]
    ((site,), _) = entry_sites(found)
    assert site.name == "RESUME_CHECK"


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


@pytest.mark.parametrize(
    ("stepped", "cheap"),
    [
        (["RESUME"], False),
        (["RESUME", "RESUME_CHECK emulated"], True),
        (["RESUME", "RESUME_QUICK emulated", "INSTRUMENTED_RESUME"], True),
        (["RESUME emulated", "RESUME_CHECK"], False),
    ],
)
def test_an_engine_is_dear_by_what_runs_usually(stepped: list[str], cheap: bool) -> None:
    sites = [Site(Role.ENTRY, each.split()[0], 0, 0, 0, "nop", emulated="emulated" in each) for each in stepped]
    assert _is_cheap(SitePlan("handlers", tuple(sites), {}, "oparg")) is cheap
