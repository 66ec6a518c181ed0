"""A target in a PID namespace: traces and slow calls show its own PIDs and threads, as its logs do, and JSON both."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from latency.recording import load
from tests.lab import Interpreter
from tests.pylat_command import EVERY_CALL, Result, Tracing
from tests.requirements import can_mount_privately, require
from tests.target_program import TargetProgram

PROGRAM = """
import os, threading
from protocol import say

def work():
    return sum(range(10000))  # is something, whatever is taken off for the probes

def worker(tids):
    tids.append(threading.get_native_id())
    for _ in range(5):
        work()

say({"ready": True})
while input():
    tids = []
    for _ in range(2):
        thread = threading.Thread(target=worker, args=(tids,))
        thread.start()
        thread.join()
    say({"pid": os.getpid(), "tids": tids})
"""


class Contained(NamedTuple):
    """The first process of a PID namespace, and how pylat is to be started: there or out here."""

    program: TargetProgram
    pid: int
    host_pid: int
    before: tuple[str, ...]

    def ended(self, tracing: Tracing) -> Result:
        """Ends a command as its user does: nsenter only waits for it."""
        os.kill(only_child(tracing.pid) if self.before else tracing.pid, signal.SIGINT)
        return tracing.wait()


def only_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


@pytest.fixture(params=["inside", "outside"])
def contained(
    request: pytest.FixtureRequest,
    own_interpreter: Interpreter,
    start_target: Callable[..., TargetProgram],
    tmp_path: Path,
) -> Contained:
    require(can_mount_privately(), "a mount namespace of its own")
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec unshare --pid --fork --mount-proc {own_interpreter.path} "$@"\n')
    (tmp_path / "python").chmod(0o755)
    python = Interpreter(own_interpreter.version, str(tmp_path / "python"), None, "contained")
    program = start_target(python, tmp_path / "program.py")
    host_pid = only_child(program.pid)
    if request.param == "inside":
        return Contained(program, 1, host_pid, ("nsenter", "-t", str(host_pid), "--pid", "--mount"))
    return Contained(program, host_pid, host_pid, ())


def test_a_trace_shows_the_targets_own_threads(contained: Contained) -> None:
    asked = ("trace", "-p", contained.pid, "--func", "work")
    with (
        Tracing(*asked, "-j", before=contained.before) as as_json,
        Tracing(*asked, before=contained.before) as as_text,
    ):
        truth: Any = contained.program.run()
        events = [json.loads(line) for line in contained.ended(as_json).out.splitlines()][:-1]
        lines = contained.ended(as_text).out.splitlines()[1:]
    assert [event["tid"] for event in events] == [tid for tid in truth["tids"] for _ in range(2 * 5)]
    assert {event["pid"] for event in events} == {truth["pid"]} == {1}
    assert {event["host_pid"] for event in events} == {contained.host_pid}
    assert not {event["host_tid"] for event in events} & {event["tid"] for event in events}
    assert [int(line.split()[1]) for line in lines] == [event["tid"] for event in events]


@pytest.mark.parametrize("engine", ["auto", "watch"])
def test_slow_calls_show_the_targets_own_threads(contained: Contained, engine: str) -> None:
    saved = contained.program.directory / "saved.json"  # the same file from both mount namespaces
    asked = ("-p", contained.pid, "--func", "work", "--slower", "1ns", "--engine", engine, "-o", saved)
    with Tracing(*asked, *EVERY_CALL, before=contained.before) as tracing:
        truth: Any = contained.program.run()
        result = contained.ended(tracing)
    (recording,) = load(saved)
    assert recording.slow_calls
    kept = recording.slow_calls.kept
    assert recording.calls == len(kept) == 2 * 5
    assert {(call.pid, call.host_pid) for call in kept} == {(1, contained.host_pid)}
    assert {call.tid for call in kept} == set(truth["tids"])
    assert not {call.host_tid for call in kept} & set(truth["tids"])
    shown = [int(tid) for tid in re.findall(r"Z  thread (\d+) \(", result.out)]
    assert shown == [call.tid for call in kept]
