"""The watch engine follows forks: those that are there, and those to come."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from latency.cpython.interpreter import Target
from latency.recording import Options, Recording
from latency.tracing.watch import program
from latency.tracing.watch.session import WatchSession
from tests.lab import Interpreter
from tests.target_program import TargetProgram

pytestmark = [pytest.mark.xdist_group("breakpoints"), pytest.mark.gil]

Start = Callable[..., TargetProgram]


def session(program: TargetProgram, *functions: str) -> WatchSession:
    return WatchSession(Target(program.pid, engine="watch"), Options(func=functions, engine="watch", children=True))


def ends(recording: Recording) -> dict[str, tuple[int, int, int]]:
    return {each.function.qualname: (each.returned, each.raised, each.open) for each in recording.functions}


def known(truth: dict[str, dict[str, int]], *names: str) -> dict[str, tuple[int, int, int]]:
    return {name: (truth[name]["returned"], truth[name]["raised"], 0) for name in names}


def test_forks_are_followed_and_exec_ends_it(interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(interpreter, "forking.py")
    with session(program, "work", "works") as measuring:
        measuring.start()
        truth = program.run()
        recording = measuring.stop()
    assert ends(recording) == known(truth["forked"], "work", "works")
    assert not any(recording.losses.as_dict().values())
    assert sum(each.calls for each in recording.processes) == recording.calls
    if interpreter.minor >= (3, 11):
        with session(program, "suspends") as measuring:
            measuring.start()
            truth = program.run()
            (suspends,) = measuring.stop().functions
        seen = suspends.returned, suspends.abandoned, suspends.open
        # one is suspended while its process forks: each child has a copy, which is none of its own calls
        assert seen == (truth["forked"]["suspends"]["returned"], 0, 0)
    # the workers that multiprocessing spawns, its tracker of resources, and another program
    assert any("children did after they replaced themselves" in line for line in recording.blind_spots)


def test_workers_that_are_there_already_are_measured_each_for_itself(
    interpreter: Interpreter, start_target: Start
) -> None:
    program = start_target(interpreter, "workers.py")
    program.run()
    with session(program, "answers", "nested") as measuring:
        measuring.start()
        truth = program.run()
        recording = measuring.stop()
    assert ends(recording) == known(truth, "answers", "nested")
    assert not any(recording.losses.as_dict().values())
    calls = [each.calls for each in recording.processes]
    assert calls.count(recording.calls // 4) == 4  # the program, two workers, and the child that the third has forked
    assert sum(each.ended for each in recording.processes) == 1


def test_an_extreme_that_another_process_overwrites_is_not_forgotten(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    program = start_target(own_interpreter, "workers.py")
    program.run()
    with session(program, "answers") as measuring:
        measuring.start()
        program.run()
        (before,) = measuring.so_far().functions
        # who has read older ones writes these after who has seen the extremes
        measuring.maps.statistics["min_ns"] = before.wall.max_ns
        measuring.maps.statistics["max_ns"] = before.wall.min_ns
        (after,) = measuring.stop().functions
    assert 0 < before.wall.min_ns < before.wall.max_ns
    assert (after.wall.min_ns, after.wall.max_ns) == (before.wall.min_ns, before.wall.max_ns)


def test_children_that_end_make_room_for_those_to_come(
    own_interpreter: Interpreter, start_target: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    children, runs = 20, 4
    monkeypatch.setattr(program, "_PROCESSES", 2 * children)
    target = start_target(own_interpreter, "forking_many.py", children, 1)
    with session(target, "job", "suspends") as measuring:
        measuring.start()
        for _ in range(runs):
            truth = target.run()
            assert measuring.poll() == ""
        recording = measuring.stop()
    calls = runs * truth["job"]["returned"]
    assert ends(recording) == {"job": (calls, 0, 0), "suspends": (0, 0, 0)}
    assert recording.losses.thread_ended == recording.losses.total == runs * children  # each ends with one suspended
    assert len(recording.processes) == 1 + runs * children
    assert sum(each.returned for each in recording.processes) == calls
