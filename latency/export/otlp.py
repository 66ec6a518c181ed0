"""OpenTelemetry's protocol: one export request, as OTLP/HTTP sends it in binary protobuf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage

from latency.export.families import Exemplar, Family, Labels, Point, label_value
from latency.export.grid import ZERO_THRESHOLD_S, exponential
from latency.export.metrics import COUNTER, GAUGE, HISTOGRAM, INFO, attribute
from latency.histogram import SCALE, Histogram
from latency.recording import Recording

CONTENT_TYPE = "application/x-protobuf"
PATH = "/v1/metrics"
"""Where receivers of OTLP/HTTP take metrics, unless they say otherwise."""

_WHOLE = frozenset(("line", "pid", "tid"))  # labels that are numbers in OpenTelemetry
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_CUMULATIVE = metrics_pb2.AGGREGATION_TEMPORALITY_CUMULATIVE
_DELTA = metrics_pb2.AGGREGATION_TEMPORALITY_DELTA


@dataclass(frozen=True, slots=True)
class Resource:
    """Whose metrics these are.

    Attributes:
        attributes: by their OpenTelemetry names; ``service.name`` is one of them.
        families: see ``families.families``; of a delta what came since the last request, by ``families.since``.
        at: of what time the values are; UTC.
    """

    attributes: Mapping[str, str]
    families: Sequence[Family]
    at: datetime


def about(run: Recording, service: str = "") -> dict[str, str]:
    """The attributes of what a recording is about. Without a service it is called as all unknown ones are."""
    program = run.target.executable.rpartition("/")[2]
    return {
        "service.name": service or (f"unknown_service:{program}" if program else "unknown_service"),
        "service.instance.id": run.id,
        "process.runtime.name": "cpython",
        "process.runtime.version": run.target.python,
        "process.executable.path": run.target.executable,
    }


def request(resources: Sequence[Resource], *, version: str, scale: int = SCALE, delta: bool = False) -> bytes:
    """The body of a request to ``PATH``.

    Args:
        version: of pylat.
        scale: of exponential histograms, 0 to 4; what was recorded coarser stays so.
        delta: the values are what came since the last request, and not since they were created.
    """
    message = ExportMetricsServiceRequest()
    for each in resources:
        within = message.resource_metrics.add(resource=_resource(each.attributes))
        scope = within.scope_metrics.add(scope=InstrumentationScope(name="pylat", version=version))
        for family in each.families:
            # What they say stands in the resource and the scope.
            if family.metric.type != INFO:
                scope.metrics.append(_metric(family, each.at, scale, _DELTA if delta else _CUMULATIVE))
    return message.SerializeToString()


def _metric(family: Family, at: datetime, scale: int, temporality: Any) -> metrics_pb2.Metric:
    metric = family.metric
    message = metrics_pb2.Metric(name=metric.otel, description=metric.meaning, unit=metric.ucum)
    made: Any
    for point in family.points:
        if metric.type == HISTOGRAM:
            message.exponential_histogram.aggregation_temporality = temporality
            made = message.exponential_histogram.data_points.add()
            _fill(made, point, scale)
        elif metric.type == COUNTER:
            message.sum.aggregation_temporality = temporality
            message.sum.is_monotonic = True
            made = message.sum.data_points.add()
            _number(made, family.number(point))
        else:
            made = message.gauge.data_points.add()
            _number(made, family.number(point))
        made.attributes.extend(_attributes(point.labels))
        made.time_unix_nano = _unix_ns(at)
        if metric.type != GAUGE:
            made.start_time_unix_nano = _unix_ns(point.created)
    return message


def _number(message: metrics_pb2.NumberDataPoint, value: int | float) -> None:
    if isinstance(value, int):
        message.as_int = value
    else:
        message.as_double = value


def _fill(message: metrics_pb2.ExponentialHistogramDataPoint, point: Point, scale: int) -> None:
    histogram = point.value
    assert isinstance(histogram, Histogram)
    found = exponential(histogram, scale)
    message.count = histogram.count
    message.sum = histogram.sum_ns / 1e9
    if message.count:
        message.min, message.max = histogram.min_ns / 1e9, histogram.max_ns / 1e9
    message.scale = found.scale
    message.zero_threshold = ZERO_THRESHOLD_S
    message.zero_count = found.zero_count
    if len(found.counts):
        message.positive.offset = found.offset - 1
        message.positive.bucket_counts.extend(found.counts.tolist())
    for each in point.exemplars:
        message.exemplars.append(_exemplar(each))


def _exemplar(exemplar: Exemplar) -> metrics_pb2.Exemplar:
    return metrics_pb2.Exemplar(
        filtered_attributes=_attributes(exemplar.labels),
        time_unix_nano=_unix_ns(exemplar.ended_at),
        as_double=exemplar.duration_ns / 1e9,
    )


def _resource(attributes: Mapping[str, str]) -> ResourceMessage:
    texts = {name: AnyValue(string_value=label_value(value)) for name, value in attributes.items() if value}
    return ResourceMessage(attributes=[KeyValue(key=name, value=value) for name, value in texts.items()])


def _attributes(labels: Labels) -> list[KeyValue]:
    return [KeyValue(key=attribute(name), value=_value(name, text)) for name, text in labels]


def _value(label: str, text: str) -> AnyValue:
    return AnyValue(int_value=int(text)) if label in _WHOLE else AnyValue(string_value=text)


def _unix_ns(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
