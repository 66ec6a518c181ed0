"""The main job: the numbers of a report are the target's own, on every CPython of the lab."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.lab import Interpreter
from tests.pylat_command import Tracing
from tests.target_program import TargetProgram

Start = Callable[..., TargetProgram]

BUCKET = 2 ** (1 / 16) - 1
"""Width of a histogram's bucket, relative to where it begins: 4.4 %."""
PROBE_NS = 10_000
"""What a call may seem longer to pylat, which stands around it, than to the call itself."""


def test_a_threaded_servers_calls_are_counted_exactly_and_their_percentiles_are_its_own(
    interpreter: Interpreter, start_target: Start
) -> None:
    far: dict[str, float] = {}
    # A thread can lose its CPU between a probe and the target's own look at the clock. On a busy machine that shows in
    # the tail: counts are exact each time, the percentiles in one of three.
    for _ in range(3):
        target = start_target(interpreter, "requests.py", 2500, "durations")
        with Tracing("-p", target.pid, "--func", "handle_request", "--func", "worker", "-j") as tracing:
            truth = target.run()
            result = tracing.stop()
        assert result.status == 0
        assert truth["handle_request"]["calls"] == 10_000
        assert result.agrees(truth)
        seen = result.function("handle_request")["percentiles_ns"]
        far = differences_ns(seen, np.fromfile(target.directory / "durations", np.int64))
        if not far:
            break
    assert far == {}


def differences_ns(seen: dict[str, float], durations_ns: np.ndarray[Any, Any]) -> dict[str, float]:
    """The percentiles that are further from numpy's on the target's own log than a bucket and the probes' time."""
    found = {}
    for percent in (50, 90, 99):
        own_ns = float(np.percentile(durations_ns, percent))
        difference_ns = abs(seen[f"p{percent}"] - own_ns)
        if difference_ns > BUCKET * own_ns + PROBE_NS:
            found[f"p{percent}"] = difference_ns
    return found


def test_recursion_200_deep_is_counted_exactly_by_return_and_by_exception(
    interpreter: Interpreter, start_target: Start
) -> None:
    target = start_target(interpreter, "recursion.py", 200, 50)
    with Tracing("-p", target.pid, "--func", "descend", "--func", "plunge", "-j") as tracing:
        truth = target.run()
        result = tracing.stop()
    assert truth["descend"]["returned"] == truth["plunge"]["raised"] == 10_000
    assert result.agrees(truth)
