"""``--slower``: every slow call is told, with its arguments, its thread, its end and its callers, and no other one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latency.recording import Argument, SlowCall, SlowCalls, dumps, load, loads
from latency.tracing.counted import slow as telling
from tests.lab import Interpreter
from tests.pylat_command import pylat
from tests.target_program import TargetProgram
from tests.watch import Watch

Start = Callable[..., TargetProgram]
Measure = Callable[..., Watch]

THRESHOLD_NS, SLOW_NS = 10 * 10**6, 15 * 10**6
ADJUSTED_S = 0.1
"""How far the wall clock may be put right during a test."""
FUNCTIONS = ("plain", "enclosing", "descend", "failing", "Api.get", "Api.put", "Made.__init__", "yielding", "awaiting")


@pytest.fixture
def no_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values are never cut because describing them takes long, which on a busy machine it may."""
    monkeypatch.setattr(telling, "_LIMITS", replace(telling._LIMITS, time_s=100))


@pytest.fixture
def told(
    interpreter: Interpreter, start_target: Start, watch: Measure, no_haste: None
) -> tuple[SlowCalls, dict[int, Any]]:
    """The slow calls of a whole run, and what the program says of each call."""
    target = start_target(interpreter, "slow.py", SLOW_NS)
    functions = [f"__main__:{name}" for name in FUNCTIONS]
    session = watch(target.pid, functions, elapsed=True, slower="10ms", slowest=1000)
    truth = {int(key): value for key, value in target.run().items()}
    recording = session.stop()
    assert recording.losses.total == 0
    assert loads(dumps([recording]))[0].slow_calls == recording.slow_calls
    assert recording.slow_calls
    return recording.slow_calls, truth


def key_of(call: SlowCall) -> int:
    return next(int(each.text) for each in call.arguments or () if each.name == "key")


def _in_locals(call: SlowCall) -> list[Argument]:
    """The arguments that nothing hides from the kernel."""
    return [each for each in call.arguments or () if each.name not in ("self", "error")]


