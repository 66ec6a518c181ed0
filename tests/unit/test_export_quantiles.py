"""What is exported gives, by the sums of those who read it, the quantiles of the calls: within a bucket."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from latency.export.formats import export
from latency.histogram import BUCKET_MIN, SCALE, Histogram, longest_ns
from tests.exported import Bucket, bucket_of, measured, quantile, recording
from tests.prometheus_messages import families

QS = (0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0)
# of the grid, but for what lies beyond its ends
_LATENCIES_NS = st.lists(st.integers(65, 4096 * 10**9), min_size=1, max_size=200)
ZERO_S = 2 ** (BUCKET_MIN / 16)


def native(values_ns: list[int], scale: int = SCALE) -> list[Bucket]:
    """The buckets of the histogram that the protobuf format holds."""
    written = export([recording(measured(values_ns=values_ns))], "protobuf", version="1", scale=scale)
    (metric,) = families(written)["pylat_function_duration_seconds"].metric
    histogram = metric.histogram
    deltas = iter(histogram.positive_delta)
    found, p, count = [Bucket(0.0, histogram.zero_threshold, histogram.zero_count)], 0, 0
    for span in histogram.positive_span:
        p += span.offset
        for _ in range(span.length):
            count += next(deltas)
            width = 2.0**histogram.schema
            found.append(Bucket(2 ** ((p - 1) / width), 2 ** (p / width), count))
            p += 1
    assert next(deltas, None) is None
    assert histogram.sample_count == len(values_ns)
    assert histogram.sample_sum == sum(values_ns) / 1e9
    return found


def classic(values_ns: list[int]) -> list[Bucket]:
    written = export([recording(measured(values_ns=values_ns))], "protobuf", version="1")
    (metric,) = families(written)["pylat_function_duration_seconds"].metric
    ends = [(each.upper_bound, each.cumulative_count) for each in metric.histogram.bucket]
    lows = [0.0, *(high for high, _ in ends)]
    counts = np.diff([0, *(reached for _, reached in ends)])
    return [Bucket(low, high, int(count)) for low, (high, _), count in zip(lows, ends, counts, strict=False)]


def exponential(values_ns: list[int], scale: int = SCALE) -> list[Bucket]:
    """The buckets of the histogram that the request holds."""
    written = export([recording(measured(values_ns=values_ns))], "otlp", version="1", scale=scale)
    (resource,) = ExportMetricsServiceRequest.FromString(written).resource_metrics
    (metric,) = (each for each in resource.scope_metrics[0].metrics if each.name == "pylat.function.duration")
    (point,) = metric.exponential_histogram.data_points
    width = 2.0**point.scale
    assert point.count == len(values_ns)
    assert point.sum == sum(values_ns) / 1e9
    assert (point.min, point.max) == (min(values_ns) / 1e9, max(values_ns) / 1e9)
    return [
        Bucket(0.0, point.zero_threshold, point.zero_count),
        *(
            Bucket(2 ** (index / width), 2 ** ((index + 1) / width), count)
            for index, count in enumerate(point.positive.bucket_counts, point.positive.offset)
        ),
    ]


def compare(values_ns: list[int], buckets: list[Bucket], per_octave: int, *, linear: bool) -> None:
    histogram = Histogram.from_values(values_ns)
    assert sum(each.count for each in buckets) == len(values_ns)
    for q in QS:
        theirs_s = quantile(q, buckets, linear=linear)
        exact_s = float(np.quantile(values_ns, q, method="inverted_cdf")) / 1e9
        for ours_s in (histogram.quantile(q) / 1e9, exact_s):
            assert abs(bucket_of(theirs_s, per_octave) - bucket_of(ours_s, per_octave)) <= 1.0 + 1e-6


@given(_LATENCIES_NS, st.booleans())
def test_quantiles_of_native_histograms_are_within_a_bucket(values_ns: list[int], linear: bool) -> None:
    compare(values_ns, native(values_ns), 16, linear=linear)


@given(_LATENCIES_NS, st.booleans(), st.integers(0, 3))
def test_quantiles_of_coarser_ones_are_within_a_coarser_bucket(values_ns: list[int], linear: bool, scale: int) -> None:
    compare(values_ns, native(values_ns, scale), 2**scale, linear=linear)


@given(_LATENCIES_NS, st.integers(0, 4))
def test_quantiles_of_opentelemetrys_histograms_are_within_a_bucket(values_ns: list[int], scale: int) -> None:
    compare(values_ns, exponential(values_ns, scale), 2**scale, linear=False)


@given(st.lists(st.integers(954, 1024 * 10**9), min_size=1, max_size=200))
def test_quantiles_of_classic_histograms_are_within_a_bucket(values_ns: list[int]) -> None:
    compare(values_ns, classic(values_ns), 2, linear=True)


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=200))
def test_each_call_is_in_the_bucket_that_was_recorded(values_ns: list[int]) -> None:
    recorded = Histogram.from_values(values_ns)
    counted = {p: count for p, count in enumerate(recorded.counts.tolist(), recorded.offset) if count}
    for buckets in (native(values_ns), exponential(values_ns)):
        assert {round(bucket_of(each.high_s, 16)): each.count for each in buckets if each.count} == counted


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=200))
def test_classic_buckets_count_the_calls_up_to_their_bounds(values_ns: list[int]) -> None:
    *finite, _ = accumulate(each.count for each in classic(values_ns))
    longest = [longest_ns(k, 1) for k in range(-40, 21)]
    assert finite == [sum(value <= bound_ns for value in values_ns) for bound_ns in longest]


def test_calls_of_next_to_nothing_are_in_the_zero_bucket() -> None:
    for buckets in (native([0, 1, 64, 65]), exponential([0, 1, 64, 65])):
        assert buckets[0] == Bucket(0.0, ZERO_S, 3)
        assert [each.count for each in buckets[1:]] == [1]


def test_a_native_histogram_without_calls_is_still_a_native_one() -> None:
    written = export([recording(measured(values_ns=[]))], "protobuf", version="1")
    (metric,) = families(written)["pylat_function_duration_seconds"].metric
    assert [(span.offset, span.length) for span in metric.histogram.positive_span] == [(0, 0)]
    assert metric.histogram.sample_count == 0


def test_a_gap_is_written_as_two_spans_only_where_that_is_shorter() -> None:
    counts = np.isin(np.arange(-100, -89), [-100, -97, -90]).astype(int)
    run = recording(replace(measured(), wall=Histogram(SCALE, -100, counts, 3, 1, 1)))
    (metric,) = families(export([run], "protobuf", version="1"))["pylat_function_duration_seconds"].metric
    assert [(span.offset, span.length) for span in metric.histogram.positive_span] == [(-100, 4), (6, 1)]
    assert list(metric.histogram.positive_delta) == [1, -1, 0, 1, 0]


@pytest.mark.parametrize("scale", [0, 1, 2, 3, 4])
def test_what_was_recorded_on_a_coarser_grid_stays_on_it(scale: int) -> None:
    coarse = Histogram.from_values([1_000_000] * 5).downscale(scale)
    run = recording(replace(measured(), wall=coarse))
    (metric,) = families(export([run], "protobuf", version="1"))["pylat_function_duration_seconds"].metric
    assert metric.histogram.schema == scale
    assert metric.histogram.bucket[-1].cumulative_count == 5


def test_classic_bounds_are_the_same_numbers_everywhere() -> None:
    bounds = [each.high_s for each in classic([1])][:-1]
    assert bounds[::2] == [2.0**k for k in range(-20, 11)]
    assert bounds[1::2] == [2.0**k * 1.4142135623730951 for k in range(-20, 10)]
