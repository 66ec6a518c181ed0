"""Measurements whose target does something else than run on: it says nothing, exits, or becomes another program."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from latency.cpython.interpreter import Target
from latency.recording import Options
from latency.tracing.markers.session import MarkerSession
from latency.tracing.probes.session import Session
from latency.tracing.watch.session import WatchSession
from tests.lab import Interpreter
from tests.pylat_command import EVERY_CALL, Tracing, pylat
from tests.target_program import TargetProgram
from tests.watch import Watch, wrong

Start = Callable[..., TargetProgram]

# Runs its function once and then, at the end of its input, becomes another program.
BECOMES_ANOTHER = """
import os
from protocol import serve, truth

def once():
    pass

def run():
    once()
    return {"once": truth(1)}

serve(run)
os.execv("/bin/sleep", ["sleep", "60"])
"""

# Eight threads at any time, each in its one call nearly all of its life; each starts the next before it ends. A line is
# answered when 400 more have.
ENDS_ITS_THREADS = """
import sys, threading, time

def brief():
    time.sleep(0.002)

def live():
    brief()
    begun.release()
    threading.Thread(target=live, daemon=True).start()

begun = threading.Semaphore(0)
for _ in range(8):
    threading.Thread(target=live, daemon=True).start()
print("ready", flush=True)
while sys.stdin.readline():
    while begun.acquire(False):
        pass
    for _ in range(400):
        begun.acquire()
    print("begun", flush=True)
