"""``bpf/stack.h``, the text that runs in the kernel: each rule by itself, then random processes against their truth."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latency.tracing.counted import wire
from tests.native import stack_model as model
from tests.native.stack_model import DUPLICATE, FROM_OVERFLOW, MATCHED, NOT_OPEN, OVERFLOW, PUSHED, REPLACED

SOURCE = (Path(__file__).parent / "stack_shim.c").read_text()
SMALL = 8
CANARY = 0xA5
RESULT = np.dtype(
    [*((name, "<u4") for name in ("code", "depth", "too_deep", "disordered"))]
    + [(name, "<u8") for name in ("start", "wall_start", "active", "suspensions")]
)
SEQUENCES = int(os.environ.get("PYLAT_STACK_SEQUENCES", "100000"))
SUSPENDS, RESUMED = wire.SUSPENDS, wire.RESUMED


def pointer(values: np.ndarray) -> ctypes.c_void_p:
    return values.ctypes.data_as(ctypes.c_void_p)


class Stack:
    """One thread's table, as large as the real one."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        self.thread = np.zeros(1, wire.THREAD)

    def push(self, frame: int, start_ns: int = 0, *, may_repeat: bool = False, slot: int = 0, flags: int = 1) -> int:
        call = np.array([(frame, start_ns, slot, wire.NO_SLOT, flags, 0)], wire.OPEN)
        return int(self.library.push(pointer(self.thread), pointer(call), int(may_repeat)))

    def pop(self, frame: int, *, anonymous: bool = True) -> tuple[int, int | None]:
        """The result, and when the call that ends had started. ``anonymous``: it may be one beyond the table."""
        call = np.zeros(1, wire.OPEN)
        function = self.library.pop if anonymous else self.library.pop_frame
        result = int(function(pointer(self.thread), ctypes.c_uint64(frame), pointer(call)))
        return result, int(call["start_ns"][0]) if result == MATCHED else None

    def __getattr__(self, name: str) -> int:
        return int(self.thread[name][0])


@pytest.fixture(scope="module")
def library(compile_bpf: Callable[..., ctypes.CDLL]) -> ctypes.CDLL:
    return compile_bpf(SOURCE, f"-DFRAMES={model.FRAMES}", f"-DTHREADS={model.THREADS}")


@pytest.fixture(scope="module")
def small(compile_bpf: Callable[..., ctypes.CDLL]) -> ctypes.CDLL:
    sizes = [f"-DFRAMES={model.FRAMES}", f"-DTHREADS={model.THREADS}", f"-DSMALL={SMALL}"]
    return compile_bpf(SOURCE, *sizes)


@pytest.fixture
def stack(library: ctypes.CDLL) -> Stack:
    return Stack(library)


def replay(library: ctypes.CDLL, log: model.Log) -> model.Results:
    """Run a log through the small table, and see that nothing was written behind it."""
    threads = np.full(model.THREADS * wire.THREAD.itemsize, CANARY, np.uint8).view(wire.THREAD)
    results = np.zeros(len(log.events), RESULT)
    library.replay(pointer(threads), pointer(np.array(log.events)), pointer(results), len(results))
    assert np.all(threads["open"][:, SMALL:].copy().view(np.uint8) == CANARY)
    return model.Results(**{name: results[name] for name in RESULT.names or ()})


def test_plain_calls_end_innermost_first(stack: Stack) -> None:
    assert [stack.push(frame, frame) for frame in (10, 20, 30)] == [PUSHED] * 3
    assert [stack.pop(frame) for frame in (30, 20, 10)] == [(MATCHED, 30), (MATCHED, 20), (MATCHED, 10)]
    assert (stack.depth, stack.disordered) == (0, 0)


def test_the_next_call_may_use_the_frame_of_the_last(stack: Stack) -> None:
    for start in range(5):
        assert stack.push(10, start) == PUSHED
        assert stack.pop(10) == (MATCHED, start)


def test_an_exit_without_an_entry_is_not_open_and_changes_nothing(stack: Stack) -> None:
    stack.push(10, 1)
    before = stack.thread.copy()
    assert stack.pop(20) == (NOT_OPEN, None)
    before["unlearnt"] = stack.thread["unlearnt"]  # for the verifier alone
    assert np.array_equal(stack.thread, before)


@pytest.mark.parametrize("depth", range(1, 20))
def test_a_call_is_found_at_any_place_of_any_block(stack: Stack, depth: int) -> None:
    for wanted in range(1, depth + 1):
        for frame in range(1, depth + 1):
            stack.push(frame, 100 * frame)
        assert stack.pop(wanted) == (MATCHED, 100 * wanted)
        for _ in range(depth - 1):
            top = int(stack.thread["open"][0]["frame"][stack.depth - 1])
            assert stack.pop(top) == (MATCHED, 100 * top)
        assert stack.depth == 0


