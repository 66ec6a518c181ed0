"""Recordings with something of everything that a page shows."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import numpy as np

from latency.histogram import Histogram
from latency.recording import (
    HIDDEN,
    PARTS,
    Argument,
    Function,
    FunctionLatency,
    Losses,
    Options,
    Overhead,
    Recording,
    SlowCall,
    SlowCalls,
    Split,
    StackFrame,
)
from tests.unit.comparing import run

HOSTILE = (
    "</script><img src=x onerror=alert(1)><!--<script>",
    "</noscript></pre></main><script>document.title='broken'</script>",
    "\x1b[2J\u202e\u2028\udcff\x00",
    "&lt;b&gt;`${alert(1)}`\\u003cimg\\",
    "__proto__",
    "constructor",
)
"""Names as a program of ill will would choose them."""
BEGAN = datetime(2026, 11, 27, 5, tzinfo=timezone.utc)


def sliced(
    name: str = "handle_request", calls: int = 3000, seed: int = 1, spread: float = 0.7, parts: int = 30
) -> FunctionLatency:
    """Of a function, with the parts of its measurement."""
    values = np.exp(np.random.default_rng(seed).normal(14 + seed % 5, spread, calls)).astype(np.int64)
    slices = tuple(Histogram.from_values(part) for part in np.array_split(values, parts))
    wall = Histogram.from_values(values)
    return FunctionLatency(Function(name, f"/srv/app/module_{seed}.py", 10 + seed), wall.count, 0, wall, slices=slices)


def many(number: int, calls: int = 3000, parts: int = 30) -> Recording:
    """As many functions, each of some thousand calls."""
    return run([sliced(f"Class{each % 17}.method_{each}", calls + each, each, parts=parts) for each in range(number)])


def divided(name: str) -> FunctionLatency:
    """Where the time went is known of it, and its own time."""
    latency = sliced(name)
    sums = np.zeros((len(PARTS), 3), np.int64)
    sums[:, :] = latency.wall.sum_ns // 15
    own = Histogram.from_values([1_000_000] * 3000)
    return replace(latency, split=Split(3000, 4, latency.wall.offset, sums), self_time=own)


def slow_call(name: str, ms: int) -> SlowCall:
    """A call with a password, and callers."""
    stack = (
        StackFrame(Function("Handler.get", "/srv/app.py", 10), 17),
        StackFrame(Function("", "", 0)),
        StackFrame(Function(name, "/srv/<main>.py", 3)),
    )
    arguments = (Argument("items", f"['{name}']", later=True), Argument("password", HIDDEN))
    return SlowCall(
        Function(name, "/srv/app.py", 88), BEGAN, ms * 10**6, 10**7, 42, 43, name[:15], "raised", name, arguments, stack
    )


def everything() -> Recording:
    """Each kind of function, losses, slow calls; names of ill will in each place."""
    wall = Histogram.from_values([1_000_000, 2_000_000])
    functions = [
        divided("handle_request"),
        *(sliced(name, 200, seed) for seed, name in enumerate(HOSTILE)),
        FunctionLatency(Function("stream", "/srv/a.py", 5, "async_generator"), 1, 1, wall, active=wall, suspensions=7),
        FunctionLatency(Function("never", "/srv/a.py", 9), 0, 0, Histogram.empty(), open=2, oldest_open_ns=10**9),
        FunctionLatency(Function("gc start", "gc", 0, "event"), 12, 0, Histogram.empty()),
    ]
    kept = tuple(slow_call(name, 900 - at) for at, name in enumerate(("handle_request", *HOSTILE)))
    return replace(
        run(functions, command=HOSTILE[0], choice=HOSTILE[1], engine=HOSTILE[0]),
        options=Options((HOSTILE[0],), slower="10ms", offcpu=True, self_time=True),
        losses=Losses(too_deep=3, other={HOSTILE[0]: 2}),
        blind_spots=(HOSTILE[0],),
        overhead=Overhead(10, 900, 0.1, 1, 1),
        slow_calls=SlowCalls("10ms", 10, 12, kept, lost=1),
    )
