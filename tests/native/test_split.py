"""``bpf/split.h``, the text that runs in the kernel: where the time of calls went, against a plain account of it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latency.histogram import BUCKET_MIN, BUCKETS, longest_ns
from latency.tracing.counted import divided, wire
from tests.native.stack_model import OVERFLOW, REPLACED

SOURCE = (Path(__file__).parent / "split_shim.c").read_text()
FRAMES = 2048
ENDED = np.dtype([("known", "<u8"), ("wall_ns", "<u8"), ("active_ns", "<u8"), ("share", wire.SHARE)])
SPLIT_FLAGS = ("-DPYLAT_SPLIT=1", "-DPYLAT_OFFCPU=1", "-DPYLAT_SELF=1")


class Thread:
    """The one thread of the shim."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        library.reset()
        self.at(1000)

    def at(self, ns: int) -> None:
        self.library.at(ctypes.c_uint64(ns))

    def enter(self, frame: int, *, resumes: bool = False) -> int:
        return int(self.library.enter(ctypes.c_uint64(frame), int(resumes)))

    def leave(self, frame: int, *, suspending: bool = False, undecided: bool = False) -> np.void:
        ended = np.zeros(1, ENDED)
        at = ended.ctypes.data_as(ctypes.c_void_p)
        popped = self.library.leave(ctypes.c_uint64(frame), int(suspending), int(undecided), at)
        assert popped == 0  # PYLAT_MATCHED
        return ended[0]


@pytest.fixture(scope="module")
def library(compile_bpf: Callable[..., ctypes.CDLL]) -> ctypes.CDLL:
    return compile_bpf(SOURCE, f"-DFRAMES={FRAMES}", *SPLIT_FLAGS)


@pytest.fixture
def thread(library: ctypes.CDLL) -> Thread:
    return Thread(library)


def parts(ended: np.void) -> tuple[int, int, int]:
    """(waiting, runnable, gc), nanoseconds."""
    share = ended["share"]
    return int(share["waiting_ns"]), int(share["runnable_ns"]), int(share["gc_ns"])


def own(ended: np.void) -> int | None:
    """The self time, or None."""
    return int(ended["active_ns"] - ended["share"]["callees_ns"]) if ended["known"] else None


def test_what_a_thread_slept_before_a_call_is_not_the_calls(thread: Thread) -> None:
    thread.enter(1)
    thread.library.switched_out(0)
    thread.at(2000)
    thread.library.switched_in()
    thread.enter(2)
    thread.at(2010)
    assert parts(thread.leave(2)) == (0, 0, 0)
    assert parts(thread.leave(1)) == (1000, 0, 0)


def test_a_thread_waits_until_it_is_woken_and_is_runnable_from_then_on(thread: Thread) -> None:
    thread.enter(1)
    thread.library.switched_out(0)
    thread.at(1600)
    thread.library.woken()
    thread.at(1700)
    thread.library.woken()  # once more: it is awake already
    thread.at(2000)
    thread.library.switched_in()
    assert parts(thread.leave(1)) == (600, 400, 0)


def test_a_thread_that_is_preempted_is_runnable(thread: Thread) -> None:
    thread.enter(1)
    thread.library.switched_out(1)
    thread.at(1500)
    thread.library.switched_in()
    assert parts(thread.leave(1)) == (0, 500, 0)


def test_a_thread_that_is_woken_on_its_cpu_has_not_waited(thread: Thread) -> None:
    thread.enter(1)
    thread.library.woken()
    thread.at(1500)
    thread.library.switched_out(0)
    thread.at(1800)
    thread.library.switched_in()
    assert parts(thread.leave(1)) == (300, 0, 0)


def test_a_thread_whose_leaving_was_not_seen_has_not_waited(thread: Thread) -> None:
    thread.library.switched_in()
    thread.enter(1)
    thread.at(1100)
    assert parts(thread.leave(1)) == (0, 0, 0)


def test_a_collection_is_the_time_that_it_ran(thread: Thread) -> None:
    thread.enter(1)
    thread.at(1100)
    thread.library.gc_begins()
    thread.enter(2)  # a finaliser
    thread.at(1200)
    thread.library.switched_out(0)
    thread.at(1500)
    thread.library.switched_in()
    thread.at(1550)
    assert parts(thread.leave(2)) == (300, 0, 150)
    thread.library.gc_ends()
    thread.at(1600)
    assert parts(thread.leave(1)) == (300, 0, 150)


def test_a_beginning_without_an_end_is_ended_by_the_next(thread: Thread) -> None:
    thread.enter(1)
    thread.library.gc_begins()
    thread.at(1100)
    thread.library.gc_begins()
    thread.at(1200)
    thread.library.gc_ends()
    thread.at(1900)
    assert parts(thread.leave(1)) == (0, 0, 200)


def test_self_time_is_without_the_callees_and_recursion_is_a_callee(thread: Thread) -> None:
    for level in range(3):
        thread.enter(level)
        thread.at(2000 + 100 * level)
    assert own(thread.leave(2)) == 100
    thread.at(2500)
    assert own(thread.leave(1)) == 100 + 300
    assert own(thread.leave(0)) == 1000


