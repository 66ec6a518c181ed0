"""``--offcpu`` with ``--engine watch``: where the time of a plain function's call went, on every CPython with a GIL."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from latency.cpython.interpreter import Target
from latency.errors import UsageError
from latency.recording import Options, Recording
from latency.tracing.auto import Auto
from latency.tracing.counted.wire import DEPTH
from latency.tracing.watch.session import WatchSession
from tests.integration.test_auto import until_watched
from tests.integration.test_dividing import BY_HALF
from tests.lab import Interpreter
from tests.pylat_command import pylat
from tests.target_program import TargetProgram
from tests.watch import wrong

pytestmark = pytest.mark.gil  # the watch engine refuses free-threaded builds

Start = Callable[..., TargetProgram]


def measured(pid: int, names: tuple[str, ...], run: Callable[[], Any], **options: Any) -> tuple[Recording, Any]:
    asked = Options(func=tuple(f"__main__:{name}" for name in names), engine="watch", offcpu=True, **options)
    session = WatchSession(Target(pid, engine="watch"), asked)
    try:
        session.start()
        truth = run()
        return session.stop(), truth
    finally:
        session.close()


def not_adding_up(recording: Recording) -> list[str]:
    return [
        each.function.qualname
        for each in recording.functions
        if not each.split or (each.split.calls, each.split.wall_ns) != (each.calls, each.wall.sum_ns)
    ]


@pytest.mark.parametrize(
    "names", [("sleeps", "spins"), ("both", "waits"), ("descends", "fails"), ("collects",)], ids=" ".join
)
def test_times_are_divided_as_the_targets_own_clocks_divide_them(
    interpreter: Interpreter, start_target: Start, names: tuple[str, ...]
) -> None:
    target = start_target(interpreter, "dividing.py", "log")
    told = "dtrace" in Target(target.pid, engine="watch").build.flags
    recording, truth = measured(target.pid, names, target.run)
    assert wrong(recording, {name: truth[name] for name in names}) == {}
    assert not_adding_up(recording) == []
    bounds = json.loads((target.directory / "log").read_text())
    far = {}
    for each in recording.functions:
        assert each.split
        assert each.split.gc_known == told
        for part in set(BY_HALF.get(each.function.qualname, ())) - ({"gc"} if not told else set()):
            seen, least = each.split.totals_ns[part], bounds[each.function.qualname][part][0]
            if 2 * seen < least:
                far[each.function.qualname, part] = seen, least
    assert far == {}
    waits = next((each for each in recording.functions if each.function.qualname == "waits"), None)
    assert waits is None or waits.split.totals_ns["waiting"] > waits.split.wall_ns / 2  # type: ignore[union-attr]


def test_recursion_beyond_the_table_is_left_out_of_the_parts_and_of_nothing_else(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    depth, times = DEPTH + 100, 5
    target = start_target(own_interpreter, "recursion.py", depth, times)
    recording, truth = measured(target.pid, ("descend",), target.run)
    assert wrong(recording, {"descend": truth["descend"]}) == {}
    (descend,) = recording.functions
    assert descend.split is not None
    assert descend.split.calls == DEPTH * times
    assert descend.calls > descend.split.calls


def test_calls_of_forks_are_divided_too(own_interpreter: Interpreter, start_target: Start) -> None:
    target = start_target(own_interpreter, "forking.py")
    recording, truth = measured(target.pid, ("work", "works"), target.run, children=True)
    assert wrong(recording, {name: truth["forked"][name] for name in ("work", "works")}) == {}
    assert not_adding_up(recording) == []


def test_with_all_else_that_watchpoints_tell_it_is_one_measurement(
    interpreter: Interpreter, start_target: Start
) -> None:
    target = start_target(interpreter, "dividing.py", "log")
    recording, truth = measured(target.pid, ("sleeps", "spins"), target.run, children=True, slower="1ms")
    assert wrong(recording, {name: truth[name] for name in ("sleeps", "spins")}) == {}
    assert not_adding_up(recording) == []
    assert recording.slow_calls
    assert recording.slow_calls.seen >= truth["sleeps"]["calls"]


def test_from_probes_on_the_parts_are_those_of_all_calls(own_interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(own_interpreter, "serving.py")
    auto = Auto(Target(program.pid), Options(func=("handle",), offcpu=True))
    try:
        auto.start()
        until_watched(auto)
        program.send("more 50")
        program.readline()
        recording = auto.stop()
    finally:
        auto.close()
    assert recording.target.engine == "watch"
    assert recording.losses.total == 0
    assert recording.calls >= 49  # the first of the 50 may have begun before
    assert not_adding_up(recording) == []


def test_what_is_suspended_and_what_lies_inside_of_a_call_is_refused(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    target = start_target(own_interpreter, "dividing.py", "log")
    refused = pylat("-p", target.pid, "--func", "steps", "--engine", "watch", "--offcpu")
    assert refused.status == 2
    assert refused.err.splitlines() == [
        "pylat: the engine watch does not see when steps runs, so not where its time goes (--offcpu)",
        "  take --engine auto, or name other functions",
    ]
    with pytest.raises(UsageError, match="does not see which calls a function makes"):
        WatchSession(Target(target.pid, engine="watch"), Options(func=("spins",), engine="watch", self_time=True))
