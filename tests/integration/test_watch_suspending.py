"""The watch engine on what suspends: exact from CPython 3.11 on, refused with its reason where it cannot be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from latency.cpython.interpreter import Target
from latency.errors import UsageError
from latency.recording import FunctionLatency, Options
from latency.tracing.probes.look import TRAPS_PER_CALL
from latency.tracing.watch.session import WatchSession
from tests.brackets import outside
from tests.lab import Interpreter
from tests.target_program import TargetProgram

pytestmark = pytest.mark.gil  # the watch engine refuses free-threaded builds
Start = Callable[..., TargetProgram]


def session(target: Target, *functions: str) -> WatchSession:
    return WatchSession(target, Options(func=functions, engine="watch"))


def numbers(each: FunctionLatency) -> dict[str, int]:
    return {name: getattr(each, name) for name in ("calls", "returned", "raised", "abandoned", "open")}


@pytest.mark.cpython(min=(3, 11))
def test_every_ending_of_what_suspends_is_counted_exactly(interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(interpreter, "waiting.py")
    truth = program.run()
    target = Target(program.pid, engine="watch")
    wrong = {}
    for name in truth:
        with session(target, name) as measuring:
            measuring.start()
            known = program.run()[name]
            recording = measuring.stop()
        (function,) = recording.functions
        known["open"] = 3 if name == "shut" else 0
        del known["suspensions"]
        lost = {reason: count for reason, count in recording.losses.as_dict().items() if count}
        if numbers(function) != known or lost:
            wrong[name] = numbers(function), known, lost
        # what was suspended at the beginning ends unseen, or is seen to end and told apart
        assert recording.began_before <= 3
        events = recording.events
        assert events["entries"] == events["matched"] + events["abandoned"] + function.open
        assert any("how often they are suspended" in line for line in recording.blind_spots)
    assert wrong == {}


@pytest.mark.cpython(min=(3, 11))
def test_a_coroutines_latencies_lie_within_what_the_program_measures(
    interpreter: Interpreter, start_target: Start
) -> None:
    program = start_target(interpreter, "waiting.py", 100)
    with session(Target(program.pid, engine="watch"), "waits") as measuring:
        measuring.start()
        program.run()
        recording = measuring.stop()
    (waits,) = recording.functions
    inner_ns, outer_ns = np.loadtxt(program.directory / "durations", np.int64).T
    assert len(inner_ns) == 100
    assert recording.overhead is not None
    taken_off_ns = TRAPS_PER_CALL * recording.overhead.ns_per_hit
    assert outside(waits.wall, inner_ns - taken_off_ns, outer_ns) == []


@pytest.mark.cpython(max=(3, 10))
def test_to_3_10_what_suspends_is_refused(interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(interpreter, "watched.py")
    with pytest.raises(UsageError, match=r"suspends is a generator: up to CPython 3\.10 nothing"):
        session(Target(program.pid, engine="watch"), "suspends")


@pytest.mark.cpython(min=(3, 11))
def test_more_returns_than_registers_are_refused(interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(interpreter, "waiting.py")
    target = Target(program.pid, engine="watch")
    if interpreter.minor == (3, 11):
        session(target, "three_returns").close()
        return
    with pytest.raises(UsageError, match="three_returns is a generator that returns in 3 places"):
        session(target, "three_returns")
