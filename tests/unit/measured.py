"""Recordings that were made up, of a few functions and of many."""

from __future__ import annotations

from typing import Any

import numpy as np

from latency.histogram import Histogram
from latency.recording import Function, FunctionLatency, Recording, TargetInfo

SERVE, IDLE = Function("serve", "/srv/app.py", 1), Function("idle", "/srv/app.py", 2)


def latency(function: Function, values_ns: Any, raised: int = 0, **further: Any) -> FunctionLatency:
    wall = Histogram.from_values(values_ns)
    return FunctionLatency(function, wall.count - raised, raised, wall, **further)


def recording(*functions: FunctionLatency, pid: int = 4242, **further: Any) -> Recording:
    target = TargetInfo((pid,), "app", "3.11.2", "ab", "/usr/bin/python3", "handlers", "table", "6.18", "x86_64", 2)
    return Recording(target, further.pop("duration_s", 10.0), functions, **further)


def random_latencies(seed: int, count: int = 40) -> list[FunctionLatency]:
    rng = np.random.default_rng(seed)
    return [
        latency(Function(f"f{at}", "/srv/app.py", at), rng.lognormal(10, 2, rng.integers(0, 200)).astype(np.int64))
        for at in range(count)
    ]
