"""The waist of the house: what a measurement found, as pure data, live or from a ``pylat/1`` file.

``model`` is the vocabulary, ``encode`` and ``decode`` the JSON, ``file`` reads and writes it.

``__all__`` is a public interface: other programs read, make and merge recordings with it (docs/python-api.md says what
they may rely on). The modules within, and what they have beside it, change as they need to.
"""

from __future__ import annotations

from latency.errors import RecordingError
from latency.histogram import Histogram
from latency.recording.combine import combined
from latency.recording.encode import SCHEMA, to_json
from latency.recording.file import append, dump, dumps, json_schema, load, loads
from latency.recording.function import KINDS, Function, Owners
from latency.recording.model import (
    PERCENTILES,
    REMEDY,
    FunctionLatency,
    Losses,
    Options,
    Overhead,
    ProcessCalls,
    Recording,
    TargetInfo,
    Watched,
    percentile_name,
)
from latency.recording.probes import Probes
from latency.recording.slow import HIDDEN, SLOWEST, Argument, SlowCall, SlowCalls, Slower, StackFrame, slowest
from latency.recording.split import PARTS, Split

__all__ = [
    "HIDDEN",
    "KINDS",
    "PARTS",
    "PERCENTILES",
    "REMEDY",
    "SCHEMA",
    "SLOWEST",
    "Argument",
    "Function",
    "FunctionLatency",
    "Histogram",
    "Losses",
    "Options",
    "Overhead",
    "Owners",
    "Probes",
    "ProcessCalls",
    "Recording",
    "RecordingError",
    "SlowCall",
    "SlowCalls",
    "Slower",
    "Split",
    "StackFrame",
    "TargetInfo",
    "Watched",
    "append",
    "combined",
    "dump",
    "dumps",
    "json_schema",
    "load",
    "loads",
    "percentile_name",
    "slowest",
    "to_json",
]
