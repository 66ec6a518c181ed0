"""Where frames end, and that every way out has its end: on handlers made up here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from latency.cpython.offsets import Offsets, load
from latency.cpython.sites import Place, Role, Site
from latency.cpython.sites.code import Code, Line
from latency.cpython.sites.dispatch import Handlers
from latency.cpython.sites.endings import Endings, ending_sites, endings
from latency.errors import UnsupportedBuild
from latency.target.elf import Image
from latency.target.symbols import Symbol
from tests.unit.made_handlers import address_of, made_handlers

GOES_ON = "ffe0"  # jmp rax: the dispatch of another unit
ASKS, ASKS_R12 = "807d4600", "41807c244600"  # cmp byte [rbp + 0x46], 0: owner; of the frame in r12
COUNTS = "41ff422c"  # inc dword [r10 + 0x2c]: the recursion
FUNCTION = "807e4600 c3"  # cmp byte [rsi + 0x46], 0; ret
COPY = f"{ASKS} 7501 90 {GOES_ON}"  # jne over a nop
UNWINDING = f"{COUNTS} {ASKS_R12} 7501 c3 c3"
# call; test eax, eax; jne to where exceptions go
CALLBACK = "call:callback 85c0 jne:unwinding"
GENERATOR = {"RETURN_GENERATOR": GOES_ON, "callback": "c3"}
RAISES = {"RAISE_VARARGS": "7402 ffe0 jmp:unwinding", "RERAISE": "jmp:unwinding"}

# As gcc makes it: all call the function
CALLING = {
    "function": FUNCTION,
    "RETURN_VALUE": f"{COUNTS} call:function {GOES_ON}",
    "INSTRUMENTED_RETURN_VALUE": f"{CALLBACK} {COUNTS} call:function {GOES_ON}",
    **RAISES,
    **GENERATOR,
    "unwinding": f"{COUNTS} call:function c3",
}
# As it does where the function is called from nowhere else: all ask by themselves
COPIED = {
    "RETURN_VALUE": COPY,
    "RETURN_CONST": "jmp:RETURN_VALUE",
    "INSTRUMENTED_RETURN_VALUE": f"{CALLBACK} {COPY}",
    **RAISES,
    **GENERATOR,
    "unwinding": UNWINDING,
}
# 3.11: cmp byte [rbp + 0x44], 0: is_entry; inc dword [r13 + 0x20]
ENTRY_QUESTION = "807d4400 7501 c3"
OLD = {
    "RETURN_VALUE": f"7402 eb00 {ENTRY_QUESTION} {GOES_ON}",
    **RAISES,
    "RETURN_GENERATOR": f"{ENTRY_QUESTION} {GOES_ON}",
    "CALL": "call:callback 85c0 jne:refused ffe0",
    "callback": "c3",
    "refused": f"41ff4520 {ENTRY_QUESTION} c3",
    "unwinding": f"41ff4520 {ENTRY_QUESTION} c3",
}


_RET = Line(0, 1, "ret", "")


@pytest.fixture(scope="module")
def offsets() -> Offsets:
    return load((3, 13, 5))


@pytest.fixture(scope="module")
def old() -> Offsets:
    return load((3, 11, 2))


def found_in(directory: Path, offsets: Offsets, code: dict[str, str]) -> tuple[Handlers, Endings]:
    found = made_handlers(directory, code)
    return found, endings(found, offsets)


def sites(directory: Path, offsets: Offsets, code: dict[str, str]) -> tuple[list[Site], dict[str, Place]]:
    found, ends = found_in(directory, offsets, code)
    return ending_sites(found, offsets, ends)


def test_a_function_that_all_call_has_the_only_site(tmp_path: Path, offsets: Offsets) -> None:
    found, ends = found_in(tmp_path, offsets, CALLING)
    ((site,), places) = ending_sites(found, offsets, ends)
    assert (site.role, site.start) == (Role.EXIT, address_of(found, CALLING, "function"))
    assert places == {"exit.frame": Place("rsi"), "exit.tstate": Place("rdi")}
    assert len(ends.lines) == 3
    assert (len(ends.plain), len(ends.returns), len(ends.raises)) == (1, 2, 1)


def test_each_copy_has_its_site_at_the_answer_whose_frame_it_is(tmp_path: Path, offsets: Offsets) -> None:
    made, places = sites(tmp_path, offsets, COPIED)
    assert [(site.role, site.name) for site in made] == [
        (Role.RETURN, "RETURN_VALUE"),
        (Role.RETURN, "INSTRUMENTED_RETURN_VALUE"),
        (Role.RAISE, "exit_unwind"),
    ]
    assert all(site.emulated and site.instruction.startswith("jne") for site in made)
    assert places == {"return.frame": Place("rbp"), "raise.frame": Place("r12"), "raise.tstate": Place("r10")}


def test_copies_and_calls_can_stand_side_by_side(tmp_path: Path, offsets: Offsets) -> None:
    code = {**CALLING, "INSTRUMENTED_RETURN_VALUE": COPIED["INSTRUMENTED_RETURN_VALUE"], "unwinding": UNWINDING}
    made, _ = sites(tmp_path, offsets, code)
    assert [site.role for site in made] == [Role.EXIT, Role.RETURN, Role.RAISE]


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"RETURN_VALUE": f"{COUNTS} call:function {GOES_ON}", "RETURN_CONST": GOES_ON}, "RETURN_CONST"),
        ({"RETURN_VALUE": f"{COUNTS} 7405 call:function {GOES_ON}"}, "RETURN_VALUE"),
        ({"INSTRUMENTED_RETURN_VALUE": f"{CALLBACK} {GOES_ON}"}, "INSTRUMENTED_RETURN_VALUE"),
        ({"INSTRUMENTED_RETURN_VALUE": "jmp:unwinding"}, "INSTRUMENTED_RETURN_VALUE"),
        ({"INSTRUMENTED_RETURN_VALUE": f"{CALLBACK} c3"}, "INSTRUMENTED_RETURN_VALUE"),
        ({"unwinding": "c3"}, "by an exception"),
        ({"unwinding": "ffe0"}, "by an exception"),
        ({"RERAISE": "7401 c3 jmp:unwinding"}, "by an exception"),
    ],
    ids=[
        *("nothing is called", "one way goes past it", "an instrumented return goes on", "it only fails"),
        *("it leaves the function", "exceptions leave unseen", "they never leave", "one exception leaves unseen"),
    ],
)
def test_a_way_out_without_an_end_is_refused(
    tmp_path: Path, offsets: Offsets, changed: dict[str, str], where: str
) -> None:
    with pytest.raises(UnsupportedBuild, match=rf"leaves frames (in )?{where}.* pylat does not know, at 0x"):
        found_in(tmp_path, offsets, {**CALLING, **changed})


def test_a_copy_that_no_way_leads_to_is_refused(tmp_path: Path, offsets: Offsets) -> None:
    with pytest.raises(UnsupportedBuild, match="leaves frames in a way"):
        found_in(tmp_path, offsets, {**COPIED, "elsewhere": COPY})


def test_a_frame_in_two_registers_is_refused(tmp_path: Path, offsets: Offsets) -> None:
    code = {**COPIED, "INSTRUMENTED_RETURN_VALUE": f"{CALLBACK} {ASKS_R12} 7501 90 {GOES_ON}"}
    with pytest.raises(UnsupportedBuild, match=r"its return\.frame in rbp at one site and in r12 at another"):
        sites(tmp_path, offsets, code)


# mov rbp, [rsp + 8]; mov r12, [rsp + 8]: the interpreter keeps the frame there
LOADS, LOADS_R12 = "488b6c2408", "4c8b642408"
TWICE = {
    **COPIED,
    "RETURN_VALUE": f"{LOADS} jne:unwinding {COPY}",  # a conditional jump may lie between
    "INSTRUMENTED_RETURN_VALUE": f"{CALLBACK} {LOADS_R12} {ASKS_R12} 7501 90 {GOES_ON}",
}


def test_a_frame_in_two_registers_is_read_where_both_were_loaded_from(tmp_path: Path, offsets: Offsets) -> None:
    made, places = sites(tmp_path, offsets, TWICE)
    assert [site.role for site in made] == [Role.RETURN, Role.RETURN, Role.RAISE]
    assert places["return.frame"] == Place("rsp", (8,))


@pytest.mark.parametrize(
    "code",
    [
        {"RETURN_VALUE": f"{LOADS} 48896c2408 {COPY}"},  # mov [rsp + 8], rbp
        {"RETURN_VALUE": f"{LOADS[:-2]}10 {COPY}"},  # from [rsp + 0x10]
        {"RETURN_VALUE": f"{LOADS} 4889c5 {COPY}"},  # mov rbp, rax
        {"RETURN_VALUE": f"7405 {LOADS} {COPY}"},  # je over the load
        {"POP_TOP": LOADS, "RETURN_VALUE": COPY},  # loaded by whom runs into it
    ],
    ids=["stored to", "from another word", "from elsewhere", "not on each way", "not by its own handler"],
)
def test_a_word_that_may_hold_another_frame_is_no_place(tmp_path: Path, offsets: Offsets, code: dict[str, str]) -> None:
    ordered = {**{name: text for name, text in code.items() if name not in TWICE}, **TWICE, **code}
    with pytest.raises(UnsupportedBuild, match=r"its return\.frame in rbp at one site and in r12 at another"):
        sites(tmp_path, offsets, ordered)


@pytest.mark.parametrize(
    "unwinding",
    [
        f"{ASKS_R12} 7501 c3 c3",
        f"{COUNTS} 4d89c2 {ASKS_R12} 7501 c3 c3",  # mov r10, r8
        f"{COUNTS} call:callback {ASKS_R12} 7501 c3 c3",
        f"{COUNTS} {ASKS_R12} 7501 c3 ebf4",  # back to the question
    ],
    ids=["not counted", "lost", "counted elsewhere", "jumped into"],
)
def test_an_exception_whose_thread_state_does_not_show_is_refused(
    tmp_path: Path, offsets: Offsets, unwinding: str
) -> None:
    with pytest.raises(UnsupportedBuild, match=r"does not show the thread state"):
        sites(tmp_path, offsets, {**COPIED, "unwinding": unwinding})


def test_the_count_may_be_stored_behind_the_question(tmp_path: Path, offsets: Offsets) -> None:
    # mov eax, [r13 + 0x2c]; add eax, 1; cmp …; mov [r13 + 0x2c], eax; jne
    unwinding = f"418b452c 83c001 {ASKS_R12} 4189452c 7501 c3 c3"
    _, places = sites(tmp_path, offsets, {**COPIED, "unwinding": unwinding})
    assert places["raise.tstate"] == Place("r13")


# mov rax, [rsp + 8]; inc dword [rax + 0x2c]; mov rax, [rsp + 0x10]; cmp byte [rax + 0x46], 0; jne
LOADED, COUNTED, ASKED = "488b442408", "ff402c", "488b442410 80784600 7501 c3 c3"


def test_a_thread_state_whose_register_is_used_up_is_where_it_was_loaded_from(tmp_path: Path, offsets: Offsets) -> None:
    _, places = sites(tmp_path, offsets, {**COPIED, "unwinding": f"{LOADED} {COUNTED} {ASKED}"})
    assert (places["raise.tstate"], places["raise.frame"]) == (Place("rsp", (8,)), Place("rax"))


@pytest.mark.parametrize(
    "unwinding",
    [
        f"{COUNTED} {ASKED}",
        f"{LOADED} 48894c2408 {COUNTED} {ASKED}",  # mov [rsp + 8], rcx
        f"{LOADED} {COUNTED} 894c240c {ASKED}",  # mov [rsp + 0xc], ecx
        f"{LOADED} 50 {COUNTED} {ASKED}",  # push rax
        f"{LOADED} 7402 4889c8 {COUNTED} {ASKED}",  # je over nothing; mov rax, rcx
        f"488b4108 {COUNTED} {ASKED}",  # mov rax, [rcx + 8]
        f"488b4508 {COUNTED} {ASKED}",  # mov rax, [rbp + 8], which is no frame pointer
        f"{LOADED} {COUNTED} 488b442410 80784600 7501 c3 ebf1",  # back behind the load
    ],
    ids=[
        *("not loaded", "overwritten before", "in part, behind", "the stack moves", "another one, perhaps"),
        *("not of the stack", "no frame pointer", "jumped into"),
    ],
)
def test_a_word_of_the_stack_that_may_hold_another_thread_state_is_refused(
    tmp_path: Path, offsets: Offsets, unwinding: str
) -> None:
    with pytest.raises(UnsupportedBuild, match=r"does not show the thread state"):
        sites(tmp_path, offsets, {**COPIED, "unwinding": unwinding})


def test_a_question_that_is_not_answered_at_once_is_refused(tmp_path: Path, offsets: Offsets) -> None:
    code = {**COPIED, "RETURN_VALUE": f"{ASKS} 4889c5 7501 90 {GOES_ON}"}  # mov rbp, rax
    with pytest.raises(UnsupportedBuild, match="does not answer"):
        sites(tmp_path, offsets, code)


def test_3_11_has_a_site_for_each_question_of_an_exit(tmp_path: Path, old: Offsets) -> None:
    made, places = sites(tmp_path, old, OLD)
    assert [(site.role, site.name) for site in made] == [
        (Role.RETURN, "RETURN_VALUE"),
        (Role.RAISE, "exit_unwind"),
        (Role.RAISE, "exit_unwind"),
    ]
    frame = Place("rbp")
    assert places == {"return.frame": frame, "raise.frame": frame, "raise.tstate": Place("r13")}


def test_3_11_may_ask_the_other_way_round(tmp_path: Path, old: Offsets) -> None:
    code = {**OLD, "unwinding": "41ff4520 807d4401 7401 90 c3"}  # cmp byte [rbp + 0x44], 1; je
    assert len(sites(tmp_path, old, code)[0]) == 3


def test_3_11_is_refused_where_a_traced_return_asks_nothing(tmp_path: Path, old: Offsets) -> None:
    with pytest.raises(UnsupportedBuild, match="leaves frames in RETURN_VALUE"):
        found_in(tmp_path, old, {**OLD, "RETURN_VALUE": f"7402 ffe0 {ENTRY_QUESTION} {GOES_ON}"})
    code = {**OLD, "RETURN_VALUE": f"7402 {ENTRY_QUESTION[-2:]} 90 {ENTRY_QUESTION} {GOES_ON}"}  # je over ret, nop
    with pytest.raises(UnsupportedBuild, match="leaves frames in RETURN_VALUE"):
        found_in(tmp_path, old, code)


def test_the_function_is_found_by_calls_through_its_slot(
    tmp_path: Path, offsets: Offsets, monkeypatch: pytest.MonkeyPatch
) -> None:
    # -fno-plt: call [rip + …]; all of them by the word at 0x10000
    code = {name: text.replace("call:function", 6 * "90") for name, text in CALLING.items()}
    found = made_handlers(tmp_path, code)
    function = address_of(found, code, "function")
    lines = {line.address: line for line in found.sweep.lines}
    at = [address for address in lines if all(lines.get(address + each, _RET).mnemonic == "nop" for each in range(6))]
    data = bytearray((tmp_path / "image").read_bytes())
    for address in at:
        place = found.code.image.offset_of(address)
        data[place : place + 6] = b"\xff\x15" + (0x10000 - address - 6).to_bytes(4, "little")
    (tmp_path / "image").write_bytes(data)
    again = Code(Image.open(tmp_path / "image"))
    low, high = found.sweep.lines[0].address, found.sweep.lines[-1].address + 1
    found = replace(found, code=again, sweep=again.sweep([(low, high)]))
    monkeypatch.setattr("latency.cpython.sites.endings.clear_function", lambda *_: (function, "clear"))
    with pytest.raises(UnsupportedBuild, match="leaves frames"):
        endings(found, offsets)
    slot = Symbol("clear", function, 8, "func")
    monkeypatch.setattr(Image, "bound_symbol", lambda _, address: slot if address == 0x10000 else None)
    assert len(endings(found, offsets).lines) == len(at) == 3


def test_the_function_is_found_through_the_linkage_table(
    tmp_path: Path, offsets: Offsets, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = {**{name: text.replace("call:function", "call:stub") for name, text in CALLING.items()}, "stub": GOES_ON}
    found = made_handlers(tmp_path, code)
    stub, function = address_of(found, code, "stub"), address_of(found, code, "function")
    monkeypatch.setattr("latency.cpython.sites.endings.clear_function", lambda *_: (function, "clear"))
    with pytest.raises(UnsupportedBuild, match="leaves frames"):
        endings(found, offsets)
    monkeypatch.setattr(type(found.code), "lands", lambda _, address: function if address == stub else address)
    assert len(endings(found, offsets).lines) == 3
