"""Processes that a program makes: not seen without ``children``, all of them with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import pytest

from latency.tracing.counted.parameters import GENERATIONS, Capacity
from latency.tracing.probes import loading
from latency.tracing.probes.following import Following
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


@pytest.mark.cpython(min=(3, 9))
def test_children_that_end_make_room_for_those_to_come(
    interpreter: Interpreter, start_target: Callable[..., TargetProgram], watch: Callable[..., Watch]
) -> None:
    children, functions = 300, 250  # more functions than the table holds
    target = start_target(interpreter, "forking_many.py", children, functions)
    watching = watch(target.pid, ["job"], children=True)
    truth = target.run()
    recording = watching.stop()
    assert wrong(recording, truth) == {}
    assert len(recording.processes) == 1 + children
    assert {each.returned for each in recording.processes if each.ended} == {truth["job"]["returned"] // children}
    assert len(watching.session.spaces) < children


def test_those_that_fork_on_and_end_make_room_too(
    own_interpreter: Interpreter, start_target: Callable[..., TargetProgram], monkeypatch: pytest.MonkeyPatch
) -> None:
    links, functions, runs = 40, 100, 4
    known = 2 + GENERATIONS + 16  # spaces: the target, the last of the chain, whom it asks, and a few that wait
    room = (2 * links + known) * (functions + 20)  # much less than for all of them, and for the interpreter's own
    monkeypatch.setattr(loading, "Capacity", partial(Capacity, functions=room))
    told, take = [], Following.take  # few are known as well where a late reader has not heard of this run's forks
    monkeypatch.setattr(Following, "take", lambda self, *event: (take(self, *event), told.append(event)))
    target = start_target(own_interpreter, "forking_on.py", links, functions)
    with Watch(target.pid, ["job", "made_later"], children=True) as watching:
        for run in range(1, runs + 1):
            truth = target.run()
            until = time.monotonic() + 300
            while (len(told) < run * links or len(watching.session.spaces) > known) and time.monotonic() < until:
                time.sleep(0.01)
        recording = watching.stop()
    assert wrong(recording, truth) == {}
    assert len(recording.processes) == 2 + runs * links


def test_suspended_calls_of_children_that_end_are_cut(
    own_interpreter: Interpreter, start_target: Callable[..., TargetProgram], watch: Callable[..., Watch]
) -> None:
    children = 100
    target = start_target(own_interpreter, "forking_many.py", children, 1)
    watching = watch(target.pid, ["suspends", "leaves"], children=True)
    target.run()
    recording = watching.stop()
    still_known = sum(each.open for each in recording.functions)
    assert recording.losses.thread_ended + still_known == 2 * children
    assert still_known < children
    assert not recording.calls
    assert recording.losses.total == recording.losses.thread_ended


def test_what_finds_no_room_in_the_table_of_functions_is_counted(
    own_interpreter: Interpreter, start_target: Callable[..., TargetProgram], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Following, "finished", lambda *_: set())
    monkeypatch.setattr(loading, "Capacity", partial(Capacity, functions=256, processes=32))
    children = 64
    target = start_target(own_interpreter, "forking_many.py", children, 300)
    with Watch(target.pid, ["job"], children=True) as watching:
        truth = target.run()
        recording = watching.stop()
    (job,) = (each for each in recording.functions if each.function.qualname == "job")
    assert job.calls < truth["job"]["returned"]
    assert recording.losses.table_full >= truth["job"]["returned"] - job.calls
