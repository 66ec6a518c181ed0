"""Runs to compare, made of what their functions do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np

from latency.histogram import Histogram
from latency.recording import Function, FunctionLatency, Losses, Recording, TargetInfo

TARGET = TargetInfo((1,), "app", "3.11.2", "ab", "/usr/bin/python3", "handlers", "table 3.11", "6.18", "x86_64", 2)
BEGAN = datetime(2026, 11, 23, 5, tzinfo=timezone.utc)
SPREAD = np.exp(np.random.default_rng(0).normal(0, 0.3, 400))
"""The latencies of a run's calls, the shortest a third of the longest."""
WOBBLE = (0.995, 1.003, 1.0, 0.998, 1.004, 0.997, 1.002, 1.001, 0.999, 1.001)
"""How runs differ."""


def function(name: str, line: int = 1, filename: str = "/srv/app/views.py") -> Function:
    return Function(name, filename, line)


def latency(of: Function, median_ns: float) -> FunctionLatency:
    return FunctionLatency(of, len(SPREAD), 0, Histogram.from_values((median_ns * SPREAD).astype(np.int64)))


def run(functions: Iterable[FunctionLatency], at_s: float = 0.0, **target: Any) -> Recording:
    return Recording(
        replace(TARGET, **target), 10.0, tuple(functions), started_at=BEGAN + timedelta(seconds=at_s), losses=Losses()
    )


def runs(
    medians_ns: Mapping[str, float], number: int = 10, *, head: bool = False, wobble: float = 1.0, **target: Any
) -> list[Recording]:
    """Runs of a side, in turns with those of the other side.

    Args:
        medians_ns: of each function by name.
        wobble: how many times as much as usual the runs differ.
    """
    turns = WOBBLE[::-1] if head else WOBBLE
    return [
        run(
            [latency(function(name), median * turns[turn % 10] ** wobble) for name, median in medians_ns.items()],
            20 * turn + 10 * head,
            **target,
        )
        for turn in range(number)
    ]
