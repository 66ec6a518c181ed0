"""The grid and what is read off it. The oracle for buckets is exact integers; for quantiles, the sorted values."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.histogram import BUCKET_MIN, BUCKETS, Histogram, longest_ns, quantiles_of
from latency.recording.parts import Parts, intervals_ns

NANOSECONDS = st.integers(0, 2**62)
MANY = st.lists(NANOSECONDS, min_size=1, max_size=60)
# What the counters tell apart: between the first and the last, which have one end only.
ON_THE_GRID = st.lists(st.integers(65, 4096 * 10**9), min_size=1, max_size=60)


def latencies(n: int, seed: int = 7) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).normal(14, 1, n)).astype(np.int64)


def test_a_bucket_includes_its_upper_bound_and_not_its_lower() -> None:
    assert Histogram.from_values([10**9]).offset == 0
    assert Histogram.from_values([10**9 + 1]).offset == 1


@given(st.integers(65, 4096 * 10**9))
def test_every_value_lies_in_its_bucket(ns: int) -> None:
    p = Histogram.from_values([ns]).offset
    # (2^((p-1)/16), 2^(p/16)] seconds, to the 16th power, without fractions.
    low, high = 10**144 * 2 ** (p - 1 + 400), 10**144 * 2 ** (p + 400)
    assert low < ns**16 * 2**400 <= high


def test_what_no_bucket_fits_is_counted_in_the_first_or_last() -> None:
    assert Histogram.from_values([0]).offset == BUCKET_MIN
    assert Histogram.from_values([2**62]).offset == BUCKET_MIN + BUCKETS - 1


@given(MANY)
def test_sum_minimum_and_maximum_are_exact(values: list[int]) -> None:
    found = Histogram.from_values(values)
    assert (found.count, found.sum_ns) == (len(values), sum(values))
    assert (found.min_ns, found.max_ns) == (min(values), max(values))


@given(MANY, MANY, MANY)
def test_merging_is_counting_together_in_any_order(a: list[int], b: list[int], c: list[int]) -> None:
    one, two, three = map(Histogram.from_values, (a, b, c))
    assert one.merge(two, three) == three + (two + one) == Histogram.from_values(a + b + c)


@given(MANY)
def test_merging_with_nothing_changes_nothing(values: list[int]) -> None:
    histogram = Histogram.from_values(values)
    assert Histogram.empty() + histogram == histogram + Histogram.empty() == histogram


@given(MANY, MANY)
def test_a_difference_counts_what_came_in_between(before: list[int], after: list[int]) -> None:
    earlier, later = Histogram.from_values(before), Histogram.from_values(before + after)
    found, true = later.subtract(earlier), Histogram.from_values(after)
    assert np.array_equal(found.dense(), true.dense())
    assert found.sum_ns == true.sum_ns
    assert found.min_ns <= true.min_ns <= true.max_ns <= found.max_ns


def test_a_difference_with_a_later_reading_is_refused() -> None:
    with pytest.raises(ValueError, match="earlier"):
        Histogram.from_values([100]).subtract(Histogram.from_values([100, 100]))


@given(MANY, st.integers(0, 3))
def test_a_coarser_scale_is_the_grid_of_that_scale(values: list[int], scale: int) -> None:
    coarse = Histogram.from_values(values).downscale(scale)
    assert coarse.count == len(values)
    for ns in (ns for ns in values if 65 <= ns <= 4096 * 10**9):
        p = Histogram.from_values([ns]).downscale(scale).offset
        assert longest_ns(p - 1, scale) < ns <= longest_ns(p, scale)


@given(MANY)
def test_coarsening_in_steps_is_coarsening_at_once(values: list[int]) -> None:
    histogram = Histogram.from_values(values)
    assert histogram.downscale(2).downscale(0) == histogram.log2()


@given(ON_THE_GRID, st.floats(0, 1))
def test_a_quantile_is_in_the_bucket_of_the_true_one(values: list[int], q: float) -> None:
    found = Histogram.from_values(values).quantile(q)
    true = int(np.quantile(values, q, method="inverted_cdf"))
    low, high = Histogram.from_values([true]).bounds_ns(Histogram.from_values([true]).offset)
    assert low * (1 - 1e-9) <= found <= high * (1 + 1e-9)


@given(MANY)
def test_the_outermost_quantiles_are_the_exact_extremes(values: list[int]) -> None:
    histogram = Histogram.from_values(values)
    assert histogram.quantile(1) == pytest.approx(max(*values, 1), rel=1e-12)
    assert histogram.quantile(0) == pytest.approx(max(min(values), 1), rel=1e-12)


@given(MANY, st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_quantiles_grow_with_q(values: list[int], qs: list[float]) -> None:
    found = Histogram.from_values(values).quantiles(sorted(qs))
    assert all(low <= high * (1 + 1e-12) for low, high in pairwise(found))


def test_percentiles_of_smooth_latencies_are_within_one_percent() -> None:
    values = latencies(100_000)
    qs = (0.01, 0.5, 0.9, 0.99)
    assert Histogram.from_values(values).quantiles(qs) == pytest.approx(np.quantile(values, qs), rel=0.01)


def test_rank_is_the_inverse_of_quantile() -> None:
    histogram = Histogram.from_values(latencies(10_000))
    for q in (0.0, 0.001, 0.25, 0.5, 0.99, 1.0):
        assert histogram.rank_below(histogram.quantile(q)) == pytest.approx(q, abs=1e-4)


def test_an_empty_histogram_has_no_mean_and_no_quantile() -> None:
    empty = Histogram.empty()
    assert empty.count == 0
    assert np.isnan([empty.mean_ns, empty.quantile(0.5), empty.rank_below(1)]).all()


@pytest.mark.parametrize("q", [-0.1, 1.1, float("nan")])
def test_a_quantile_outside_0_to_1_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Histogram.from_values([1]).quantile(q)


def test_many_at_once_are_the_same_as_one_by_one() -> None:
    histograms = [Histogram.from_values(latencies(n, n)) for n in (1, 2, 30, 1000)] + [Histogram.empty()]
    qs = (0, 0.07, 0.5, 0.999, 1)
    counts = np.array([each.dense() for each in histograms])
    found = quantiles_of(counts, [each.min_ns for each in histograms], [each.max_ns for each in histograms], qs)
    assert found == pytest.approx(np.array([each.quantiles(qs) for each in histograms]), nan_ok=True)


def test_counts_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        Histogram.from_values([1]).counts[0] = 2


def slices_of(values: np.ndarray, n: int = 30) -> list[Histogram]:
    return [Histogram.from_values(part) for part in np.array_split(values, n)]


def test_many_histograms_are_made_as_one_is() -> None:
    counts = np.random.default_rng(1).integers(0, 2, (20, BUCKETS), np.uint64)
    counts[3], counts[4], counts[5, 1:] = 0, [0] * (BUCKETS - 1) + [7], 0
    sums, mins, maxs = np.arange(60).reshape(3, 20)
    found = Histogram.many(counts, sums, mins, maxs)
    assert found == [Histogram.from_array(*each) for each in zip(counts, sums, mins, maxs, strict=True)]


def test_parts_are_the_histograms_that_they_were_made_of() -> None:
    values = np.split(latencies(3000), 30)
    whole = Histogram.from_values(np.concatenate(values))
    parts = Parts.of([Histogram.from_values(each) for each in values], whole)
    assert len(parts) == 30
    assert [each.sum_ns for each in parts] == [each.sum() for each in values]
    assert all(np.array_equal(a.dense(), Histogram.from_values(b).dense()) for a, b in zip(parts, values, strict=True))
    assert parts[0].merge(*parts[1:]).count == whole.count
    with pytest.raises(ValueError, match="another"):
        Parts.of([Histogram.from_values([10**12])], whole)


def test_error_bars_need_ten_slices_with_calls() -> None:
    slices = [*slices_of(latencies(900), 9), Histogram.empty()]
    assert intervals_ns(slices, slices[0].merge(*slices[1:]), [0.5]) is None


def test_a_quantile_that_too_few_calls_exceed_has_no_error_bar() -> None:
    slices = slices_of(latencies(300))
    median, far = intervals_ns(slices, slices[0].merge(*slices[1:]), [0.5, 0.999]) or []
    assert median is not None
    assert far is None


def test_a_drift_between_slices_widens_the_error_bar() -> None:
    steady, drifting = latencies(3000), latencies(3000) * np.repeat(np.linspace(1, 3, 30), 100)
    widths = []
    for values in (steady, drifting.astype(np.int64)):
        slices = slices_of(values)
        (ends,) = intervals_ns(slices, slices[0].merge(*slices[1:]), [0.5]) or [None]
        assert ends is not None
        widths.append(ends[1] / ends[0])
    assert widths[1] - 1 > 2 * (widths[0] - 1)


def test_no_error_bar_is_finer_than_the_grid_or_wider_than_what_was_seen() -> None:
    fixed = slices_of(np.repeat([10**6, 1010000, 10**9], [2980, 10, 10])[np.random.default_rng(2).permutation(3000)])
    (ends,) = intervals_ns(fixed, fixed[0].merge(*fixed[1:]), [0.5]) or [None]
    assert ends is not None
    assert ends[0] >= 10**6
    assert ends[1] / ends[0] > 1.02


def test_error_bars_of_correlated_latencies_hold_the_true_median() -> None:
    """95 % promised; of 200 measurements with 0.95 correlation from call to call, 90 % is far beyond chance."""
    rng, held = np.random.default_rng(3), 0
    noise = rng.normal(size=(3000, 200)) * np.sqrt(1 - 0.95**2)
    state = rng.normal(size=200)
    steps = []
    for each in noise:
        state = 0.95 * state + each
        steps.append(state)
    for values in np.exp(14 + np.array(steps).T).astype(np.int64):
        slices = slices_of(values)
        (ends,) = intervals_ns(slices, slices[0].merge(*slices[1:]), [0.5]) or [None]
        assert ends is not None
        held += ends[0] <= np.exp(14) <= ends[1]
    assert held >= 180
