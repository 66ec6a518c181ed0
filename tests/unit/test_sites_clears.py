"""Where frames are cleared by copies of _PyEval_FrameClearAndPop within the interpreter: on handlers made up here."""

from __future__ import annotations

from pathlib import Path

import pytest

from latency.cpython import watch_sites
from latency.cpython.offsets import Offsets, load
from latency.cpython.sites import Place, Role, Site, SitePlan
from latency.cpython.sites.clears import inlined_sites
from latency.errors import UnsupportedBuild
from latency.target.elf import Image
from tests.unit.elf_builder import ALLOC, CODE, Elf, Section
from tests.unit.made_handlers import made_handlers

STORES = "4c895538 894540"  # mov [rbp + 0x38], r10; mov [rbp + 0x40], eax
ASKS = "807d4600"  # cmp byte [rbp + 0x46], 0: owner
CLEARS = "c645fb04"  # mov byte [rbp - 5], 4: FRAME_CLEARED
COPY = f"{ASKS} 7501 c3 {CLEARS} c3"  # jne over the ret
RETURN_VALUE = f"{STORES} {COPY}"
# mov [rbp + 0x38], r10; jne to the end; (the copy); mov [rdi], eax; jmp to the copy: a constant that is not immortal
RETURN_CONST = f"4c895538 750c {COPY} 8907 ebf0"


@pytest.fixture(scope="module")
def offsets() -> Offsets:
    return load((3, 13, 5))


def sites(directory: Path, offsets: Offsets, **code: str) -> list[Site]:
    return inlined_sites(made_handlers(directory, code), offsets, 0)[0]


def test_a_copy_has_its_site_at_the_answer_whose_frame_it_is(tmp_path: Path, offsets: Offsets) -> None:
    (value, const) = sites(tmp_path, offsets, RETURN_VALUE=RETURN_VALUE, RETURN_CONST=RETURN_CONST)
    assert (value.role, value.name, value.address - value.start) == (Role.RETURN, "RETURN_VALUE", 11)
    assert (const.role, const.name, const.address - const.start) == (Role.RETURN, "RETURN_CONST", 10)
    assert value.emulated
    assert const.emulated


def test_where_there_is_no_copy_there_is_no_site(tmp_path: Path, offsets: Offsets) -> None:
    assert sites(tmp_path, offsets, RETURN_VALUE=f"{STORES} e800000000 c3") == []
    harmless = "c645fb01 c645fc04 448875fb"  # another state, another place, r14b
    assert sites(tmp_path, offsets, RETURN_VALUE=f"{STORES} c3", other=harmless) == []


@pytest.mark.parametrize(
    "code",
    [
        {"RETURN_VALUE": RETURN_VALUE, "other": CLEARS},
        {"RETURN_VALUE": f"4c895538 {COPY}"},
        {"RETURN_VALUE": f"4889c5 {RETURN_VALUE}"},  # mov rbp, rax
        {"INSTRUMENTED_RETURN_VALUE": RETURN_VALUE},
    ],
    ids=["elsewhere", "before the stack pointer is stored", "of another frame", "behind a callback"],
)
def test_a_copy_without_a_site_is_refused(tmp_path: Path, offsets: Offsets, code: dict[str, str]) -> None:
    with pytest.raises(UnsupportedBuild, match="frames could end unseen"):
        sites(tmp_path, offsets, **code)


@pytest.mark.parametrize("goal", [0, 7, 14], ids=["the beginning", "the question", "the copy"])
def test_a_copy_that_others_use_too_is_refused(tmp_path: Path, offsets: Offsets, goal: int) -> None:
    back = len(bytes.fromhex(RETURN_VALUE)) + 2 - goal
    other = bytes([0xEB, 0x100 - back]).hex()  # jmp
    with pytest.raises(UnsupportedBuild, match=r"clears a frame in RETURN_VALUE, at 0x\w+, for 0x\w+ too"):
        sites(tmp_path, offsets, RETURN_VALUE=RETURN_VALUE, other=other)


