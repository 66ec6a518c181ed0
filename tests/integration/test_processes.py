"""Processes that a program makes: not seen without ``children``, all of them with it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.lab import Interpreter
from tests.target_program import TargetProgram
from tests.watch import Watch, wrong

pytestmark = pytest.mark.xdist_group("breakpoints")


def test_children_are_seen_when_they_are_asked_for(
    interpreter: Interpreter, start_target: Callable[..., TargetProgram], watch: Callable[..., Watch]
) -> None:
    target = start_target(interpreter, "forking.py")
    names = ["work", "works", "suspends", "forks_inside", "forks_twice", "in_worker"]
    alone, together = watch(target.pid, names), watch(target.pid, names, children=True)
    truth = target.run()
    assert wrong(alone.stop(), truth["alone"]) == {}
    recording = together.stop()
    assert wrong(recording, truth["together"]) == {}
    assert sum(each.returned + each.raised for each in recording.processes) == recording.calls