"""


def test_no_call_is_said_not_shown_as_an_empty_table(own_interpreter: Interpreter, start_target: Start) -> None:
    target = start_target(own_interpreter, "requests.py")
    done = pylat("-p", target.pid, "--func", "handle_request", "-d", "0.2")
    assert done.status == 3
    assert re.search(r"0 calls in \d", done.out)
    assert "p50" not in done.out


def test_a_target_that_exits_is_reported_as_far_as_it_was_seen(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    target = start_target(own_interpreter, "requests.py", 100)
    with Tracing("-p", target.pid, *EVERY_CALL, "--func", "handle_request", "--func", "worker", "-j") as tracing:
        truth = target.run()
        target.quit()
        result = tracing.wait()
    assert result.status == 0
    assert f"process {target.pid} ended" in result.err
    assert result.agrees(truth)


def test_a_call_in_which_the_target_is_killed_is_counted_as_lost(
    own_interpreter: Interpreter, start_target: Start, tmp_path: Path
) -> None:
    script = tmp_path / "stuck.py"
    script.write_text(
        "import sys\n\ndef stuck():\n    print('in', flush=True)\n    sys.stdin.read()\n\n"
        "print('ready', flush=True)\nsys.stdin.readline()\nstuck()\n"
    )
    target = start_target(own_interpreter, script, handshake=False)
    assert target.readline() == "ready"
    with Tracing("-p", target.pid, *EVERY_CALL, "--func", "stuck", "-j") as tracing:
        target.send("go")
        assert target.readline() == "in"
        target.process.kill()
        target.process.wait()
        result = tracing.wait()
    assert f"process {target.pid} ended" in result.err
    assert result.status == 3
    assert result.function("stuck")["calls"] == 0
    assert {name: count for name, count in result.run["losses"].items() if count} == {"thread_ended": 1}


def test_threads_that_end_while_the_probes_are_taken_away_leave_their_calls_open(
    own_interpreter: Interpreter, start_target: Start, tmp_path: Path
) -> None:
    script = tmp_path / "ends_its_threads.py"
    script.write_text(ENDS_ITS_THREADS)
    target = start_target(own_interpreter, script, handshake=False)
    assert target.readline() == "ready"
    with Watch(target.pid, ["brief"]) as watch:
        target.send("more")
        assert target.readline() == "begun"
        recording = watch.stop()
    (brief,) = recording.functions
    assert brief.calls
    assert brief.open
    assert recording.losses.total == 0


def test_a_target_that_becomes_another_program_is_reported_as_far_as_it_was_seen(
    own_interpreter: Interpreter, start_target: Start, tmp_path: Path
) -> None:
    script = tmp_path / "becomes_another.py"
    script.write_text(BECOMES_ANOTHER)
    target = start_target(own_interpreter, script)
    with Tracing("-p", target.pid, *EVERY_CALL, "--func", "once", "-j") as tracing:
        truth = target.run()
        target.send("quit")
        result = tracing.wait()
    assert result.status == 0
    assert f"process {target.pid} replaced itself by another program (exec)" in result.err
    assert "becomes_another.py" in result.run["target"]["command"]
    assert result.agrees(truth)
    assert target.process.poll() is None


@pytest.mark.parametrize("kind", ["calls", "markers", "watchpoints"])
def test_what_another_program_does_after_an_exec_is_not_counted(
    own_interpreter: Interpreter, start_target: Start, kind: str
) -> None:
    target = start_target(own_interpreter, "replacing.py")
    with begun(target.pid, kind) as session:
        session.start()
        truth = target.run()
        target.send("quit")
        assert json.loads(target.readline()) == truth  # of the new program, in which nobody has looked yet
        session.maps.enable(session.target.process)  # as each slice does
        assert json.loads(target.readline())["ready"]
        assert target.run() == truth
        assert session.poll() == "exec"
        recording = session.stop()
    calls = {each.function.qualname: each.calls for each in recording.functions}
    assert calls == {name: truth[name]["calls"] for name in calls}
    assert len(calls) == 1
    assert recording.losses.total == 0


def begun(pid: int, kind: str) -> Session | MarkerSession | WatchSession:
    if kind == "markers":
        return MarkerSession(Target(pid), Options(markers=("gc",)))
    if kind == "watchpoints":
        return WatchSession(Target(pid, engine="watch"), Options(func=("work",), engine="watch"))
    return Session(Target(pid), Options(func=("work",)))


def end_main_thread(target: TargetProgram) -> None:
    """Of ``main_ends.py``: another thread answers then."""
    target.send("go")
    target.readline()
    until = time.monotonic() + 300
    while Path(f"/proc/{target.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < until, "the main thread does not end"
        time.sleep(0.001)


@pytest.mark.xdist_group("breakpoints")
@pytest.mark.parametrize("children", [False, True])
@pytest.mark.parametrize("ended_before", [False, True])
def test_a_process_whose_main_thread_has_ended_goes_on(
    interpreter: Interpreter,
    start_target: Start,
    watch: Callable[..., Watch],
    children: bool,
    ended_before: bool,
) -> None:
    target = start_target(interpreter, "main_ends.py")
    if ended_before:
        end_main_thread(target)
    watching = watch(target.pid, ["work"], children=children)
    if not ended_before:
        end_main_thread(target)
    truth = target.run()
    assert wrong(watching.stop(), truth) == {}


def test_perf_events_go_by_another_thread_when_the_main_one_has_ended(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    target = start_target(own_interpreter, "main_ends.py")
    with Session(Target(target.pid), Options(func=("work",)), attachment="perf") as session:
        session.start()
        end_main_thread(target)
        assert session.poll() == ""
        truth = target.run()
        recording = session.stop()
    assert wrong(recording, truth) == {}
    assert any("main thread ended" in spot for spot in recording.blind_spots)


EXECS_IN_A_THREAD = """
import os, sys, threading
from protocol import say

def descend(depth):
    pass

def plunge(depth):
    pass

say({"ready": True})
sys.stdin.readline()
threading.Thread(target=os.execv, args=(sys.executable, [sys.executable, "-B", "recursion.py"])).start()
"""


@pytest.mark.xdist_group("breakpoints")
def test_a_process_that_a_thread_makes_another_program_is_followed(
    own_interpreter: Interpreter, start_target: Start, watch: Callable[..., Watch], tmp_path: Path
) -> None:
    (tmp_path / "execs.py").write_text(EXECS_IN_A_THREAD)
    target = start_target(own_interpreter, tmp_path / "execs.py")
    watching = watch(target.pid, ["descend", "plunge"], children=True)
    target.send("go")
    target.readline()
    truth = target.run()
    assert wrong(watching.stop(), truth) == {}
