"""The account of what the probes take: the hits that a call passes on its way, at made-up prices."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from latency.cpython.interpreter import Target
from latency.recording import Options, Recording
from latency.tracing.probes.account import Account
from latency.tracing.probes.session import Session
from tests.lab import Interpreter
from tests.target_program import TargetProgram
from tests.watch import of_names, wrong

Start = Callable[..., TargetProgram]
TIMES, INSIDE, DEPTH, STEPS = 50, 7, 5, 3  # as in the program
REJECTED_NS, COUNTED_NS, OWN_NS = 2, 3, 5  # so little that no call is shorter
NAMES = ("calling", "descending", "stepping", "sleeping", "failing")
SUSPENDED_NS = STEPS * TIMES * (2 * REJECTED_NS + 2 * COUNTED_NS - OWN_NS)
"""A call, and what the suspension and the resumption take beside what lies in the stays."""
PASSED_NS = {
    "calling": TIMES * (OWN_NS + 2 * INSIDE * REJECTED_NS),
    "descending": TIMES * sum(OWN_NS + 2 * deeper * COUNTED_NS for deeper in range(DEPTH + 1)),
    "stepping": TIMES * ((STEPS + 1) * OWN_NS + 2 * STEPS * REJECTED_NS) + SUSPENDED_NS,
    "sleeping": TIMES * (STEPS + 1) * OWN_NS + SUSPENDED_NS,
    "failing": TIMES * (OWN_NS + 2 * REJECTED_NS),
}


def measured(program: TargetProgram, monkeypatch: pytest.MonkeyPatch, **options: object) -> Recording:
    """Of one run, at the prices above."""
    monkeypatch.setattr(Account, "refresh", lambda self, *_: None)
    with Session(Target(program.pid), Options(func=NAMES, **options)) as session:  # type: ignore[arg-type]
        session.start()
        config = session.maps.config
        config["price_ns"], config["own_ns"], config["clock_ns"] = (REJECTED_NS, COUNTED_NS), OWN_NS, 0
        truth = program.run()
        recording = session.stop()
    assert wrong(recording, truth) == {}
    return recording


def taken_ns(recording: Recording) -> dict[str, int]:
    """What is taken off, and what may have been. A thread sleeps for other reasons, too, and a timer can have run out
    before it does."""
    functions = {name: each for name, (each,) in of_names(recording, NAMES).items()}
    probes = {name: each.probes for name, each in functions.items() if each.probes}
    assert probes["sleeping"].unsure_ns
    for suspending in ("sleeping", "stepping"):
        assert probes[suspending].unsure_ns % (SUSPENDED_NS // STEPS // TIMES) == 0
    return {name: each.sum_ns + each.unsure_ns for name, each in probes.items()}


def test_what_is_taken_off_is_what_each_hit_took_that_the_call_passed(
    interpreter: Interpreter, start_target: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start_target(interpreter, "accounted.py") as program:
        assert taken_ns(measured(program, monkeypatch)) == PASSED_NS


@pytest.mark.parametrize("options", [{"slower": "1s"}, {"self_time": True}, {"offcpu": True}], ids=" ".join)
def test_the_account_is_the_same_whatever_else_is_asked_for(
    own_interpreter: Interpreter, start_target: Start, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    with start_target(own_interpreter, "accounted.py") as program:
        assert taken_ns(measured(program, monkeypatch, **options)) == PASSED_NS


def test_all_hits_together_are_the_cost(
    own_interpreter: Interpreter, start_target: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start_target(own_interpreter, "accounted.py") as program:
        recording = measured(program, monkeypatch)
    assert recording.overhead
    counted = 2 * recording.calls + 2 * 2 * STEPS * TIMES
    everything_ns = COUNTED_NS * counted + REJECTED_NS * (recording.overhead.hits - counted)
    assert recording.overhead.ns_per_hit * recording.overhead.hits == pytest.approx(everything_ns)
