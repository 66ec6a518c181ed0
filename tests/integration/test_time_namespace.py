"""pylat in a time namespace, where CLOCK_MONOTONIC is not the kernel's: the times that it tells are right."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest

from tests import time_namespace
from tests.lab import Interpreter
from tests.pylat_command import EVERY_CALL, Tracing
from tests.requirements import require
from tests.target_program import TargetProgram

Start = Callable[..., TargetProgram]
IN_A_NAMESPACE = (sys.executable, "-m", "tests.time_namespace")
ADJUSTED = timedelta(minutes=1)
"""By which the machine's time of day may be set meanwhile: much less than the namespace's offset."""


def now() -> datetime:
    return datetime.now(timezone.utc)


@pytest.mark.cpython(each=((3, 9), (3, 11), (3, 13), (3, 15)))
def test_slow_calls_and_open_calls_have_their_own_times(interpreter: Interpreter, start_target: Start) -> None:
    assert_their_own_times(start_target(interpreter, "hanging.py"), IN_A_NAMESPACE)


def test_where_the_clock_is_behind_too(own_interpreter: Interpreter, start_target: Start) -> None:
    assert_their_own_times(start_target(own_interpreter, "hanging.py"), (*IN_A_NAMESPACE, time_namespace.BEHIND))


def assert_their_own_times(target: TargetProgram, before: tuple[str, ...]) -> None:
    require(time_namespace.OFFSETS.exists(), "the kernel has no time namespaces")
    options = ("--func", "hangs", "--slower", "1us", "-j", *EVERY_CALL)
    with Tracing("-p", target.pid, *options, before=before) as tracing:
        earliest = now()
        target.run()  # one call begins
        latest = now()
        began = target.run()  # it ends, and the next one begins
        earlier_ns = time.monotonic_ns()
        result = tracing.stop()
    hangs = result.function("hangs")
    (slow,) = result.run["slow_calls"]["kept"]
    assert (hangs["calls"], hangs["open"]) == (1, 1)
    began_at = datetime.fromisoformat(slow["began_at"].replace("Z", "+00:00"))
    assert earliest - ADJUSTED <= began_at <= latest + ADJUSTED
    assert earlier_ns - began["inside_ns"] <= hangs["oldest_open_ns"] <= time.monotonic_ns() - began["before_ns"]


@pytest.mark.cpython(each=((3, 9), (3, 11), (3, 13), (3, 15)))
def test_a_trace_tells_the_time_of_day(interpreter: Interpreter, start_target: Start) -> None:
    require(time_namespace.OFFSETS.exists(), "the kernel has no time namespaces")
    target = start_target(interpreter, "hanging.py")
    options = ("--func", "hangs", "-j", "-n", 1)
    with Tracing("trace", "-p", target.pid, *options, before=IN_A_NAMESPACE) as tracing:
        before = now()
        target.run()
        target.run()
        result = tracing.wait()
        after = now()
    events = [json.loads(line) for line in result.out.splitlines()]
    times = [datetime.fromtimestamp(event["time_ns"] / 1e9, timezone.utc) for event in events if "time_ns" in event]
    assert len(times) == 2
    assert all(before - ADJUSTED <= each <= after + ADJUSTED for each in times)
