"""Reads Prometheus' protobuf format: messages behind their lengths."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from google.protobuf.proto import parse_length_prefixed

from latency.export.client_model import MetricFamily


def families(written: bytes) -> dict[str, Any]:
    """By name."""
    stream, found = BytesIO(written), {}
    while (family := parse_length_prefixed(MetricFamily, stream)) is not None:
        assert family.name not in found
        found[family.name] = family
    return found
