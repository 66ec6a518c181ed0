"""Prometheus' protobuf format: the one in which servers take native histograms, as one message after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from google.protobuf.proto import serialize_length_prefixed

from latency.export.client_model import TYPES, MetricFamily
from latency.export.families import Exemplar, Family
from latency.export.grid import ZERO_THRESHOLD_S, classic, exponential
from latency.export.metrics import COUNTER, GAUGE, HISTOGRAM
from latency.histogram import SCALE, Counts, Histogram

CONTENT_TYPE = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"

_MOST_KEPT = 4096  # messages of histograms, a kilobyte each
_MOST_EMPTY = 2  # buckets without a call that cost less than another span


def protobuf(families: Sequence[Family], *, scale: int = SCALE) -> bytes:
    """Each family as a message behind its length.

    Histograms are native and classic at once, for servers that do not take native ones, and as older ones look for
    exemplars at the classic buckets.

    Args:
        scale: the schema of native histograms, 0 to 4; what was recorded coarser stays so.
    """
    out = BytesIO()
    for family in families:
        serialize_length_prefixed(_message(family, scale), out)
    return out.getvalue()


def _message(family: Family, scale: int) -> Any:
    metric = family.metric
    message = MetricFamily(
        name=metric.sample, help=metric.meaning, type=TYPES.get(metric.type, TYPES[GAUGE]), unit=metric.unit
    )
    for point in family.points:
        made = message.metric.add()
        for name, value in point.labels:
            made.label.add(name=name, value=value)
        if metric.type == HISTOGRAM:
            made.histogram.ParseFromString(_filled(_Same(point.value), point.created, point.exemplars, scale))
        elif metric.type == COUNTER:
            made.counter.value = family.number(point)
            _stamp(made.counter.created_timestamp, point.created)
        else:
            made.gauge.value = family.number(point)
    return message


class _Same:
    """A histogram as a key: it is equal to itself alone."""

    __slots__ = ("histogram",)

    def __init__(self, histogram: Any) -> None:
        assert isinstance(histogram, Histogram)
        self.histogram = histogram

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.histogram is other.histogram

    def __hash__(self) -> int:
        return id(self.histogram)


@lru_cache(_MOST_KEPT)
def _filled(same: _Same, created: datetime, exemplars: tuple[Exemplar, ...], scale: int) -> bytes:
    """The message of a histogram. From one scrape to the next most are the same object, and are not made again."""
    histogram = same.histogram
    message = MetricFamily().metric.add().histogram
    message.sample_count = histogram.count
    message.sample_sum = histogram.sum_ns / 1e9
    _stamp(message.created_timestamp, created)
    found = exponential(histogram, scale)
    message.schema = found.scale
    message.zero_threshold = ZERO_THRESHOLD_S
    message.zero_count = found.zero_count
    previous_end, previous_count = 0, 0
    for offset, counts in _spans(found.offset, found.counts):
        message.positive_span.add(offset=offset - previous_end, length=len(counts))
        for count in counts:
            message.positive_delta.append(count - previous_count)
            previous_count = count
        previous_end = offset + len(counts)
    if not message.positive_span:
        # Without it a server takes a histogram without calls for a classic one.
        message.positive_span.add(offset=0, length=0)
    for exemplar in exemplars:
        _tell(message.exemplars.add(), exemplar)
    for each in classic(histogram, exemplars):
        bucket = message.bucket.add(upper_bound=each.bound_s, cumulative_count=each.reached)
        if each.exemplar:
            _tell(bucket.exemplar, each.exemplar)
    return bytes(message.SerializeToString())


def _spans(offset: int, counts: Counts) -> Iterator[tuple[int, list[int]]]:
    """Runs of buckets with calls: where each begins, and its counts."""
    used = counts.nonzero()[0]
    gaps = np.diff(used) - 1
    for run in np.split(used, (gaps > _MOST_EMPTY).nonzero()[0] + 1):
        if len(run):
            yield offset + int(run[0]), counts[run[0] : run[-1] + 1].tolist()


def _tell(message: Any, exemplar: Exemplar) -> None:
    for name, value in exemplar.labels:
        message.label.add(name=name, value=value)
    message.value = exemplar.duration_ns / 1e9
    _stamp(message.timestamp, exemplar.ended_at)


def _stamp(message: Any, moment: datetime) -> None:
    message.FromDatetime(moment)
