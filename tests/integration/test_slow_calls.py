"""``--slower``: every slow call is told, with its arguments, its thread, its end and its callers, and no other one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from latency.recording import SlowCall, SlowCalls, dumps, loads
from tests.lab import Interpreter
from tests.target_program import TargetProgram
from tests.watch import Watch

Start = Callable[..., TargetProgram]
Measure = Callable[..., Watch]

THRESHOLD_NS, SLOW_NS = 10 * 10**6, 15 * 10**6
FUNCTIONS = ("plain", "enclosing", "descend", "failing", "Api.get", "Api.put", "Made.__init__", "yielding", "awaiting")


@pytest.fixture
def told(interpreter: Interpreter, start_target: Start, watch: Measure) -> tuple[SlowCalls, dict[int, Any]]:
    """The slow calls of a whole run, and what the program says of each call."""
    target = start_target(interpreter, "slow.py", SLOW_NS)
    functions = [f"__main__:{name}" for name in FUNCTIONS]
    session = watch(target.pid, functions, slower="10ms", slowest=1000)
    truth = {int(key): value for key, value in target.run().items()}
    recording = session.stop()
    assert recording.losses.total == 0
    assert loads(dumps([recording]))[0].slow_calls == recording.slow_calls
    assert recording.slow_calls
    return recording.slow_calls, truth


def key_of(call: SlowCall) -> int:
    return next(int(each.text) for each in call.arguments or () if each.name == "key")


def different(call: SlowCall, known: Mapping[str, Any], *, whole_names: bool) -> list[object]:
    """What a call is told to be otherwise than it was."""

    def name(qualname: str) -> str:
        return qualname if whole_names else qualname.rpartition(".")[2]

    arguments = {each.name: each.text for each in call.arguments or () if each.name != "self"}
    exception = "" if known["outcome"] == "returned" else known["outcome"]
    stack = [[name(each.function.qualname), os.path.basename(each.function.filename), each.line] for each in call.stack]
    pairs: list[tuple[object, object]] = [
        (call.function.qualname.rpartition(".")[2], known["function"]),
        (arguments, {**known["arguments"], **({"error": arguments["error"]} if "error" in arguments else {})}),
        ((call.outcome, call.exception), ("raised" if exception else "returned", exception)),
        (stack, [[name(qualname), *place] for qualname, *place in known["stack"]]),
        (call.stack_whole, True),
        (call.tid, known["tid"] or call.tid),
        (known["least_ns"] <= call.duration_ns <= known["most_ns"], True),
        (abs(call.began_at.timestamp() - known["at"]) < 0.5, True),
        (any(each.later for each in call.arguments or () if each.name not in ("self", "error")), False),
    ]
    return [pair for pair in pairs if pair[0] != pair[1]]


def test_every_slow_call_is_told_as_it_was_and_no_other(
    interpreter: Interpreter, told: tuple[SlowCalls, dict[int, Any]]
) -> None:
    slow, truth = told
    found = {key_of(call): call for call in slow.kept}
    certainly = {key for key, known in truth.items() if known["least_ns"] > THRESHOLD_NS}
    possibly = {key for key, known in truth.items() if known["most_ns"] > THRESHOLD_NS}
    assert len(found) == len(slow.kept) == slow.seen
    assert certainly <= found.keys() <= possibly
    assert len(certainly) >= 24
    wrong = {key: different(call, truth[key], whole_names=interpreter.minor >= (3, 11)) for key, call in found.items()}
    assert {key: each for key, each in wrong.items() if each} == {}
    durations = [call.duration_ns for call in slow.kept]
    assert durations == sorted(durations, reverse=True)
