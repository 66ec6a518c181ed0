"""Children that run Python and are not measured: who they are, and when that is said."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from latency.cli.missed import bystanders, nothing_called
from latency.cli.run import missed
from latency.histogram import Histogram
from latency.recording import Function, FunctionLatency, Options, Recording, TargetInfo
from latency.target.process import Process
from latency.tracing.bystanders import Bystanders
from latency.tracing.loop import Outcome

TARGET = TargetInfo((42,), "app", "3.11.2", "ab", "/usr/bin/python3", "handlers", "table 3.11", "6.18", "x86_64", 2)
WAITS = "import sys; print('ready', flush=True); sys.stdin.readline(); sys.argv.append(1)"
BECOMES_ANOTHER = f"{WAITS}; import os; os.execvp('sh', ['sh', '-c', 'echo another; read it'])"


def looks_at_own_children(clock: list[float], measured: int = 0) -> Bystanders:
    target: Any = SimpleNamespace(process=SimpleNamespace(pid=measured), build=SimpleNamespace(device_inode=("0:0", 0)))
    return Bystanders([Process(os.getpid())], [target], clock=lambda: clock[0])


def test_children_that_run_python_are_told_until_they_become_another_program() -> None:
    clock = [0.0]
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", BECOMES_ANOTHER], stdin=pipe, stdout=pipe) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()
        looking, of_measured = looks_at_own_children(clock), looks_at_own_children(clock, child.pid)
        for each in (looking, of_measured):
            each.look()
        assert child.pid in looking.pythons
        assert child.pid not in of_measured.pythons
        child.stdin.write(b"go on\n")
        child.stdin.flush()
        child.stdout.readline()
        looking.look()  # too soon: nobody is looked at
        assert child.pid in looking.pythons
        clock[0] = 1e9
        looking.look()
        assert child.pid not in looking.pythons
        child.stdin.write(b"end\n")


def outcome(calls: int, **changes: Any) -> Outcome:
    latency = FunctionLatency(Function("f", "f.py", 1), calls, 0, Histogram.from_values([1000] * calls))
    recording = Recording(TARGET, 1.0, (latency,), options=Options(("f",)))
    return Outcome(recording, [recording], **changes)


def test_children_are_told_where_a_function_was_not_called() -> None:
    pythons = {7: "python3", 9: "cel\x1bery"}
    assert list(bystanders(outcome(1, bystanders=pythons))) == []
    assert list(bystanders(outcome(0))) == []
    line = "2 child processes ran Python and were not measured: 7 (python3), 9 (cel\\x1bery); add --children"
    assert list(bystanders(outcome(0, bystanders=pythons))) == [line]
    assert list(bystanders(outcome(1, bystanders=pythons, missing=["g"]))) == [line]
    assert list(bystanders(outcome(0, bystanders={7: "python3"}))) == [
        "a child process ran Python and was not measured: 7 (python3); add --children"
    ]
    (many,) = bystanders(outcome(0, bystanders=dict.fromkeys(range(9), "p")))
    assert many.endswith("3 (p), …; add --children")


def test_nothing_was_called_where_no_call_began() -> None:
    assert nothing_called(outcome(0))
    assert not nothing_called(outcome(1))
    was_open = outcome(0)
    one = replace(was_open.recording.functions[0], open=1)
    assert not nothing_called(replace(was_open, recording=replace(was_open.recording, functions=(one,))))


@pytest.mark.parametrize(("status", "how"), [(0, "ended with status 0"), (139, "ended by signal 11")])
def test_where_nothing_was_called_it_is_said_how_the_program_ended_and_what_it_became(status: int, how: str) -> None:
    seen = outcome(0, missing=["wrok"], nearest={"wrok": ["work"]}, ended={7: "exec", 8: "exited"})
    assert list(missed(seen, status)) == [
        f"no function that matches wrok was ever called; the program {how}",
        "  nearest: work",
        "process 7 replaced itself by another program (exec), which was not measured; add --children",
    ]
