"""The formats by their names; nothing of a format is imported before it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from latency.errors import MissingLibrary
from latency.export.families import Source, families
from latency.histogram import SCALE
from latency.recording import Recording

OPENMETRICS, PROMETHEUS, PROTOBUF, OTLP = FORMATS = ("openmetrics", "prometheus", "protobuf", "otlp")
BINARY = (PROTOBUF, OTLP)

_LIBRARIES = {"text": "prometheus-client", "protobuf": "protobuf", "otlp": "opentelemetry-proto"}


def writer(name: str) -> Any:
    """The module ``text``, ``protobuf`` or ``otlp``.

    Raises:
        MissingLibrary: what it needs is not installed.
    """
    try:
        return importlib.import_module(f"latency.export.{name}")
    except ImportError as error:
        raise MissingLibrary(
            f"this format needs {_LIBRARIES[name]}, which cannot be imported: {error}",
            "python -m pip install 'pylat-bpf[export]', or script/setup in a checkout",
        ) from error


def export(
    runs: Sequence[Recording], to: str, *, version: str, service: str = "", scale: int = SCALE, delta: bool = False
) -> bytes:
    """Recordings in one of ``FORMATS``.

    What has the same labels is added up, whichever run it is of; with OpenTelemetry each run is a resource of its own.

    Args:
        version: of pylat.
        service: what to call the measured program; ``""`` for nothing.
        scale: of exponential histograms, 0 to 4.
        delta: with OpenTelemetry: each run is what came since the last one that the receiver has.

    Raises:
        MissingLibrary: what the format needs is not installed.
        UsageError: there is no such scale.
    """
    if to == OTLP:
        otlp = writer("otlp")
        resources = [
            otlp.Resource(
                otlp.about(run, service),
                families([Source(run)], version=version),
                run.started_at + timedelta(seconds=run.duration_s),
            )
            for run in runs
        ]
        return bytes(otlp.request(resources, version=version, scale=scale, delta=delta))
    labels = {"service": service} if service else {}
    found = families([Source(run, labels) for run in runs], version=version)
    if to == PROTOBUF:
        return bytes(writer("protobuf").protobuf(found, scale=scale))
    return bytes(getattr(writer("text"), to)(found))
