"""A program from its first call on, by probes until there is something to watch: no call is lost, or seen twice."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from latency.cpython.interpreter import Target
from latency.errors import UsageError
from latency.recording import FunctionLatency, Options, Recording, load
from latency.tracing.handed import HandedOver
from latency.tracing.kernel import calls as kernel
from latency.tracing.kernel.watchpoints import attach_watchpoint
from latency.tracing.launch import launch
from latency.tracing.watch.session import WatchSession
from tests.again import again_and_again
from tests.lab import Interpreter
from tests.pylat_command import pylat
from tests.target_program import TargetProgram

pytestmark = pytest.mark.gil  # the watch engine refuses free-threaded builds
Start = Callable[..., TargetProgram]

_POLLS = 5000  # until it is taken for broken: after each attempt it waits twice as long
CALLING = """
import sys, time

def work(number):
    return inner(number)

def inner(number):
    return number

def whole():
    began, calls = time.monotonic(), 0
    while time.monotonic() < began + 3:
        work(calls)
        calls += 1
        time.sleep(0.002)
    return calls

with open(sys.argv[1], "w") as file:
    file.write(str(whole()))
"""


def of(recording: Recording, name: str) -> FunctionLatency:
    return next(each for each in recording.functions if each.function.qualname == name)


def lost(recording: Recording) -> dict[str, int]:
    return {name: count for name, count in recording.losses.as_dict().items() if count}


def handed_over(program: TargetProgram, *functions: str) -> HandedOver:
    measuring = HandedOver(Target(program.pid, engine="watch"), Options(func=functions, engine="watch"))
    measuring.start()
    return measuring


def until_watched(measuring: HandedOver) -> None:
    for _ in range(_POLLS):
        assert measuring.poll() == ""
        if isinstance(measuring.session, WatchSession):
            return
        time.sleep(0.01)
    raise AssertionError(measuring.target.choice)


def test_each_call_is_counted_once_and_by_its_kind(interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(interpreter, "watched.py")
    measuring = handed_over(program, "factorial", "half_raises")
    try:
        with again_and_again(program.run) as times:
            until_watched(measuring)
        truth = program.run()
        recording = measuring.stop()
    finally:
        measuring.close()
    seen = {each.function.qualname: (each.returned, each.raised, each.open) for each in recording.functions}
    runs = len(times) + 1
    assert seen == {
        name: (runs * truth[name]["returned"], runs * truth[name]["raised"], 0) for name in ("factorial", "half_raises")
    }
    assert lost(recording) == {}
    assert recording.events["entries"] == recording.events["matched"]
    assert recording.target.engine == "watch"
    assert recording.target.choice.startswith("watch from ")
    assert recording.options.engine == "watch"


def test_calls_that_are_open_meanwhile_have_their_whole_length(interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(interpreter, "cutting.py")
    measuring = handed_over(program, "short", "held")
    try:
        program.tell("hold 3")
        began_ns = time.monotonic_ns()
        with again_and_again(lambda: program.tell("run 5")) as times:
            until_watched(measuring)
        program.tell("hold 2")
        ended_ns = time.monotonic_ns()
        program.tell("release")
        program.tell("hold 1")
        recording = measuring.stop()
        program.tell("release")
    finally:
        measuring.close()
    held, short = of(recording, "held"), of(recording, "short")
    assert (held.calls, held.open, held.cut) == (5, 1, 0)
    assert short.calls == 5 * len(times) + 5
    assert lost(recording) == {}
    assert recording.events["entries"] == recording.events["matched"] + 1
    # These three were open from before to after; half of that is more than what is taken off for probes.
    least_ns, _ = held.wall.edges_ns()
    assert held.wall.counts[least_ns > (ended_ns - began_ns) / 2].sum() >= 3


@pytest.mark.cpython(min=(3, 11))
def test_what_is_suspended_meanwhile_is_one_call(interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(interpreter, "cutting.py")
    measuring = handed_over(program, "steps")

    def whole() -> None:
        program.tell("begin")
        program.tell("end")

    try:
        with again_and_again(whole) as times:
            until_watched(measuring)
        recording = measuring.stop()
    finally:
        measuring.close()
    steps = of(recording, "steps")
    assert (steps.calls, steps.abandoned, steps.open) == (len(times), 0, 0)
    assert lost(recording) == {}


def test_where_the_watchpoints_cannot_take_over_the_probes_stay_and_say_why(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    program = start_target(own_interpreter, "watched.py")
    for functions, why in (
        (("one", "two", "three"), "they are more than the processor watches at once"),
        (("one", "no_such"), "no function matches no_such yet"),
        (("no_such",), "no function matches 'no_such'"),
    ):
        measuring = handed_over(program, *functions)
        try:
            with again_and_again(program.run):
                for _ in range(_POLLS):
                    assert measuring.poll() == ""
                    if measuring.target.choice.endswith(why):
                        break
                    time.sleep(0.01)
            recording = measuring.stop()
        finally:
            measuring.close()
        assert recording.target.choice == f"handlers: not handed over to watch: {why}"
        assert lost(recording) == {}


def test_what_the_watchpoints_took_of_calls_is_told_where_the_probes_stay(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    """Up to 3.11 the end of a call whose frame is kept is no end of the reference to its code."""
    program = start_target(own_interpreter, "keeping.py")
    measuring = handed_over(program, "keeps")
    try:
        for _ in range(_POLLS):
            assert measuring.poll() == ""
            if "and not" in measuring.target.choice:
                break
            time.sleep(0.01)
        recording = measuring.stop()
    finally:
        measuring.close()
    assert recording.target.choice.startswith("handlers: not handed over to watch: it ")
    assert any(line.startswith("what watchpoints took of ") for line in recording.blind_spots)
    assert lost(recording) == {}


def test_children_are_refused(own_interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(own_interpreter, "watched.py")
    with pytest.raises(UsageError, match="a program that is run is not watched with its children"):
        HandedOver(Target(program.pid, engine="watch"), Options(func=("one",), engine="watch", children=True))


def test_run_counts_each_call_from_the_first_on(own_interpreter: Interpreter, tmp_path: Path) -> None:
    script, counted, kept = tmp_path / "calling.py", tmp_path / "counted", tmp_path / "kept.json"
    script.write_text(CALLING)
    options = ("--engine", "watch", "--func", "work", "--func", "whole", "-o", kept)
    result = pylat("run", *options, "--", own_interpreter.path, script, counted)
    assert result.status == 0, result.err
    (recording,) = load(kept)
    calls = int(counted.read_text())
    assert {each.function.qualname: (each.calls, each.open) for each in recording.functions} == {
        "work": (calls, 0),
        "whole": (1, 0),
    }
    assert lost(recording) == {}


def test_a_program_that_is_held_at_its_beginning_has_all_its_debug_registers_free(
    own_interpreter: Interpreter,
) -> None:
    launched = launch([own_interpreter.path, "-c", ""], spare_registers=True)
    program = kernel.load_program("none", kernel.PROG_TYPE_PERF_EVENT, kernel.EMPTY_PROGRAM)
    descriptors = [program]
    try:
        assert launched.target is not None
        for register in range(4):
            descriptors.append(attach_watchpoint(program, 4096 + 8 * register, 1, 3, launched.pid))
    finally:
        for fd in descriptors:
            os.close(fd)
        launched.release()
    assert launched.wait() == 0


def test_a_trace_is_refused_before_anything_is_written(own_interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(own_interpreter, "watched.py")
    result = pylat("trace", "-p", program.pid, "--engine", "watch", "--func", "one")
    assert result.status == 2
    assert result.out == ""
    assert "the watch engine does not tell calls one by one" in result.err
