"""pylat as its users have it: from the wheel, in an environment of the system's Python, away from the checkout."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from latency.cpython.interpreter import Target
from tests.installed import build, installed
from tests.lab import Interpreter
from tests.target_program import TargetProgram

pytestmark = pytest.mark.xdist_group("installed")

Start = Callable[..., TargetProgram]


@pytest.fixture(scope="module")
def pylat(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    folder = tmp_path_factory.mktemp("installed")
    command = installed(build("wheel", repository, folder / "wheel"), folder / "environment") / "pylat"
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def run(*arguments: object) -> str:
        words = [str(command), *map(str, arguments)]
        return subprocess.run(words, cwd=elsewhere, stdout=subprocess.PIPE, text=True, check=True).stdout

    return run


def test_it_finds_what_it_needs_of_the_machine(pylat: Callable[..., str]) -> None:
    assert "ok  bcc " in pylat("check")


def test_it_lists_and_measures(pylat: Callable[..., str], own_interpreter: Interpreter, start_target: Start) -> None:
    target = start_target(own_interpreter, "serving.py")
    engine = Target(target.pid).plan.engine  # not the watchpoints, which another test may hold
    assert "handle" in pylat("functions", "-p", target.pid, "handle")
    (run,) = json.loads(pylat("-p", target.pid, "--func", "handle", "-d", 1, "--engine", engine, "-j"))["runs"]
    (function,) = run["functions"]
    assert function["returned"] > 0
    assert not any(run["losses"].values())
