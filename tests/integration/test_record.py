"""The main job: the numbers of a report are the target's own, on every CPython of the lab."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from latency.recording import loads
from tests.brackets import CLOCK_NS, outside
from tests.lab import Interpreter
from tests.pylat_command import EVERY_CALL, Tracing
from tests.target_program import TargetProgram

Start = Callable[..., TargetProgram]


def test_a_threaded_servers_calls_are_counted_exactly_and_their_latencies_are_its_own(
    interpreter: Interpreter, start_target: Start
) -> None:
    target = start_target(interpreter, "requests.py", 2500, "durations")
    with Tracing("-p", target.pid, *EVERY_CALL, "--func", "handle_request", "--func", "worker", "-j") as tracing:
        truth = target.run()
        result = tracing.stop()
    assert result.status == 0
    assert truth["handle_request"]["calls"] == 10_000
    assert result.agrees(truth)
    (recording,) = loads(result.out)
    (requests,) = (each for each in recording.functions if each.function.qualname == "handle_request")
    inner_ns, outer_ns = np.fromfile(target.directory / "durations", np.int64).reshape(-1, 2).T
    assert outside(requests.wall, np.zeros_like(inner_ns), outer_ns) == []
    assert requests.probes is not None
    elapsed_ns, slack_ns = requests.wall.sum_ns + requests.probes.sum_ns, CLOCK_NS * len(inner_ns)
    assert inner_ns.sum() - slack_ns <= elapsed_ns <= outer_ns.sum() + slack_ns


def test_recursion_200_deep_is_counted_exactly_by_return_and_by_exception(
    interpreter: Interpreter, start_target: Start
) -> None:
    target = start_target(interpreter, "recursion.py", 200, 50)
    with Tracing("-p", target.pid, *EVERY_CALL, "--func", "descend", "--func", "plunge", "-j") as tracing:
        truth = target.run()
        result = tracing.stop()
    assert truth["descend"]["returned"] == truth["plunge"]["raised"] == 10_000
    assert result.agrees(truth)
