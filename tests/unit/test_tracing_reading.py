"""From what the program counted to what a recording says of each function."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import numpy as np

from latency.histogram import Histogram
from latency.recording import PERCENTILES, Function
from latency.recording.parts import intervals_ns
from latency.tracing.counted import wire
from latency.tracing.counted.divided import Divided
from latency.tracing.counted.opencalls import OpenCalls
from latency.tracing.counted.reading import Counted, Reading, Span
from latency.tracing.counted.results import latencies
from latency.tracing.counted.retired import FIRST_PLACE, Given, Retired
from latency.tracing.counted.slices import Slices
from latency.tracing.limit.watched import SlicesWatched

SERVE, IDLE = Function("serve", "app.py", 10), Function("idle", "app.py", 20)
WALL = Histogram.from_array([1] * 120, 120, 1, 5000)
"""Has calls in every bucket that these tests use."""


def row(**numbers: Any) -> np.void:
    """One record of statistics: as many calls in each bucket as ``counts`` says."""
    made = np.zeros(1, wire.STATISTICS)[0]
    for bucket, count in numbers.pop("counts", {}).items():
        made["counts"][bucket] = count
    for name, value in numbers.items():
        made[name] = value
    return made


def counted(*rows: np.void, slots: tuple[int, ...] = (0,)) -> Counted:
    made = Counted(slots=list(slots))
    for each in rows:
        made.add(each)
    return made


def reading(at_ns: int, **functions: Counted) -> Reading:
    return Reading(at_ns, {{"serve": SERVE, "idle": IDLE}[name]: it for name, it in functions.items()}, 0, {}, {})


def busy(calls: int) -> np.void:
    return row(returned=calls, sum_ns=calls * 1000, min_ns=1000, max_ns=1000, counts={100: calls})


def test_code_objects_of_one_function_are_added_up() -> None:
    both = counted(busy(3), row(returned=1, raised=2, sum_ns=30, min_ns=10, max_ns=10, counts={90: 3}))
    (latency,) = latencies(reading(1, serve=both), opens={})
    assert (latency.returned, latency.raised) == (4, 2)
    assert (latency.wall.count, latency.wall.sum_ns, latency.wall.min_ns) == (6, 3030, 10)


def test_active_time_is_kept_apart_from_the_wall_clocks() -> None:
    suspending = counted(busy(2), row(flags=wire.ACTIVE, sum_ns=5, min_ns=5, max_ns=5, counts={50: 1}))
    (latency,) = latencies(reading(1, serve=suspending), opens={})
    assert latency.wall.count == 2
    assert latency.active is not None
    assert latency.active.count == 1


def test_an_interval_is_what_came_since_the_one_before() -> None:
    earlier, now = reading(1, serve=counted(busy(10))), reading(2, serve=counted(busy(25)), idle=counted(busy(1)))
    found = {it.function: it for it in latencies(now, opens={}, earlier=earlier)}
    assert found[SERVE].calls == found[SERVE].wall.count == 15
    assert found[IDLE].calls == 1


def test_an_interval_begins_where_the_one_before_ended() -> None:
    start = datetime(2026, 11, 27, tzinfo=timezone.utc)
    first, earlier, last = (reading(at_s * 10**9) for at_s in (1, 3, 4))
    unsliced = SlicesWatched().until(0)
    assert Span(last, earlier, unsliced).began_at(start, first) == start + timedelta(seconds=2)
    assert Span(last, first, unsliced).began_at(start, first) == start
    assert Span(last, None, unsliced).began_at(start, None) == start


def test_the_busiest_function_comes_first() -> None:
    found = latencies(reading(1, idle=counted(busy(1)), serve=counted(busy(9))), opens={})
    assert [it.function for it in found] == [SERVE, IDLE]


def test_functions_without_a_call_are_left_out_unless_asked_for_by_name() -> None:
    at = reading(1, idle=counted())
    assert latencies(at, opens={}, empty=False) == ()
    assert [it.function for it in latencies(at, opens={}, empty=True)] == [IDLE]


def test_open_calls_and_the_oldest_of_them_are_told() -> None:
    calls = OpenCalls()
    for start_ns in (700, 400, 900):
        calls.add(start_ns)
    (latency,) = latencies(reading(1000, serve=counted(slots=(7,))), opens={7: calls}, empty=False)
    assert (latency.open, latency.oldest_open_ns) == (3, 600)


def test_a_call_that_began_while_the_measurement_ended_is_new() -> None:
    calls = OpenCalls()
    calls.add(1000 + 318_490)
    (latency,) = latencies(reading(1000, serve=counted(slots=(7,))), opens={7: calls}, empty=False)
    assert (latency.open, latency.oldest_open_ns) == (1, 0)


# -- slices --------------------------------------------------------------------------------------


def program(*slots: dict[int, int]) -> Any:
    """Statistics alone: how many calls are in which bucket of which slot."""
    statistics = np.zeros(len(slots), wire.STATISTICS)
    for slot, counts in zip(statistics, slots, strict=True):
        slot["code"] = 1
        for bucket, count in counts.items():
            slot["counts"][bucket] = count
            slot["sum_ns"] += count
    return SimpleNamespace(statistics=statistics)


def test_each_slice_is_what_grew_in_it() -> None:
    slices = Slices()
    for calls in (2, 2, 5):
        slices.add(program({100: calls}, {90: 1}))
    assert [part.count for part in slices.of(Counted(slots=[0]), WALL)] == [2, 0, 3]
    assert [part.count for part in slices.of(Counted(slots=[1]), WALL)] == [1, 0, 0]


def test_a_slot_that_came_later_grew_from_nothing() -> None:
    slices = Slices()
    slices.add(program({100: 1}))
    slices.add(program({100: 1}, {50: 4}))
    assert [part.count for part in slices.of(Counted(slots=[1]), WALL)] == [0, 4]


def test_what_was_counted_before_is_in_no_part() -> None:
    slices = Slices()
    slices.skip(program({100: 7}))
    for calls in (8, 10):
        slices.add(program({100: calls}))
    assert [part.count for part in slices.of(Counted(slots=[0]), WALL)] == [1, 2]


def test_parts_are_joined_in_pairs_and_stay_equal_in_a_measurement_without_an_end() -> None:
    slices = Slices(limit=4)
    for calls in range(1, 17):
        slices.add(program({100: calls}))
    parts = [part.count for part in slices.of(Counted(slots=[0]), WALL)]
    assert len(parts) < 4
    assert len(set(parts)) == 1
    assert sum(parts) == 16


def test_a_slot_that_is_given_back_leaves_its_slices_where_its_function_is_kept() -> None:
    slices = Slices()
    slices.add(program({100: 1}, {100: 1}))
    before = program({100: 4}, {100: 2})
    slices.give_back([Given(0, FIRST_PLACE, before.statistics["counts"][0].copy())])
    slices.add(program({100: 7}, {100: 2}))  # the slot is another function's
    calls = {slot: [part.count for part in slices.of(Counted(slots=[slot]), WALL)] for slot in (0, 1, FIRST_PLACE)}
    assert calls == {0: [0, 7], 1: [1, 1], FIRST_PLACE: [1, 3]}
    assert [part.count for part in slices.of(Counted(slots=[1, FIRST_PLACE]), WALL)] == [2, 4]


def test_a_slot_that_is_given_back_with_nothing_that_counts_leaves_no_slices() -> None:
    slices = Slices()
    slices.add(program({100: 1}))
    slices.give_back([Given(0, None, program({100: 3}).statistics["counts"][0].copy())])
    slices.add(program({100: 2}))
    assert [part.count for part in slices.of(Counted(slots=[0]), WALL)] == [0, 2]


def test_what_is_retired_of_many_processes_is_one_record_for_each_function() -> None:
    retired = Retired()
    for space in range(1, 1001):
        row = np.zeros(1, wire.STATISTICS)
        row["space"], row["returned"], row["raised"], row["min_ns"], row["max_ns"] = space, 3, 1, space, 10 * space
        row["counts"][0][100] = 4
        assert retired.add(SERVE, row[0], Divided()) == FIRST_PLACE
    assert len(retired.rows) == 1
    (kept,) = retired.rows.values()
    assert (kept["returned"][0], kept["min_ns"][0], kept["max_ns"][0]) == (3000, 1, 10_000)
    assert kept["counts"][0][100] == 4000
    assert len(retired.spaces) == 1000
    assert set(retired.spaces.values()) == {(3, 1)}
    assert retired.add(IDLE, np.zeros(1, wire.STATISTICS)[0], Divided()) is None


def test_error_bars_of_a_live_measurement_are_those_of_its_parts() -> None:
    rng, slices, statistics = np.random.default_rng(1), Slices(), np.zeros(1, wire.STATISTICS)
    statistics["code"] = 1
    parts = [Histogram.from_values(rng.lognormal(13, 0.5, 500).astype(np.int64)) for _ in range(30)]
    for part in parts:
        statistics["counts"][0] += part.dense().astype(np.uint64)
        statistics["sum_ns"] += np.uint64(part.sum_ns)
        slices.add(SimpleNamespace(statistics=statistics))
    wall = parts[0].merge(*parts[1:])
    known, live = (intervals_ns(each, wall, PERCENTILES) for each in (parts, slices.of(Counted(slots=[0]), wall)))
    assert known is not None
    assert live == known
    median = known[0]
    assert median is not None
    assert median[1] / median[0] < 1.1
