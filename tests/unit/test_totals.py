"""The columns that a view reads each second say what a recording says."""

from __future__ import annotations

from typing import Any

import numpy as np

from latency.histogram import BUCKETS, quantiles_of_cells
from latency.recording import PERCENTILES
from latency.recording.totals import Totals, grown
from latency.tracing.counted import wire
from latency.tracing.counted.cells import Cells
from tests.unit.measured import random_latencies, recording


def test_percentiles_of_sparse_histograms_are_those_of_whole_ones() -> None:
    functions = random_latencies(1)
    totals = Totals.of(recording(*functions))
    found = quantiles_of_cells(
        totals.cells, totals.counts, totals.numbers["min_ns"], totals.numbers["max_ns"], PERCENTILES
    )
    expected = np.array([each.wall.quantiles(PERCENTILES) for each in functions])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_what_has_grown_and_what_was_there_before_are_all() -> None:
    before, after = Totals.of(recording(*random_latencies(3))), Totals.of(recording(*random_latencies(3)))
    more = after.counts + np.arange(len(after.counts)) % 3
    cells, counts = grown(after.cells, more, before.cells, before.counts)
    assert counts.min() > 0
    assert counts.sum() + before.counts.sum() == more.sum()
    assert set(cells.tolist()) == set(after.cells[np.arange(len(more)) % 3 > 0].tolist())


# -- reading ---------------------------------------------------------------------------------------


def statistics(slots: int) -> np.ndarray[Any, Any]:
    return np.zeros(slots, wire.STATISTICS)


def count(of: np.ndarray[Any, Any], slot: int, bucket: int, calls: int = 1) -> None:
    of["counts"][slot, bucket] += calls
    of["sum_ns"][slot] += 10 * calls


def dense(cells: Cells, slots: int) -> list[list[int]]:
    return [cells.row(slot).tolist() for slot in range(slots)]


def test_sparse_histograms_are_those_of_the_statistics() -> None:
    of, cells, rng = statistics(300), Cells(), np.random.default_rng(4)
    for _ in range(5):
        for slot, bucket in rng.integers(0, (300, BUCKETS), (200, 2)).tolist():
            count(of, slot, bucket)
        cells.look(of)
        assert dense(cells, 300) == of["counts"].tolist()
        assert (np.diff(cells.cells) > 0).all()


def test_a_slot_that_is_forgotten_starts_from_zero() -> None:
    of, cells = statistics(3), Cells()
    for slot in range(3):
        count(of, slot, 100, 4)
    cells.look(of)
    cells.forget([1])
    of[1] = 0
    count(of, 1, 7, 4)  # the same sum as before, by another function
    cells.look(of)
    assert dense(cells, 3) == of["counts"].tolist()


def test_a_call_that_is_seen_before_its_time_is_added_up_is_read_once_more() -> None:
    of, cells = statistics(1), Cells()
    of["counts"][0, 5] = 1  # as bpf/statistics.h does: first the bucket, then the sum
    cells.look(of)
    of["sum_ns"][0] = 10
    cells.look(of)
    assert cells.row(0)[5] == 1


def test_statistics_that_have_no_calls_have_no_cells() -> None:
    cells = Cells()
    cells.look(statistics(4))
    assert not len(cells.cells)