def different(call: SlowCall, known: Mapping[str, Any], *, whole_names: bool) -> list[object]:
    """What a call is told to be otherwise than it was."""

    def name(qualname: str) -> str:
        return qualname if whole_names else qualname.rpartition(".")[2]

    later = {each.name for each in call.arguments or () if each.later}  # as they were then: nobody knows how
    arguments = {each.name: each.text for each in call.arguments or () if each.name != "self" and not each.later}
    expected = {name: text for name, text in known["arguments"].items() if name not in later}
    if "error" in arguments:
        expected["error"] = arguments["error"]
    exception = "" if known["outcome"] == "returned" else known["outcome"]
    stack = [[name(each.function.qualname), os.path.basename(each.function.filename), each.line] for each in call.stack]
    pairs: list[tuple[object, object]] = [
        (call.function.qualname.rpartition(".")[2], known["function"]),
        (arguments, expected),
        ((call.outcome, call.exception), ("raised" if exception else "returned", exception)),
        (stack, [[name(qualname), *place] for qualname, *place in known["stack"]]),
        (call.stack_whole, True),
        (call.tid, known["tid"] or call.tid),
        (known["least_ns"] <= call.duration_ns <= known["most_ns"], True),
        (known["since"] - ADJUSTED_S <= call.began_at.timestamp() <= known["until"] + ADJUSTED_S, True),
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
    # The kernel reads no page that is not present; what lies on one is read later, as it says of itself.
    late = [key for key, call in found.items() if any(it.later for it in _in_locals(call))]
    assert len(late) <= 1
    durations = [call.duration_ns for call in slow.kept]
    assert durations == sorted(durations, reverse=True)


def test_of_many_slow_calls_the_slowest_are_kept_and_all_are_counted(
    own_interpreter: Interpreter, start_target: Start, watch: Measure
) -> None:
    target = start_target(own_interpreter, "slow.py", SLOW_NS)
    session = watch(target.pid, ["__main__:plain"], elapsed=True, slower="10ms", slowest=3)
    truth = [known for known in target.run().values() if known["function"] == "plain"]
    slow = session.stop().slow_calls
    assert slow
    assert len(slow.kept) == 3
    certainly = sorted((known["least_ns"] for known in truth if known["least_ns"] > THRESHOLD_NS), reverse=True)
    possibly = [known for known in truth if known["most_ns"] > THRESHOLD_NS]
    assert len(certainly) <= slow.seen <= len(possibly)
    assert all(call.duration_ns >= least for call, least in zip(slow.kept, certainly[:3], strict=True))


def in_order(truth: Mapping[str, Any]) -> list[tuple[int, Any]]:
    """The calls of ``plain`` as they began, by their keys."""
    return sorted((int(key), known) for key, known in truth.items() if known["function"] == "plain")


def highest_p90_ns(calls: list[tuple[int, Any]]) -> float:
    """Above this no threshold can have been: of all calls so far, at any moment when those were enough."""
    most_ns = [known["most_ns"] for _, known in calls]
    bucket = 2 ** (1 / 16)
    return bucket**2 * max(np.quantile(most_ns[:count], 0.9, method="higher") for count in range(100, len(most_ns) + 1))


def test_a_percentile_is_of_each_function_and_waits_for_enough_calls(
    own_interpreter: Interpreter, start_target: Start, watch: Measure
) -> None:
    target = start_target(own_interpreter, "slow.py", SLOW_NS)
    measured = ["__main__:plain", "__main__:enclosing"]
    session = watch(target.pid, measured, slower="p90", slowest=1000)
    first = in_order(target.run())
    thresholds = session.session.maps.statistics["slower_ns"]
    deadline = time.monotonic() + 300
    while not thresholds.any() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert 0 < thresholds.max() <= highest_p90_ns(first)
    second = in_order(target.run())
    highest_ns = highest_p90_ns([*first, *second])
    recording = session.stop()
    slow = recording.slow_calls
    assert slow
    assert {key for key, known in second if known["least_ns"] > highest_ns} <= {key_of(call) for call in slow.kept}
    assert all(call.duration_ns > call.threshold_ns > 0 for call in slow.kept)
    assert {call.function.qualname for call in slow.kept} == {"plain"}  # too few calls of the other
    assert 2 + 100 <= slow.unjudged <= recording.calls - slow.seen


def test_slow_calls_that_do_not_fit_the_ring_buffer_are_counted_and_measured_all_the_same(
    own_interpreter: Interpreter, start_target: Start, watch: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling.SlowLog, "ring_bytes", 1 << 14)
    target = start_target(own_interpreter, "slow.py", 0)
    session = watch(target.pid, ["__main__:plain", "__main__:failing"], elapsed=True, slower="1ns")
    truth = [known for known in target.run().values() if known["function"] in ("plain", "failing")]
    recording = session.stop()
    slow = recording.slow_calls
    assert slow
    assert slow.seen == recording.calls == len(truth)
    assert slow.lost > 0
    assert 0 < len(slow.kept) <= min(10, slow.seen - slow.lost)
    assert recording.losses.total == 0


ENDS_AT_ONCE = """
import sys

def last_job(words, number=7):
    begin = time.perf_counter()
    while time.perf_counter() - begin < 0.02:
        pass
    raise SystemExit(3)

import time
if len(sys.argv) > 1:
    last_job(["a", ("b", None)])
"""


def test_a_call_that_ends_with_its_process_is_told_whole(own_interpreter: Interpreter, tmp_path: Path) -> None:
    script = tmp_path / "ends.py"
    script.write_text(ENDS_AT_ONCE)
    recorded = tmp_path / "r.json"
    done = pylat(
        "run", "--func", "last_job", "--slower", "15ms", "-o", recorded, "--", own_interpreter.path, script, "now"
    )
    assert done.status == 3, done.err
    (run,) = load(recorded)
    assert run.slow_calls
    (call,) = run.slow_calls.kept
    assert call.arguments == (Argument("words", "['a', ('b', None)]"), Argument("number", "7"))
    assert (call.outcome, call.exception) == ("raised", "SystemExit")
    assert [(frame.function.qualname, frame.line) for frame in call.stack] == [("<module>", 12)]
    assert "last_job(words=['a', ('b', None)], number=7)" in done.err


CHILDREN = """
import os, time
from protocol import serve

def work(name):
    begin = time.perf_counter()
    while time.perf_counter() - begin < 0.02:
        pass

def parent():
    pid = os.fork()
    if not pid:
        work("in the child")
        os._exit(0)
    os.waitpid(pid, 0)
    work("in the parent")
    return pid

serve(parent)
"""


@pytest.mark.xdist_group("breakpoints")
def test_slow_calls_of_children_are_told_with_their_process(
    own_interpreter: Interpreter, start_target: Start, watch: Measure, tmp_path: Path
) -> None:
    script = tmp_path / "children.py"
    script.write_text(CHILDREN)
    target = start_target(own_interpreter, script)
    session = watch(target.pid, ["__main__:work"], slower="15ms", children=True)
    child = target.run()
    slow = session.stop().slow_calls
    assert slow
    told = {(call.pid, call.arguments, call.stack[0].function.qualname, call.stack[0].line) for call in slow.kept}
    assert told == {
        (child, (Argument("name", "'in the child'"),), "parent", 13),
        (target.pid, (Argument("name", "'in the parent'"),), "parent", 16),
    }


def test_the_demo_names_its_planted_slow_path() -> None:
    shown = pylat("demo", "-d", "4", "--slower", "25ms", "--slowest", "10000", "-j")
    assert shown.status == 0, shown.err
    slow = shown.run["slow_calls"]
    numbers = [int(call["arguments"][0]["text"]) for call in slow["kept"]]
    planted = sorted(number for number in numbers if number % 100 == 99)
    assert planted
    if not shown.run["watched"]:  # else the limit has hidden some
        assert planted == list(range(planted[0], planted[-1] + 1, 100))  # every one of them
    for call in slow["kept"]:
        assert [each["name"] for each in call["arguments"]] == ["number", "slow_s"]
        assert call["stack"][0]["qualname"].endswith("do_GET")
        assert call["stack"][-1]["qualname"].endswith("_bootstrap")
