"""What a view knows: since the start and over the last interval, of all processes together and of each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from latency.histogram import Histogram
from latency.live.ledger import Ledger
from latency.recording import Losses, Probes, Watched
from latency.recording.totals import Totals
from tests.unit.measured import IDLE, SERVE, latency, random_latencies, recording


def ledger(*moments: list[Totals]) -> Ledger:
    """One that took these, a second after each other."""
    made = Ledger(100.0)
    for second, parts in enumerate(moments, 1):
        made.take(parts, 100.0 + second)
    return made


def calls(columns: Any) -> dict[str, int]:
    return dict(zip((it.qualname for it in columns.functions), columns.calls.tolist(), strict=True))


def test_percentiles_of_some_rows_are_those_of_these_rows() -> None:
    functions = random_latencies(2)
    columns = ledger([Totals.of(recording(*functions))]).since_start()
    rows = np.array([7, 3, 31])
    found, _ = columns.percentiles_ns([0.5, 0.99], rows)
    np.testing.assert_allclose(found, [functions[row].wall.quantiles([0.5, 0.99]) for row in rows], rtol=1e-12)
    assert columns.histogram(7) == functions[7].wall


def test_the_last_interval_is_what_came_since_the_moment_before() -> None:
    first = [Totals.of(recording(latency(SERVE, [1000] * 5)), "a")]
    second = [Totals.of(recording(latency(SERVE, [1000] * 5 + [9000] * 2, raised=1), latency(IDLE, [50])), "a")]
    made = ledger(first, second)
    assert calls(made.since_start()) == {"serve": 7, "idle": 1}
    last = made.last_interval()
    assert calls(last) == {"serve": 2, "idle": 1}
    assert last.numbers["raised"].tolist() == [1, 0]
    assert last.seconds == 1.0
    assert last.percentiles_ns([0.5])[0][0, 0] == pytest.approx(9000, rel=0.05)
    assert last.numbers["max_ns"][0] == 9000  # the longest of all: known exactly


def test_the_longest_call_of_an_interval_is_known_to_its_bucket_where_it_is_not_the_longest_of_all() -> None:
    made = ledger(
        [Totals.of(recording(latency(SERVE, [10**6])), "a")], [Totals.of(recording(latency(SERVE, [10**6, 5000])), "a")]
    )
    longest_ns = int(made.last_interval().numbers["max_ns"][0])
    assert 5000 <= longest_ns < 5000 * 2 ** (1 / 16)


def test_rows_in_another_order_are_the_same_functions() -> None:
    both = [latency(SERVE, [1000] * 5), latency(IDLE, [50] * 3)]
    made = ledger([Totals.of(recording(*both), "a")], [Totals.of(recording(*reversed(both)), "a")])
    assert calls(made.since_start()) == {"serve": 5, "idle": 3}
    assert not made.last_interval().calls.any()


def test_several_processes_are_known_together_and_each() -> None:
    one = Totals.of(recording(latency(SERVE, [1000] * 5), pid=1), "a")
    other = Totals.of(recording(latency(IDLE, [9]), latency(SERVE, [4000] * 2), pid=2), "b")
    made = ledger([one, other])
    assert made.pids == [1, 2]
    assert calls(made.since_start()) == calls(made.last_interval()) == {"serve": 7, "idle": 1}
    assert calls(made.since_start(1)) == {"serve": 5}
    assert calls(made.since_start(2)) == {"idle": 1, "serve": 2}
    assert made.since_start().histogram(0) == Histogram.from_values([1000] * 5 + [4000] * 2)
    assert made.course(SERVE)[0].histogram.count == 7
    assert made.course(SERVE, 2)[0].histogram.count == 2


def test_a_measurement_that_takes_over_begins_no_interval_with_what_was_known_before() -> None:
    made = ledger([Totals.of(recording(latency(SERVE, [1000] * 5)), "a")])
    over = [Totals.of(recording(latency(SERVE, [1000] * 6)))]
    made.begin_anew(over, 102.0)
    assert calls(made.since_start()) == {"serve": 6}
    assert not made.last_interval().calls.any()
    made.take([*over, Totals.of(recording(latency(SERVE, [1000] * 2)), "b")], 103.0)
    assert calls(made.since_start()) == {"serve": 8}
    assert calls(made.last_interval()) == {"serve": 2}


def test_the_course_of_a_function_has_its_calls_once() -> None:
    moments = [[Totals.of(recording(latency(SERVE, [1000] * count)), "a")] for count in (2, 2, 7)]
    course = ledger(*moments).course(SERVE)
    assert [moment.histogram.count for moment in course] == [2, 0, 5]
    assert [moment.at_s for moment in course] == [1.0, 2.0, 3.0]


def test_the_head_says_cost_losses_and_the_share_watched_of_the_last_interval() -> None:
    def at(duration_s: float, share: float) -> list[Totals]:
        found = recording(
            latency(SERVE, [900], probes=Probes(100, 0.1)),
            duration_s=duration_s,
            watched=Watched(share, 3),
            losses=Losses(too_deep=2),
        )
        return [Totals.of(found, "a")]

    standing = ledger(at(1.0, 1.0), at(2.0, 0.75)).standing
    assert standing.watched == pytest.approx(0.5)
    assert standing.watched_in_all == pytest.approx(0.75)
    assert standing.losses.total == 2
    assert standing.probes == pytest.approx(0.1)
    assert standing.cost is None


def test_percentiles_count_the_calls_that_slices_cut() -> None:
    cut = latency(SERVE, [1000] * 10, cut=10, ages=Histogram.from_values([10**9] * 10))
    found, least = ledger([Totals.of(recording(cut))]).since_start().percentiles_ns([0.4, 0.99])
    np.testing.assert_array_equal(found[0], cut.percentiles_ns([0.4, 0.99]))
    np.testing.assert_array_equal(least[0], cut.at_least_ns([0.4, 0.99]))