def test_a_question_that_leads_to_no_copy_is_refused(tmp_path: Path, offsets: Offsets) -> None:
    with pytest.raises(UnsupportedBuild, match="does not clear it"):
        sites(tmp_path, offsets, RETURN_VALUE=f"{STORES} {ASKS} 7501 c3 c3")


def test_a_handler_with_another_way_out_is_refused(tmp_path: Path, offsets: Offsets) -> None:
    leaves = f"4c895538 750c {COPY} 8907 c3"
    with pytest.raises(UnsupportedBuild, match="leaves the way to the end of a frame"):
        sites(tmp_path, offsets, RETURN_CONST=leaves)


# The function itself, and a return that goes to it behind a callback: call; test eax, eax; je to the call; ret
FUNCTION, INSTRUMENTED = "c3", "e800000000 85c0 7401 c3 e8f0ffffff c3"
COUNTS, LOADS = "41ff422c", "4d8b6c2408"  # inc dword [r10 + 0x2c]: recursion; mov r13, [r12 + 8]
RAISING = {"return.frame": "rbp", "raise.frame": "r12", "raise.tstate": "r10"}
UNWINDING = "41807c244600 7501 c3 41c64424fb04 c3"  # the copy, of the frame in r12


def unwinding(
    directory: Path, offsets: Offsets, *, instrumented: str, code: str
) -> tuple[list[Site], dict[str, Place]]:
    parts = {"function": FUNCTION, "INSTRUMENTED_RETURN_VALUE": instrumented, "RETURN_VALUE": RETURN_VALUE}
    found = made_handlers(directory, {**parts, "unwinding": code})
    return inlined_sites(found, offsets, found.sweep.lines[0].address)


def test_the_copy_that_is_left_is_that_of_exceptions(tmp_path: Path, offsets: Offsets) -> None:
    found, registers = unwinding(tmp_path, offsets, instrumented=INSTRUMENTED, code=COUNTS + LOADS + UNWINDING)
    assert [site.role for site in found] == [Role.RETURN, Role.RAISE]
    assert registers == {name: Place(register) for name, register in RAISING.items()}
    assert found[-1].instruction.startswith("jne")


@pytest.mark.parametrize(
    ("instrumented", "code"),
    [
        ("e800000000 c3", COUNTS + LOADS + UNWINDING),
        (INSTRUMENTED, LOADS + UNWINDING),
        (INSTRUMENTED, COUNTS + "4d89c2" + UNWINDING),  # mov r10, r8
        (INSTRUMENTED, COUNTS + LOADS + UNWINDING + "ebee"),
        (INSTRUMENTED, COUNTS + LOADS + UNWINDING + UNWINDING),
    ],
    ids=["an instrumented return's", "no recursion counted", "thread state lost", "jumped into", "two of them"],
)
def test_a_copy_that_may_be_another_is_refused(tmp_path: Path, offsets: Offsets, instrumented: str, code: str) -> None:
    with pytest.raises(UnsupportedBuild, match="frames could end unseen"):
        unwinding(tmp_path, offsets, instrumented=instrumented, code=code)


def test_the_watch_engine_wants_one_place_where_frames_are_released(
    tmp_path: Path, offsets: Offsets, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "image").write_bytes(Elf([Section(".text", b"\x90", flags=ALLOC | CODE)]).build())
    both = [Site(role, role.value, 0, 0, 0, "nop", emulated=True) for role in (Role.EXIT, Role.RETURN)]
    plan = SitePlan("handlers", tuple(both), {"entry.frame": Place("rbp")}, "oparg")
    monkeypatch.setattr(watch_sites, "plan_for", lambda *_, **__: plan)
    with pytest.raises(UnsupportedBuild, match="releases frames in return too"):
        watch_sites.watch_plan(Image.open(tmp_path / "image"), (3, 13, 5), offsets)
