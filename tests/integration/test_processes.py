"""Processes that a program makes: not seen without ``children``, all of them with it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from latency.tracing.counted.parameters import GENERATIONS, Capacity
from latency.tracing.probes import loading
from latency.tracing.probes.following import Following
from tests.lab import Interpreter
from tests.pylat_command import EVERY_CALL, Tracing, pylat
from tests.requirements import can_mount_privately, require
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


@pytest.fixture
def contained(own_interpreter: Interpreter, tmp_path: Path) -> Interpreter:
    """The machine's own in a PID namespace, in which its program is the first process; its PID is that of who waits."""
    require(can_mount_privately(), "a mount namespace of its own")
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\nexec unshare --pid --fork --mount-proc {own_interpreter.path} "$@"\n')
    path.chmod(0o755)
    return Interpreter(own_interpreter.version, str(path), None, "contained")


def only_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


@pytest.mark.parametrize("inside", [False, True])
def test_children_in_a_container_are_seen_from_the_host_and_from_inside(
    contained: Interpreter, start_target: Callable[..., TargetProgram], inside: bool
) -> None:
    target = start_target(contained, "forking.py")
    first = only_child(target.pid)
    before = ("nsenter", "-t", str(first), "--pid", "--mount") if inside else ()
    names = ["work", "works", "suspends", "forks_inside", "forks_twice", "in_worker"]
    patterns = [word for name in names for word in ("--func", name)]
    pid = 1 if inside else first
    with Tracing("-p", pid, *patterns, "--children", *EVERY_CALL, "-j", before=before) as tracing:
        truth = target.run()["together"]
        os.kill(only_child(tracing.pid) if inside else tracing.pid, signal.SIGINT)
        result = tracing.wait()
    assert result.agrees(truth)
    processes = result.run["processes"]
    assert processes[0]["pid"] == pid
    assert len(processes) > 10
    assert not inside or max(it["pid"] for it in processes) < 100


def test_a_trace_of_children_in_a_container_has_their_own_pids(
    contained: Interpreter, start_target: Callable[..., TargetProgram]
) -> None:
    target = start_target(contained, "forking.py")
    with Tracing("trace", "-p", only_child(target.pid), "--func", "in_worker", "--children", "-j") as tracing:
        truth = target.run()["together"]["in_worker"]
        events = [json.loads(line) for line in tracing.stop().out.splitlines()][:-1]
    returned = [event for event in events if event["event"] == "return"]
    assert len(returned) == truth["returned"]
    assert all(event["pid"] < 100 < event["host_pid"] for event in events)


def test_run_follows_children_inside_a_container(own_interpreter: Interpreter) -> None:
    require(can_mount_privately(), "a mount namespace of its own")
    code = "import os\ndef work(): pass\nfor _ in range(3):\n    os.fork()\n    work()\n"
    waits = "try:\n    while True:\n        os.wait()\nexcept ChildProcessError:\n    pass"
    inside = ("unshare", "--pid", "--fork", "--mount-proc")
    result = pylat(
        "run", "--children", "--func", "work", "-j", "--", own_interpreter.path, "-c", code + waits, before=inside
    )
    (run,) = json.loads(result.err)["runs"]
    assert run["functions"][0]["returned"] == 2 + 4 + 8
    assert not any(run["losses"].values())
