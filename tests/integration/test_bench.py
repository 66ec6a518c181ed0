"""``pylat bench``: two real programs, run in turns, and the verdict."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from latency.recording import Recording, load
from tests.lab import Interpreter
from tests.pylat_command import PYLAT, Result, pylat

pytestmark = pytest.mark.xdist_group("bench")

ROUNDS = 5
PROGRAM = """
def f(turns):
    for _ in range(turns):
        pass

for number in range(200):
    f({turns} + 20 * number)
"""


class Bench(NamedTuple):
    """A comparison of a program with one that does three times as much, and the files that it left."""

    result: Result
    folder: Path
    picture: Path

    def runs(self, name: str) -> list[Recording]:
        return load(self.folder / f"{name}.json")


def command(interpreter: Interpreter, source: str) -> str:
    """As one word of the command line."""
    return shlex.join(interpreter.command("-E", "-S", "-c", source))


@pytest.fixture(scope="module")
def bench(own_interpreter: Interpreter, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    base, head = (command(own_interpreter, PROGRAM.format(turns=turns)) for turns in (3_000, 9_000))
    options = ("--rounds", ROUNDS, "--confirm", "--format", "github", "--html", folder / "shift.html")
    words = [*PYLAT, "bench", "--func", "f", *map(str, options), "-o", str(folder / "kept"), base, head]
    # 24 runs: longer than a command usually takes
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return Bench(Result(done.returncode, done.stdout, done.stderr), folder / "kept", folder / "shift.html")


def test_a_program_that_is_slower_ends_with_1_and_is_measured_twice_before(bench: Bench) -> None:
    assert bench.result.status == 1
    assert "slower" in bench.result.out
    assert "measuring a second time" in bench.result.err
    assert [len(bench.runs(name)) for name in ("base", "head", "base-confirm", "head-confirm")] == [ROUNDS] * 4


def test_every_call_of_every_run_is_seen(bench: Bench) -> None:
    assert {each.calls for name in ("base", "head") for each in bench.runs(name)} == {200}


def test_the_sides_take_turns(bench: Bench) -> None:
    begun = [(each.started_at, name) for name in ("base", "head") for each in bench.runs(name)]
    assert [name for _, name in sorted(begun)] == ["base", "head"] * ROUNDS
    assert "not in turns" not in bench.result.out


def test_the_kept_recordings_compare_to_the_same_verdict(bench: Bench) -> None:
    again = pylat(
        "compare", bench.folder / "base-confirm.json", bench.folder / "head-confirm.json", "--format", "github"
    )
    assert again.status == 1
    assert again.out == bench.result.out


def test_the_comparison_is_a_table_and_a_picture_and_no_progress_is_in_a_pipe(bench: Bench) -> None:
    assert "|" in bench.result.out
    assert bench.picture.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "round" not in bench.result.err


def test_recordings_of_another_comparison_are_not_added_to(bench: Bench, own_interpreter: Interpreter) -> None:
    program = command(own_interpreter, "pass")
    result = pylat("bench", "--func", "f", "--rounds", 1, "-o", bench.folder, program, program)
    assert result.status == 2
    assert "has the recordings of another comparison" in result.err


def test_a_command_that_fails_is_said(own_interpreter: Interpreter, tmp_path: Path) -> None:
    fails = command(own_interpreter, "raise SystemExit(3)")
    result = pylat("bench", "--func", "f", "--rounds", 1, "-o", tmp_path, fails, fails)
    assert result.status == 3
    assert "ended with status 3" in result.err


def test_a_gate_that_is_none_is_said_before_anything_runs(own_interpreter: Interpreter, tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    runs = command(own_interpreter, f"open({str(trace)!r}, 'w')")
    result = pylat("bench", "--func", "f", "--fail", "p50", runs, runs)
    assert result.status == 2
    assert "not a gate" in result.err
    assert not trace.exists()