def test_a_suspended_calls_stays_are_callees_and_its_self_time_is_that_of_all_stays(thread: Thread) -> None:
    thread.enter(1)
    thread.enter(2)  # a generator
    thread.at(1100)
    thread.leave(2, suspending=True)
    thread.at(5000)
    thread.enter(2, resumes=True)
    thread.enter(3)
    thread.at(5030)
    thread.leave(3)
    thread.at(5050)
    ended = thread.leave(2)
    assert (int(ended["wall_ns"]), int(ended["active_ns"]), own(ended)) == (4050, 150, 120)
    assert own(thread.leave(1)) == 3900


def test_calls_beyond_the_table_take_of_a_time_that_is_then_not_known(thread: Thread) -> None:
    for frame in range(wire.DEPTH):
        thread.enter(frame)
    assert thread.enter(wire.DEPTH) == OVERFLOW
    assert thread.library.leave(ctypes.c_uint64(wire.DEPTH), 0, 0, None)  # one of those beyond
    known = [own(thread.leave(frame)) for frame in reversed(range(wire.DEPTH))]
    assert known[0] is None
    assert None not in known[1:]


def test_a_call_whose_end_was_missed_leaves_its_callers_self_time_unknown(thread: Thread) -> None:
    thread.enter(1)
    thread.enter(2)
    assert thread.enter(2) == REPLACED
    assert own(thread.leave(2)) == 0
    assert own(thread.leave(1)) is None


def test_where_calls_do_not_end_innermost_first_no_self_time_is_known(thread: Thread) -> None:
    for frame in (1, 2, 3):
        thread.enter(frame)
    assert [own(thread.leave(frame)) for frame in (2, 3, 1)] == [None] * 3
    thread.enter(4)
    assert own(thread.leave(4)) == 0


def test_a_callee_that_may_not_be_wanted_leaves_its_callers_self_time_unknown(thread: Thread) -> None:
    thread.enter(1)
    thread.enter(2)
    assert own(thread.leave(2, undecided=True)) == 0
    assert own(thread.leave(1)) is None


STEPS = st.lists(
    st.tuples(st.sampled_from(["call", "return", "gc", "off", "ready", "wake", "on"]), st.integers(0, 50)), max_size=80
)


@settings(max_examples=300)
@given(STEPS)
def test_any_course_of_events_is_accounted_for(library: ctypes.CDLL, steps: list[tuple[str, int]]) -> None:
    thread = Thread(library)
    thread.enter(0)  # from then on the thread is known
    state, collecting, now, opens = "running", False, 1000, []
    spent = dict.fromkeys(("running", "waiting", "runnable", "gc"), 0)
    for what, after in steps:
        now += after
        thread.at(now)
        spent["gc" if collecting and state == "running" else state] += after
        if state != "running":
            if what == "wake":
                library.woken()
                state = "runnable"
            elif what == "on":
                library.switched_in()
                state = "running"
        elif what == "call":
            thread.enter(len(opens) + 1)
            opens.append((dict(spent), now))
        elif what == "return" and opens:
            before, began = opens.pop()
            ended = thread.leave(len(opens) + 1)
            expected = {part: spent[part] - before[part] for part in spent}
            assert parts(ended) == (expected["waiting"], expected["runnable"], expected["gc"])
            assert int(ended["wall_ns"]) == now - began == sum(expected.values())
        elif what == "gc":
            (library.gc_ends if collecting else library.gc_begins)()
            collecting = not collecting
        elif what in ("off", "ready"):
            library.switched_out(int(what == "ready"))
            state = "waiting" if what == "off" else "runnable"


# -- the sums ------------------------------------------------------------------------------------


def count(library: ctypes.CDLL, wall_ns: int, active_ns: int, *share: int) -> np.void:
    of, given_share = np.zeros(1, wire.SPLIT), np.array([share], wire.SHARE)
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (of, given_share)]
    library.count(pointers[0], ctypes.c_uint64(wall_ns), ctypes.c_uint64(active_ns), pointers[1])
    return of[0]


def test_the_parts_of_a_call_add_up_to_its_wall_time(library: ctypes.CDLL) -> None:
    row = count(library, 10_000, 6_000, 1_000, 500, 300, 0)
    sums = row["parts_ns"].reshape(wire.PARTS, wire.SPLIT_BUCKETS).sum(axis=1).tolist()
    assert sums == [4_200, 1_000, 500, 300, 4_000]
    assert sum(sums) == 10_000
    assert row["calls"] == 1


@pytest.mark.parametrize("share", [(7_000, 0, 0, 0), (3_000, 2_000, 2_000, 0), (2**64 - 1, 0, 0, 0)])
def test_a_share_that_cannot_be_is_no_call_of_the_split(library: ctypes.CDLL, share: tuple[int, ...]) -> None:
    row = count(library, 10_000, 6_000, *share)
    assert row["calls"] == 0
    assert not row["parts_ns"].any()


def test_each_bucket_holds_four_of_the_histograms(library: ctypes.CDLL) -> None:
    library.bucket.restype = ctypes.c_uint32
    for p in range(BUCKET_MIN, BUCKET_MIN + BUCKETS - 1):
        coarse = int(library.bucket(ctypes.c_uint64(longest_ns(p)))) + divided.BUCKET_MIN
        assert coarse == -(-p // 4)
    assert int(library.bucket(ctypes.c_uint64(2**62))) == wire.SPLIT_BUCKETS - 1
