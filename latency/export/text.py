"""The text formats: OpenMetrics 1.0, and Prometheus' own before it. Histograms have classic buckets in both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import exposition
from prometheus_client.core import (
    CounterMetricFamily,
    Exemplar,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics import exposition as openmetrics_exposition
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from latency.export.families import Family, Point
from latency.export.grid import Bucket, classic
from latency.export.metrics import COUNTER, GAUGE, HISTOGRAM
from latency.histogram import Histogram

PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def prometheus(families: Sequence[Family]) -> bytes:
    """The Prometheus text format, 0.0.4; without exemplars and creation times, for which it has no place."""
    return exposition.generate_latest(_Collected(families, openmetrics=False))


def openmetrics(families: Sequence[Family]) -> bytes:
    """OpenMetrics 1.0: with slow calls as exemplars, and with the time since when each series counts."""
    collected = _Collected(families, openmetrics=True)
    written: bytes = openmetrics_exposition.generate_latest(collected)  # type: ignore[no-untyped-call]
    return written


class _Collected(Collector):
    """Families as ``prometheus_client`` takes them."""

    def __init__(self, families: Sequence[Family], *, openmetrics: bool) -> None:
        self._families = families
        self._openmetrics = openmetrics

    def collect(self) -> Iterable[Metric]:
        return (_metric(family, openmetrics=self._openmetrics) for family in self._families)


def _metric(family: Family, *, openmetrics: bool) -> Metric:
    metric = family.metric
    names = [name for name, _ in family.points[0].labels]
    if metric.type == HISTOGRAM:
        return _histogram(family, names, openmetrics=openmetrics)
    if metric.type == COUNTER:
        counter = CounterMetricFamily(metric.name, metric.meaning, labels=names, unit=metric.unit)
        for point in family.points:
            created = point.created.timestamp() if openmetrics else None
            counter.add_metric(_values(point), family.number(point), created=created)
        return counter
    if metric.type == GAUGE:
        gauge = GaugeMetricFamily(metric.name, metric.meaning, labels=names, unit=metric.unit)
        for point in family.points:
            gauge.add_metric(_values(point), family.number(point))
        return gauge
    info = InfoMetricFamily(metric.name, metric.meaning)
    for point in family.points:
        info.add_metric((), dict(point.labels))
    return info


def _histogram(family: Family, names: list[str], *, openmetrics: bool) -> Metric:
    metric = family.metric
    made = HistogramMetricFamily(metric.name, metric.meaning, labels=names, unit=metric.unit)
    for point in family.points:
        assert isinstance(point.value, Histogram)
        exemplars = point.exemplars if openmetrics else ()
        buckets = [_bucket(each) for each in classic(point.value, exemplars)]
        made.add_metric(_values(point), buckets, point.value.sum_ns / 1e9)
        if openmetrics:
            made.add_sample(f"{metric.name}_created", dict(point.labels), point.created.timestamp())
    return made


def _bucket(bucket: Bucket) -> tuple[str, float] | tuple[str, float, Exemplar]:
    bound: str = floatToGoString(bucket.bound_s)  # type: ignore[no-untyped-call]
    if bucket.exemplar is None:
        return bound, bucket.reached
    told = bucket.exemplar
    return bound, bucket.reached, Exemplar(dict(told.labels), told.duration_ns / 1e9, told.ended_at.timestamp())


def _values(point: Point) -> list[str]:
    return [value for _, value in point.labels]