def test_what_is_left_behind_the_open_calls_is_none_of_them(stack: Stack) -> None:
    for frame in range(1, 12):
        stack.push(frame, frame)
    for frame in range(11, 5, -1):
        assert stack.pop(frame) == (MATCHED, frame)
    assert [stack.pop(frame) for frame in range(6, 12)] == [(NOT_OPEN, None)] * 6


def test_the_table_is_filled_to_its_last_place(stack: Stack) -> None:
    frames = range(1, wire.DEPTH + 1)
    assert {stack.push(frame, frame) for frame in frames} == {PUSHED}
    assert stack.depth == wire.DEPTH
    assert all(stack.pop(frame) == (MATCHED, frame) for frame in reversed(frames))


def test_recursion_deeper_than_the_table_is_counted(stack: Stack) -> None:
    frames = range(1, wire.DEPTH + 101)
    results = [stack.push(frame, frame) for frame in frames]
    assert results == [PUSHED] * wire.DEPTH + [OVERFLOW] * 100
    assert (stack.depth, stack.too_deep) == (wire.DEPTH, 100)


def test_calls_outside_of_too_deep_recursion_keep_their_own_start(stack: Stack) -> None:
    frames = range(1, wire.DEPTH + 101)
    for frame in frames:
        stack.push(frame, frame)
    found = [stack.pop(frame) for frame in reversed(frames)]
    assert found == [(FROM_OVERFLOW, None)] * 100 + [(MATCHED, frame) for frame in range(wire.DEPTH, 0, -1)]
    assert (stack.depth, stack.too_deep, stack.disordered) == (0, 0, 0)


def test_an_entry_reported_twice_is_one_call_from_its_first_report(stack: Stack) -> None:
    assert stack.push(10, 1, may_repeat=True) == PUSHED
    assert stack.push(10, 2, may_repeat=True) == DUPLICATE
    assert stack.pop(10) == (MATCHED, 1)
    assert stack.depth == 0


def test_an_entry_reported_twice_by_an_engine_that_never_repeats_means_a_missed_exit(stack: Stack) -> None:
    assert stack.push(10, 1) == PUSHED
    assert stack.push(10, 2) == REPLACED
    assert stack.pop(10) == (MATCHED, 2)
    assert stack.depth == 0


def test_another_function_in_the_innermost_frame_is_no_repetition(stack: Stack) -> None:
    stack.push(10, 1, may_repeat=True, slot=1)
    assert stack.push(10, 2, may_repeat=True, slot=2) == REPLACED
    assert stack.pop(10) == (MATCHED, 2)


def test_a_first_start_in_the_frame_of_a_resumed_call_is_no_repetition(stack: Stack) -> None:
    stack.push(10, 1, may_repeat=True, flags=wire.WANTED | SUSPENDS | RESUMED)
    assert stack.push(10, 2, may_repeat=True, flags=wire.WANTED | SUSPENDS) == REPLACED


def test_a_call_whose_callee_lost_its_exit_is_found_by_its_frame(stack: Stack) -> None:
    for frame in (10, 20, 30):
        stack.push(frame, frame)
    assert stack.pop(20) == (MATCHED, 20)
    assert stack.disordered == 1


def test_a_call_that_lost_its_exit_is_replaced_when_its_frame_is_used_again(stack: Stack) -> None:
    for frame in (10, 20, 30):
        stack.push(frame, frame)
    stack.pop(20)
    stack.push(40, 40)
    assert stack.push(30, 50) == REPLACED
    assert (stack.depth, stack.pop(30)) == (3, (MATCHED, 50))


def test_a_replaced_call_leaves_room_in_a_full_table(stack: Stack) -> None:
    for frame in range(1, wire.DEPTH + 1):
        stack.push(frame, frame)
    stack.pop(1)
    stack.push(5000, 1)
    assert stack.push(2, 7) == REPLACED
    assert (stack.depth, stack.too_deep) == (wire.DEPTH, 0)


def test_a_greenlet_that_is_switched_away_is_found_by_its_frame(stack: Stack) -> None:
    for frame in (10, 20):  # one greenlet, switched away in frame 20
        stack.push(frame, frame)
    for frame in (110, 120):  # another
        stack.push(frame, frame)
    assert [stack.pop(frame) for frame in (20, 10)] == [(MATCHED, 20), (MATCHED, 10)]
    assert [stack.pop(frame) for frame in (120, 110)] == [(MATCHED, 120), (MATCHED, 110)]


