"""What is printed and what is typed, whatever the terminal's encoding is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from latency.cli.terminal import typed
from latency.histogram import Histogram
from latency.recording import Function, FunctionLatency, Options, Recording, TargetInfo, dump

TARGET = TargetInfo((42,), "app", "3.11.2", "ab", "/usr/bin/python3", "handlers", "table 3.11", "6.18", "x86_64", 2)


def ascii_only(*arguments: object, encoding: str = "ascii") -> subprocess.CompletedProcess[bytes]:
    """A command on a terminal that has no UTF-8."""
    environ = {**os.environ, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "latency", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, env=environ, check=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A recording of a function of a name that is not ASCII."""
    wall = Histogram.from_values([2000, 3000, 9000] * 40)
    latency = FunctionLatency(Function("größe", "f.py", 1), 120, 0, wall)
    path = tmp_path / "r.json"
    dump([Recording(TARGET, 1.0, (latency,), options=Options(("größe",)))], path)
    return path


@pytest.mark.parametrize(("encoding", "name"), [("ascii", b"gr\\xf6\\xdfe"), ("latin-1", b"gr\xf6\xdfe")])
def test_a_terminal_without_utf8_shows_the_whole_report_in_its_own_letters(
    file: Path, encoding: str, name: bytes
) -> None:
    done = ascii_only("report", file, encoding=encoding)
    assert done.returncode == 0, done.stderr
    assert name in done.stdout
    assert b"####" in done.stdout  # the distribution
    assert b"99 %" in done.stdout or b"p99" in done.stdout


def test_a_page_is_utf8_as_it_says_whatever_the_terminal_is(file: Path) -> None:
    done = ascii_only("report", file, "--format", "html")
    assert done.returncode == 0, done.stderr
    assert "größe" in done.stdout.decode()


def test_an_error_is_shown_there_too() -> None:
    done = ascii_only("report", "größe.json")
    assert done.returncode == 2
    assert done.stderr.isascii()
    assert b"Traceback" not in done.stderr


def test_a_name_is_what_was_typed_in_utf8_wherever_python_took_it_for_something_else() -> None:
    assert typed("größe") == "größe"
    assert typed(os.fsdecode(b"\xff")) == os.fsdecode(b"\xff")
    script = "import sys; from latency.cli.terminal import typed; print(ascii(typed(sys.argv[1])))"
    environ = {**os.environ, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-c", script, "größe".encode()], capture_output=True, text=True, env=environ, check=True
    )
    assert done.stdout.strip() == ascii("größe")
