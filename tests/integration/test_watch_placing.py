"""Watchpoints are placed in a program that begins threads meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from latency.cpython.interpreter import Target
from latency.recording import Options
from latency.tracing.kernel import uprobes
from latency.tracing.watch.session import WatchSession
from tests.lab import Interpreter
from tests.target_program import TargetProgram

Start = Callable[..., TargetProgram]


@pytest.mark.parametrize("children", [False, True])
def test_a_thread_that_begins_and_ends_while_they_are_placed_takes_no_program_with_it(
    own_interpreter: Interpreter, start_target: Start, monkeypatch: pytest.MonkeyPatch, children: bool
) -> None:
    """It inherits a watchpoint that has no program yet, and on one processor it and its creator exchange theirs."""
    program = start_target(own_interpreter, "cutting.py")
    os.sched_setaffinity(program.pid, {min(os.sched_getaffinity(0))})
    open_event, met = uprobes.open_event, set()

    def opened(attributes: uprobes.PerfEventAttr, tid: int, cpu: int, what: str) -> int:
        event = open_event(attributes, tid, cpu, what)
        inherited = attributes.flags & 1 << 1
        if tid == program.pid and inherited and attributes.config1 not in met:
            met.add(attributes.config1)
            program.tell("hold 1")
            program.tell("release")
        return event

    monkeypatch.setattr(uprobes, "open_event", opened)
    target = Target(program.pid, engine="watch")
    with WatchSession(target, Options(func=("short", "inner"), engine="watch", children=children)) as measuring:
        measuring.start()
        assert len(met) == 4
        program.tell("run 50")
        recording = measuring.stop()
    assert {each.function.qualname: each.returned for each in recording.functions} == {"short": 50, "inner": 0}
    assert not any(recording.losses.as_dict().values())
