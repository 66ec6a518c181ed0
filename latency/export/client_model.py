"""The messages of Prometheus' protobuf format (``io.prometheus.client``), as far as pylat writes them.

No library on the index has them. The numbers are those of ``metrics.proto`` of github.com/prometheus/client_model, as
the servers of the tests read them.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

PACKAGE = "io.prometheus.client"
TYPES = {"counter": 0, "gauge": 1, "histogram": 4}
"""Of a family. What OpenMetrics calls an info is a gauge that is 1."""

_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _FIELD.TYPE_STRING,
    "double": _FIELD.TYPE_DOUBLE,
    "uint64": _FIELD.TYPE_UINT64,
    "sint32": _FIELD.TYPE_SINT32,
    "uint32": _FIELD.TYPE_UINT32,
    "sint64": _FIELD.TYPE_SINT64,
}
_TIMESTAMP = "google.protobuf.Timestamp"
_REPEATED = "*"
_MESSAGES = {
    "LabelPair": {"name": (1, "string"), "value": (2, "string")},
    "Gauge": {"value": (1, "double")},
    "Counter": {"value": (1, "double"), "exemplar": (2, "Exemplar"), "created_timestamp": (3, _TIMESTAMP)},
    "Histogram": {
        "sample_count": (1, "uint64"),
        "sample_sum": (2, "double"),
        "bucket": (3, "Bucket*"),
        "schema": (5, "sint32"),
        "zero_threshold": (6, "double"),
        "zero_count": (7, "uint64"),
        "positive_span": (12, "BucketSpan*"),
        "positive_delta": (13, "sint64*"),
        "created_timestamp": (15, _TIMESTAMP),
        "exemplars": (16, "Exemplar*"),
    },
    "Bucket": {"cumulative_count": (1, "uint64"), "upper_bound": (2, "double"), "exemplar": (3, "Exemplar")},
    "BucketSpan": {"offset": (1, "sint32"), "length": (2, "uint32")},
    "Exemplar": {"label": (1, "LabelPair*"), "value": (2, "double"), "timestamp": (3, _TIMESTAMP)},
    "Metric": {
        "label": (1, "LabelPair*"),
        "gauge": (2, "Gauge"),
        "counter": (3, "Counter"),
        "histogram": (7, "Histogram"),
    },
    "MetricFamily": {
        "name": (1, "string"),
        "help": (2, "string"),
        "type": (3, "MetricType"),
        "metric": (4, "Metric*"),
        "unit": (5, "string"),
    },
}


def descriptor() -> descriptor_pb2.FileDescriptorProto:
    """What a compiled ``metrics.proto`` would hold."""
    file = descriptor_pb2.FileDescriptorProto(
        name="io/prometheus/client/metrics.proto", package=PACKAGE, syntax="proto2"
    )
    file.dependency.append(timestamp_pb2.DESCRIPTOR.name)
    kinds = file.enum_type.add(name="MetricType")
    for name, number in TYPES.items():
        kinds.value.add(name=name.upper(), number=number)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            made = message.field.add(name=field, number=number, label=_FIELD.LABEL_OPTIONAL)
            if kind.endswith(_REPEATED):
                made.label, kind = _FIELD.LABEL_REPEATED, kind.removesuffix(_REPEATED)
            if kind in _SCALARS:
                made.type = _SCALARS[kind]
            else:
                made.type = _FIELD.TYPE_ENUM if kind == "MetricType" else _FIELD.TYPE_MESSAGE
                made.type_name = f".{kind}" if "." in kind else f".{PACKAGE}.{kind}"
    return file


def _family() -> Any:
    # In a pool of its own: in the common one a program could have the same messages, made by protoc.
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(descriptor().SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.MetricFamily"))


MetricFamily = _family()
"""The class of the outermost message; the others are made by its fields."""
