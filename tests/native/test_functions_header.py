"""``bpf/functions.h`` of free-threaded builds, where another thread does the same in the midst of it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import pytest

from latency.cpython.offsets import load
from latency.cpython.sites import SitePlan
from latency.tracing.counted import wire
from latency.tracing.counted.parameters import cflags

SLOTS = 8
IGNORED = [f"-Wno-{name}" for name in ("type-limits", "unused-parameter", "unused-variable", "unknown-pragmas")]
NOBODY, MEETS, CALLS = 0, 1, 2
"""What the other thread does meanwhile."""


@pytest.fixture(scope="module")
def functions(compile_bpf: Callable[..., ctypes.CDLL]) -> ctypes.CDLL:
    offsets = load((3, 14), flags=frozenset({"free-threaded"}))
    plan = SitePlan(engine="handlers", sites=(), places={}, start_by="oparg", resume_mask=3, creator_oparg=None)
    flags = cflags(offsets, plan, every_function=True)
    return compile_bpf(Path(__file__).with_name("functions_shim.c").read_text(), *flags, *IGNORED)


@pytest.mark.parametrize("meanwhile", [NOBODY, MEETS, CALLS])
@pytest.mark.parametrize("suspends", [0, 1])
def test_a_function_that_threads_meet_at_once_has_its_slots_once_and_is_told_once(
    functions: ctypes.CDLL, meanwhile: int, suspends: int
) -> None:
    slot = functions.meet(meanwhile, suspends)
    assert functions.owner(slot) == 1
    assert functions.named() == 1 + suspends
    assert functions.left() == SLOTS - 1 - suspends
    assert functions.times_told() == 1
    assert functions.meet_again() == slot
    if suspends:
        assert functions.owner(functions.active_slot()) == 1


def test_a_known_function_that_threads_call_at_once_takes_its_slot_once(functions: ctypes.CDLL) -> None:
    slot = functions.call()
    assert functions.owner(slot) == 1
    assert (functions.named(), functions.left(), functions.times_told()) == (1, SLOTS - 1, 0)


CODE, SLOT, UNKNOWN = 0x7F12_3456_7890, 3, -1


def remembered(functions: ctypes.CDLL, flags: int, *, owner: int = CODE, owner_flags: int = 0) -> int:
    functions.forget_all()
    functions.owns(SLOT, ctypes.c_uint64(owner), owner_flags)
    functions.remembers(ctypes.c_uint64(CODE), SLOT, flags)
    return int(functions.slot_of(ctypes.c_uint64(CODE)))


def test_a_plain_function_that_is_wanted_is_known_by_its_slot_and_one_that_is_not_by_none(
    functions: ctypes.CDLL,
) -> None:
    assert remembered(functions, wire.WANTED) == SLOT
    assert remembered(functions, 0) == wire.NO_SLOT


@pytest.mark.parametrize(
    "flags", [wire.WANTED | wire.SUSPENDS, wire.WANTED | wire.UNDECIDED, wire.STRUCK_OUT, wire.FREED]
)
def test_what_is_not_settled_yet_or_needs_more_than_a_slot_is_looked_up_each_time(
    functions: ctypes.CDLL, flags: int
) -> None:
    assert remembered(functions, flags) == UNKNOWN


def test_a_slot_of_a_code_object_that_was_freed_is_not_remembered(functions: ctypes.CDLL) -> None:
    assert remembered(functions, wire.WANTED, owner_flags=wire.DEAD) == UNKNOWN
    assert remembered(functions, wire.WANTED, owner=CODE + 64) == UNKNOWN


def test_who_is_freed_is_forgotten_and_no_other(functions: ctypes.CDLL) -> None:
    assert remembered(functions, 0) == wire.NO_SLOT
    functions.forgets(ctypes.c_uint64(CODE + 64))
    assert functions.slot_of(ctypes.c_uint64(CODE)) == wire.NO_SLOT
    functions.forgets(ctypes.c_uint64(CODE))
    assert functions.slot_of(ctypes.c_uint64(CODE)) == UNKNOWN


def test_an_address_that_is_none_is_not_known(functions: ctypes.CDLL) -> None:
    remembered(functions, wire.WANTED)
    assert functions.slot_of(ctypes.c_uint64(0)) == UNKNOWN
    assert functions.slot_of(ctypes.c_uint64(CODE | 0xABCD << 48)) == UNKNOWN  # the same but for what does not fit
