"""``bpf/functions.h`` of free-threaded builds, where another thread does the same in the midst of it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import pytest

from latency.cpython.offsets import load
from latency.cpython.sites import SitePlan
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
