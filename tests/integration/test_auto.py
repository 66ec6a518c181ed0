"""``--engine auto``: the cheaper engine is taken, exactly, and where it cannot be the other one is, with the reason."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from latency.cpython.interpreter import Target
from latency.errors import AttachError
from latency.recording import Options
from latency.tracing import thoughts
from latency.tracing.auto import LOOK_S, Auto, trap_ns
from latency.tracing.kernel import calls as kernel
from latency.tracing.kernel.watchpoints import attach_watchpoint
from latency.tracing.probes.session import Session
from latency.tracing.watch import definitions
from latency.tracing.watch.session import WatchSession
from latency.tracing.watched import Watched
from tests.again import again_and_again
from tests.lab import Interpreter
from tests.pylat_command import EVERY_CALL, Tracing, pylat
from tests.target_program import TargetProgram

Start = Callable[..., TargetProgram]
_POLLS = 20_000
NO_MOMENT = ("no call came while both looked", "calls came too fast for a comparison")
_EMPTY_PROGRAM = bytes.fromhex("b7000000000000009500000000000000")  # r0 = 0; exit


def now_ns() -> int:
    return time.monotonic_ns()


@contextmanager
def registers_taken(pid: int) -> Iterator[None]:
    """As a debugger takes them."""
    program = kernel.load_program("taken", kernel.PROG_TYPE_PERF_EVENT, _EMPTY_PROGRAM)
    tids = [int(tid.name) for tid in Path(f"/proc/{pid}/task").iterdir()]
    events = [attach_watchpoint(program, 4096 + 8 * at, 1, 3, tid) for tid in tids for at in range(4)]
    yield
    for fd in (*events, program):
        os.close(fd)


@contextmanager
def compared(pid: int, name: str) -> Iterator[Auto]:
    """A measurement whose engines were compared: a busy machine may leave no moment for it, and then it begins anew."""
    while True:
        auto = Auto(Target(pid), Options(func=(name,)))
        try:
            auto.start()
            if not any(reason in auto.target.choice for reason in NO_MOMENT):
                yield auto
                return
        finally:
            auto.close()


def refusal(pid: int, name: str) -> str:
    """Why watchpoints that are asked for are not trusted; "" where there was no moment to compare at."""
    asked = Watched(Target(pid, engine="watch"), Options(func=(name,), engine="watch"))
    try:
        asked.start()
    except AttachError as error:
        return str(error)
    finally:
        asked.close()
    assert any(reason in asked.target.choice for reason in NO_MOMENT)
    return ""


@pytest.mark.parametrize(
    ("engine", "minor"), [("auto", (3, 11)), *(("watch", (3, minor)) for minor in (9, 13, 15))], ids=str
)
def test_a_rare_function_of_a_busy_process_is_watched_and_its_calls_are_the_targets_own(
    interpreters: list[Interpreter], start_target: Start, engine: str, minor: tuple[int, int]
) -> None:
    interpreter = next(it for it in interpreters if it.minor == minor and not it.free_threaded)
    program = start_target(interpreter, "serving.py")
    with Tracing("-p", program.pid, *EVERY_CALL, "--func", "handle", "-j", "-v", "--engine", engine) as tracing:
        begun_ns = now_ns()
        program.send("more 50")
        program.readline()
        ending_ns = now_ns()
        result = tracing.stop()
    ended_ns = now_ns()
    program.send("quit")
    program.readline()
    calls = json.loads((program.directory / "calls").read_text())
    within = sum(begun_ns < began and ended < ending_ns for began, ended in calls)
    touched = sum(began < ended_ns for began, ended in calls)
    assert result.run["target"]["engine"] == "watch"
    assert result.run["target"]["choice"].startswith("watch: ")
    assert "saw the same" in result.run["target"]["choice"]
    assert ("of one CPU by watch" in result.err) == (engine == "auto")
    assert within <= result.function("handle")["calls"] <= touched
    assert not any(result.run["losses"].values())


def test_a_function_that_is_nearly_all_calls_is_probed(own_interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(own_interpreter, "serving.py")
    before_s = time.monotonic()
    with Tracing("-p", program.pid, "--func", "noise", "-d", "0.5", "-j") as tracing:
        result = tracing.wait()
    assert result.run["target"]["engine"] == "handlers"
    assert "calls/s are wanted" in result.run["target"]["choice"]
    assert result.function("noise")["calls"] > 0
    assert 0 < result.run["duration_s"] < time.monotonic() - before_s


@pytest.mark.gil
def test_an_idle_process_is_probed_and_its_first_calls_are_counted_exactly(
    interpreter: Interpreter, start_target: Start
) -> None:
    program = start_target(interpreter, "requests.py", 100)
    auto = Auto(Target(program.pid), Options(func=("handle_request",)))
    try:
        before_s = time.monotonic()
        auto.start()
        started_s = time.monotonic() - before_s
        truth = program.run()
        recording = auto.session.stop()
    finally:
        auto.close()
    assert isinstance(auto.session, Session)
    assert "no call in" in recording.target.choice
    assert LOOK_S <= auto.looked_s <= started_s
    assert recording.calls == truth["handle_request"]["calls"]


def test_where_watchpoints_do_not_see_the_same_the_probes_stay(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    """Up to 3.11 the end of a call whose frame is kept is no end of the reference to its code."""
    program = start_target(own_interpreter, "keeping.py")
    with compared(program.pid, "keeps") as auto:
        assert isinstance(auto.session, Session)
        recording = auto.stop()
    assert "watch was cheaper, but it" in recording.target.choice
    assert recording.losses.total == 0
    refused = ""
    while not refused:
        refused = refusal(program.pid, "keeps")
    assert "handlers and watch do not see the same calls: watch" in refused


def test_where_a_watched_function_is_defined_anew_the_probes_take_over(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    program = start_target(own_interpreter, "notebook.py")

    def asked(command: str) -> int:
        program.send(command)
        return int(json.loads(program.readline())["calls"])

    with compared(program.pid, "cell") as auto:
        assert isinstance(auto.session, WatchSession)
        asked("more 20")
        asked("define")
        while isinstance(auto.session, WatchSession):
            assert auto.poll() == ""
        assert "calls of cell that was defined while pylat watched" in auto.doubt()
        ending = asked("more 1")
        ended = asked("more 20")
        recording = auto.stop()
    assert recording.calls >= 19 + ended - ending
    assert recording.losses.unwatched == 1
    assert recording.target.engine == "handlers"
    assert "since a function that matches was defined; before that, watch: " in recording.target.choice


def test_where_another_function_that_matches_is_defined_the_probes_take_over(
    own_interpreter: Interpreter, start_target: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(definitions, "AGAIN_S", 0.01)
    program = start_target(own_interpreter, "notebook.py")

    def asked(command: str) -> None:
        program.send(command)
        program.readline()

    with compared(program.pid, "cell*") as auto:
        assert isinstance(auto.session, WatchSession)
        asked("another")
        while isinstance(auto.session, WatchSession):
            assert auto.poll() == ""
            time.sleep(0.01)
        assert "calls of cell_2 that was defined while pylat watched" in auto.doubt()
        asked("another")
        recording = auto.stop()
    (another,) = (each for each in recording.functions if each.function.qualname == "cell_2")
    assert another.calls == 1
    assert recording.losses.unwatched == 1
    assert "since a function that matches was defined; before that, watch: " in recording.target.choice


def test_watchpoints_that_nothing_was_seen_of_are_said_to_be_not_proven(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    program = start_target(own_interpreter, "requests.py", 100)
    measuring = Watched(Target(program.pid, engine="watch"), Options(func=("handle_request",), engine="watch"))
    try:
        measuring.start()
        calls = program.run()["handle_request"]["calls"]
        recording = measuring.stop()
    finally:
        measuring.close()
    assert recording.target.choice == "watch: not proven: no call came while both looked"
    assert (recording.calls, recording.losses.total) == (calls, 0)


def test_registers_that_a_debugger_holds_leave_the_other_engine(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    program = start_target(own_interpreter, "serving.py")
    with registers_taken(program.pid):
        auto = Auto(Target(program.pid), Options(func=("handle",)))
        try:
            auto.start()
            assert isinstance(auto.session, Session)
            recording = auto.session.stop()
        finally:
            auto.close()
    assert "watch was cheaper, but the processor's watchpoints are taken" in recording.target.choice
    assert recording.target.engine == "handlers"


@pytest.mark.parametrize(("func", "reason"), [((), "all functions are wanted"), (("*",), "functions match")])
def test_what_cannot_be_watched_is_probed_without_a_look(
    own_interpreter: Interpreter, start_target: Start, func: tuple[str, ...], reason: str
) -> None:
    program = start_target(own_interpreter, "serving.py")
    auto = Auto(Target(program.pid), Options(func=func))
    try:
        auto.start()
        assert auto.looked_s == 0
        assert not isinstance(auto.session, WatchSession)
        assert reason in auto.session.stop().target.choice
    finally:
        auto.close()


@pytest.mark.parametrize(
    ("func", "watches", "reason"),
    [
        (("handle", "answer_requests", "__main__:main"), True, "watch, in 2 turns: "),
        (("handle", "now_ns", "__main__:main"), False, "handlers: watch would see the functions in turns only"),
    ],
    ids=["the probes distort", "they are short"],
)
def test_functions_are_watched_in_turns_only_where_the_probes_distort(
    own_interpreter: Interpreter, start_target: Start, func: tuple[str, ...], watches: bool, reason: str
) -> None:
    program = start_target(own_interpreter, "serving.py")
    auto = Auto(Target(program.pid), Options(func=func))
    try:
        auto.start()
        assert isinstance(auto.session, WatchSession) == watches
        recording = auto.stop()
    finally:
        auto.close()
    assert recording.target.choice.startswith(reason)
    assert (recording.watched is not None) == watches


def until_watched(auto: Auto) -> None:
    for _ in range(_POLLS):
        assert auto.poll() == ""
        if isinstance(auto.session, WatchSession):
            return
        time.sleep(0.01)
    raise AssertionError(auto.target.choice)


@pytest.mark.gil
def test_an_idle_process_that_becomes_busy_is_watched_and_no_call_is_lost(
    interpreter: Interpreter, start_target: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thoughts, "AGAIN_S", 0.1)
    program = start_target(interpreter, "watched.py")
    auto = Auto(Target(program.pid), Options(func=("forks",)))
    try:
        auto.start()
        assert isinstance(auto.session, Session)
        with again_and_again(program.run) as times:
            until_watched(auto)
        told = auto.interval()
        truth = program.run()["forks"]
        rest = auto.interval()
        recording = auto.stop()
    finally:
        auto.close()
    assert recording.calls == (len(times) + 1) * truth["calls"] == told.calls + rest.calls
    assert recording.losses.total == 0
    assert recording.target.engine == "watch"
    assert "; before, " in recording.target.choice
    assert "no call in" in recording.target.choice


@pytest.mark.gil
def test_registers_that_become_free_are_taken(
    own_interpreter: Interpreter, start_target: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thoughts, "AGAIN_S", 0.1)
    program = start_target(own_interpreter, "serving.py")
    auto = Auto(Target(program.pid), Options(func=("handle",)))
    try:
        with registers_taken(program.pid):
            auto.start()
            assert isinstance(auto.session, Session)
        until_watched(auto)
        recording = auto.stop()
    finally:
        auto.close()
    assert recording.losses.total == 0
    taken = "; before, handlers: watch was cheaper, but the processor's watchpoints are taken"
    assert taken in recording.target.choice


def test_a_trap_takes_some_time() -> None:
    assert trap_ns() > 0


@pytest.mark.xdist_group("breakpoints")
def test_check_says_what_it_will_cost_and_leaves_nothing_behind(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    program = start_target(own_interpreter, "serving.py")
    result = pylat("check", "-p", program.pid, "--func", "handle")
    assert result.status == 0, result.out
    assert "of one CPU" in result.out
    assert "with probes in place; they are gone again" in result.out
    target = Target(program.pid)
    bias = target.build.bias
    assert all(target.process.read(site.address + bias, 1) != b"\xcc" for site in target.plan.sites)
    assert "cost" not in pylat("check", "-p", program.pid).out
