"""Percentiles where calls were cut: Kaplan and Meier's estimate, against exact data and against the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.histogram import Histogram
from latency.recording.censored import quantiles

QS = (0.5, 0.9, 0.95, 0.99, 0.999)
BUCKET = 2 ** (1 / 16)
NOTHING = Histogram.empty()
MS = 10**6


def test_without_cut_calls_they_are_the_histograms_own() -> None:
    whole = Histogram.from_values(np.random.default_rng(1).lognormal(14, 1, 5000).astype(np.int64))
    found, at_least = quantiles(whole, NOTHING, QS)
    assert found == pytest.approx(whole.quantiles(QS), rel=1e-9)
    assert np.isnan(at_least).all()


def test_without_calls_there_is_nothing_to_say() -> None:
    assert np.isnan(quantiles(NOTHING, NOTHING, QS)).all()


def test_the_estimate_is_that_of_the_textbook() -> None:
    """Ended 1, 2, 4, 5 ms; cut at 3 ms: S is 4/5, 3/5, then 3/5 * 1/2, then 0."""
    ended, cut = Histogram.from_values([MS, 2 * MS, 4 * MS, 5 * MS]), Histogram.from_values([3 * MS])
    found, _ = quantiles(ended, cut, (0.19, 0.39, 0.41, 0.69, 0.71, 1.0))
    exact_ms = (1, 2, 4, 4, 5, 5)
    assert all(at / BUCKET <= seen / MS <= at * BUCKET for seen, at in zip(found, exact_ms, strict=True))


def test_beyond_what_was_watched_only_the_least_is_known() -> None:
    ended, cut = Histogram.from_values([MS] * 90), Histogram.from_values([150 * MS] * 10)
    found, at_least = quantiles(ended, cut, (0.5, 0.95))
    assert found[0] == pytest.approx(MS)
    assert np.isnan(found[1])
    assert at_least[1] == 150 * MS
    assert np.isnan(at_least[0])


def test_calls_that_were_all_cut_have_a_least_value_only() -> None:
    found, at_least = quantiles(NOTHING, Histogram.from_values([MS, 2 * MS]), QS)
    assert np.isnan(found).all()
    assert (at_least == 2 * MS).all()


@given(st.lists(st.integers(1, 10**10), max_size=60), st.lists(st.integers(0, 10**10), max_size=60))
def test_each_quantile_is_known_or_has_a_bound_and_they_rise(ended: list[int], cut: list[int]) -> None:
    found, at_least = quantiles(Histogram.from_values(ended), Histogram.from_values(cut), QS)
    if not ended and not cut:
        return
    assert (np.isnan(found) != np.isnan(at_least)).all()
    known = found[~np.isnan(found)]
    assert (np.diff(known) >= -1e-6 * known[1:]).all()
    assert not len(known) or (min(ended) * 0.999 <= known[0] and known[-1] <= max(ended) * 1.001)


def sliced(latencies: np.ndarray, gaps_ns: np.ndarray, watched_ns: int, away_ns: int) -> tuple[Histogram, Histogram]:
    """What slices see of calls that follow each other: those that began in one, complete or cut at its end."""
    begins = np.cumsum(gaps_ns)
    into = begins % (watched_ns + away_ns)
    began, left = into < watched_ns, watched_ns - into
    ended = began & (latencies <= left)
    return Histogram.from_values(latencies[ended]), Histogram.from_values(left[began & ~ended])


def test_long_calls_that_slices_cut_are_not_under_counted() -> None:
    """9 of 10 calls take 1 ms and one 50 to 100 ms, in slices of 120 ms: the naive p95 would be that of short calls."""
    random = np.random.default_rng(7)
    calls = 200_000
    long = random.random(calls) < 0.1
    latencies = np.where(long, random.uniform(50, 100, calls), random.uniform(0.8, 1.2, calls)) * MS
    latencies = latencies.astype(np.int64)
    gaps = random.exponential(20 * MS, calls).astype(np.int64)
    ended, cut = sliced(latencies, gaps, 120 * MS, 380 * MS)
    truth = np.quantile(latencies, (0.5, 0.92, 0.95, 0.99))
    found, _ = quantiles(ended, cut, (0.5, 0.92, 0.95, 0.99))
    assert found == pytest.approx(truth, rel=0.05)
    share_of_long = 1 - ended.rank_below(10 * MS)
    assert share_of_long < 0.05  # and it is 10 %
    assert ended.quantile(0.95) < 0.1 * truth[2]
