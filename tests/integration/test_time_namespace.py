"""pylat in a time namespace, where CLOCK_MONOTONIC is not the kernel's: the times that it tells are right."""

from __future__ import annotations

import json
import subprocess
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


CUTS = """
import sys
from latency.cpython.interpreter import Target
from latency.recording import Options
from latency.tracing.probes.cost import HitCost
from latency.tracing.probes.session import Session
from latency.tracing.probes.slicing import Slicing

with Session(Target(int(sys.argv[1])), Options(func=("hangs",), max_overhead_pct=100.0)) as session:
    session.hit_cost = HitCost(0.0, 0.0)  # so the limit never speaks; this program does
    session.start()
    print("begun", flush=True)
    sys.stdin.readline()
    next(part for part in session.parts if isinstance(part, Slicing)).pause()
    (hangs,) = session.stop().functions
    print(hangs.cut, hangs.ages.count, hangs.ages.min_ns, hangs.ages.max_ns, flush=True)
"""


@pytest.mark.parametrize("options", [(), (time_namespace.BEHIND,)])
def test_a_call_that_a_slice_cuts_has_its_own_age(
    own_interpreter: Interpreter, start_target: Start, options: tuple[str, ...]
) -> None:
    require(time_namespace.OFFSETS.exists(), "the kernel has no time namespaces")
    target = start_target(own_interpreter, "hanging.py")
    command = [*IN_A_NAMESPACE, *options, sys.executable, "-c", CUTS, str(target.pid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as measuring:
        assert measuring.stdout is not None
        assert measuring.stdout.readline() == "begun\n"
        began = target.run()
        earlier_ns = time.monotonic_ns()
        out, _ = measuring.communicate("cut\n")
        later_ns = time.monotonic_ns()
    cut, ages, youngest_ns, oldest_ns = map(int, out.split())
    assert (cut, ages) == (1, 1)
    assert earlier_ns - began["inside_ns"] <= youngest_ns <= oldest_ns <= later_ns - began["before_ns"]


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