def test_an_empty_table_is_in_order_again(stack: Stack) -> None:
    stack.push(10, 1)
    stack.push(20, 2)
    stack.pop(10)
    assert stack.disordered == 1
    stack.pop(20)
    assert (stack.depth, stack.disordered) == (0, 0)


def test_a_depth_that_cannot_be_is_not_followed(stack: Stack) -> None:
    stack.thread["depth"] = wire.DEPTH + 1
    assert stack.push(10, 1) == OVERFLOW
    assert stack.pop(10) == (FROM_OVERFLOW, None)


class Generator:
    """One generator's record, and the open call of each of its stays."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        self.kept = np.zeros(1, wire.SUSPENDED)
        self.call = np.zeros(1, wire.OPEN)

    def start(self, now: int) -> None:
        self.call[0] = (10, now, 3, 4, wire.WANTED | SUSPENDS, 0)

    def suspend(self, now: int) -> None:
        self.library.suspend(pointer(self.kept), pointer(self.call), ctypes.c_uint64(now))

    def resume(self, now: int) -> None:
        frame = ctypes.c_uint64(10)
        self.library.resume(pointer(self.kept), frame, ctypes.c_uint64(now), pointer(self.call))


def test_a_suspended_call_keeps_its_first_start_and_the_time_that_it_ran(library: ctypes.CDLL) -> None:
    generator = Generator(library)
    generator.start(100)
    generator.suspend(110)
    generator.resume(200)
    generator.suspend(205)
    kept = {name: int(generator.kept[0][name]) for name in generator.kept.dtype.names or () if generator.kept[0][name]}
    assert kept == {"start_ns": 100, "active_ns": 15, "slot": 3, "active_slot": 4, "suspensions": 2}


def test_a_resumed_call_is_running_and_times_this_stay_alone(library: ctypes.CDLL) -> None:
    generator = Generator(library)
    generator.start(100)
    generator.suspend(110)
    generator.resume(200)
    assert generator.kept["running"] == 1
    assert generator.call.tolist() == [(10, 200, 3, 4, wire.WANTED | SUSPENDS | RESUMED, 0)]


def test_a_clock_that_went_back_adds_no_active_time(library: ctypes.CDLL) -> None:
    generator = Generator(library)
    generator.start(100)
    generator.suspend(90)
    assert generator.kept["active_ns"] == 0


def test_a_suspending_call_beyond_the_table_is_not_too_deep(library: ctypes.CDLL, stack: Stack) -> None:
    for frame in range(1, wire.DEPTH + 1):
        stack.push(frame)
    generator = Generator(library)
    assert stack.push(10_000) == OVERFLOW
    library.run_beyond(pointer(stack.thread), pointer(generator.kept), ctypes.c_uint64(100))
    assert (stack.too_deep, generator.kept["running"]) == (0, 1)
    assert library.ran_beyond(pointer(generator.kept), ctypes.c_uint64(130)) == 30


def test_time_beyond_the_table_is_counted_once(library: ctypes.CDLL) -> None:
    generator = Generator(library)
    generator.kept["running"], generator.kept["resumed_ns"] = 1, 100
    library.ran_beyond(pointer(generator.kept), ctypes.c_uint64(130))
    assert library.ran_beyond(pointer(generator.kept), ctypes.c_uint64(150)) == 0


def test_the_exit_of_a_suspending_call_is_never_taken_for_one_beyond_the_table(stack: Stack) -> None:
    stack.thread["too_deep"] = 1
    assert stack.pop(10, anonymous=False) == (NOT_OPEN, None)
    assert stack.too_deep == 1


def check(library: ctypes.CDLL, log: model.Log) -> model.Results:
    results = replay(library, log)
    model.assert_lawful(log, results, SMALL)
    model.assert_true(log, results)
    return results


@settings(max_examples=500)
@given(choices=st.binary(min_size=1, max_size=80))
def test_any_process_is_matched_lawfully_and_truly(small: ctypes.CDLL, choices: bytes) -> None:
    log = model.Log()
    model.run(log, choices)
    check(small, log)


def test_many_random_processes_are_matched_lawfully_and_truly(small: ctypes.CDLL) -> None:
    seen = set()
    for seed in range(0, SEQUENCES, 10_000):
        log = model.Log()
        for choices in model.programs(seed, min(10_000, SEQUENCES - seed), longest=60):
            model.run(log, choices)
        seen |= set(check(small, log).code.tolist())
    assert seen == {PUSHED, DUPLICATE, REPLACED, OVERFLOW, MATCHED, FROM_OVERFLOW, NOT_OPEN, 255}
