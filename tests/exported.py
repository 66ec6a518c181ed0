"""Recordings to export, and what Prometheus makes of what was exported: the sums of ``histogram_quantile``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from math import exp2, log2, nan

import numpy as np

from latency.histogram import Histogram
from latency.recording import (
    Function,
    FunctionLatency,
    Overhead,
    Probes,
    Recording,
    SlowCall,
    SlowCalls,
    Split,
    TargetInfo,
    Watched,
)

BEGAN = datetime(2026, 11, 23, 5, tzinfo=timezone.utc)
TARGET = TargetInfo((4242,), "app", "3.11.2", "ab", "/usr/bin/python3.11", "handlers", "table 3.11", "6.1", "x86_64", 2)
HANDLE = Function("handle", "/srv/app.py", 10)
STREAM = Function("Api.stream", "/srv/app.py", 20, "async_generator")
OPENED = Function("open", "python:audit", 0, "event")
VALUES_NS = [1_000_000 + 37_000 * number for number in range(1000)]


def measured(function: Function = HANDLE, values_ns: Sequence[int] = VALUES_NS, raised: int = 0) -> FunctionLatency:
    """A function with these calls."""
    return FunctionLatency(function, len(values_ns) - raised, raised, Histogram.from_values(values_ns))


def recording(*functions: FunctionLatency, **more: object) -> Recording:
    """A run of ten seconds."""
    return Recording(TARGET, 10.0, functions or (measured(),), started_at=BEGAN, **more)  # type: ignore[arg-type]


def everything() -> Recording:
    """A run of which each metric says something."""
    wall, half = Histogram.from_values([4_000_000] * 3), Histogram.from_values([2_000_000] * 3)
    parts = np.array([[4], [3], [2], [1], [2]]) * 10**6
    stream = FunctionLatency(
        STREAM,
        2,
        1,
        wall,
        active=half,
        open=2,
        abandoned=1,
        suspensions=9,
        oldest_open_ns=3 * 10**9,
        split=Split(3, 2, -31, parts),
        self_time=half,
        cut=4,
        ages=Histogram.from_values([5_000_000] * 6),
        probes=Probes(600_000, 0.1),
    )
    event = FunctionLatency(OPENED, 1200, 0, Histogram.empty())
    return recording(
        measured(raised=10),
        stream,
        event,
        overhead=Overhead(20_000, 900.0, 0.0018, 80 << 20, 5 << 20),
        began_before=1,
        watched=Watched(0.25, 20),
        slow_calls=SlowCalls("30ms", 10, 2, (slow(VALUES_NS[-1]), slow(VALUES_NS[-2], tid=8, ended_s=2)), lost=1),
    )


def slow(duration_ns: int, tid: int = 7, ended_s: float = 3) -> SlowCall:
    """A slow call of ``HANDLE``, which ended so long after the beginning."""
    began_at = BEGAN + timedelta(seconds=ended_s) - timedelta(microseconds=duration_ns // 1000)
    return SlowCall(HANDLE, began_at, duration_ns, 30_000_000, 1, tid, "worker")


@dataclass(frozen=True)
class Bucket:
    """Calls above ``low_s`` and up to ``high_s``."""

    low_s: float
    high_s: float
    count: int


def bucket_of(value_s: float, per_octave: int) -> float:
    """On a grid with a bound at each power of two, which bucket a value is in, or on whose end."""
    return log2(value_s) * per_octave


def quantile(q: float, buckets: Iterable[Bucket], *, linear: bool) -> float:
    """As Prometheus interpolates: linearly in classic buckets, and in native ones before 3.0; else exponentially."""
    there = [each for each in buckets if each.count]
    rank = q * sum(each.count for each in there)
    if not there:
        return nan
    for each in there:
        if rank <= each.count or each is there[-1]:
            break
        rank -= each.count
    if each.high_s == float("inf"):
        return each.low_s
    share = min(rank / each.count, 1.0)
    if linear or not each.low_s:
        return each.low_s + (each.high_s - each.low_s) * share
    return exp2(log2(each.low_s) + (log2(each.high_s) - log2(each.low_s)) * share)
