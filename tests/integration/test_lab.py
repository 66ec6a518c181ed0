"""The ground that the other integration tests stand on."""

from __future__ import annotations

import json
import os
import subprocess
from array import array
from collections.abc import Callable

import pytest

from tests import lab
from tests.lab import Interpreter
from tests.requirements import require
from tests.target_program import TargetProgram

Start = Callable[..., TargetProgram]


@pytest.mark.parametrize("minor", lab.REQUIRED, ids=lambda it: f"{it[0]}.{it[1]}")
def test_a_build_of_every_required_version_is_here(minor: tuple[int, int], interpreters: list[Interpreter]) -> None:
    assert minor in {it.minor for it in interpreters}, "run script/lab"


@pytest.mark.parametrize("origin", ["manylinux2014", "musllinux_1_2", "trixie-shared"])
def test_three_builds_of_others_are_part_of_every_run(origin: str) -> None:
    found = [it.origin for it in lab.interpreters({**os.environ, "PYLAT_LAB_ALL": ""})]
    require(origin in found, f"the lab has no {origin}: script/lab says why")


def test_the_pid_is_the_interpreters_own(interpreter: Interpreter, start_target: Start) -> None:
    target = start_target(interpreter, "recursion.py", 3, 1)
    with open(f"/proc/{target.pid}/cmdline") as cmdline:
        assert cmdline.read().split("\0")[0] == interpreter.path.removeprefix(interpreter.root or "")


def test_every_program_runs_on_every_interpreter(interpreter: Interpreter, start_target: Start) -> None:
    for script in ("requests.py", "recursion.py", "scenarios.py"):
        target = start_target(interpreter, script)
        assert target.run() == target.run()
        assert target.quit() == 0


def test_every_request_writes_its_durations(own_interpreter: Interpreter, start_target: Start) -> None:
    target = start_target(own_interpreter, "requests.py", 200, "durations")
    calls = target.run()["handle_request"]["calls"]
    durations = array("q", (target.directory / "durations").read_bytes())
    assert len(durations) == 2 * calls == 1600
    assert all(0 <= inner <= outer for inner, outer in zip(durations[::2], durations[1::2], strict=True))


@pytest.mark.cpython(min=(3, 12))
def test_the_programs_claim_what_the_interpreter_counts(interpreter: Interpreter, start_target: Start) -> None:
    environ = {"PYTHON_GIL": "1"} if interpreter.free_threaded else {}  # without, what a callback counts is lost
    for program in ("requests", "recursion", "scenarios"):
        monitored = start_target(interpreter, "monitored.py", program, handshake=False, environ=environ)
        answer = json.loads(monitored.readline())
        claimed, counted = answer["claimed"], answer["counted"]
        # the callback that counts it is itself refused at the bottom
        for numbers in claimed, counted:
            numbers.pop("bottomless", None)
        assert counted == claimed


def test_unpacking_again_does_nothing(repository: object) -> None:
    subprocess.run(["script/lab", "--json"], cwd=str(repository), check=True, capture_output=True, timeout=300)
