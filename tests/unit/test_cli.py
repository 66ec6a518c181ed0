"""The command line: what can be typed, and how what is wrong is said."""

from __future__ import annotations

import argparse
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from latency.cli import main
from latency.cli.arguments import parse
from latency.cli.terminal import complain
from latency.errors import CompileError, NothingMeasured, PylatError, UsageError

MEASURE = ["-p", "42"]


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that are said of words that cannot be right."""
    with pytest.raises(SystemExit) as ended:
        parse(words)
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err.splitlines()


def test_record_is_the_default_command() -> None:
    words = [*MEASURE, "--func", "f", "-d", "2"]
    short, full = vars(parse(words)), vars(parse(["record", *words]))
    assert short == full
    assert short["pid"] == [42]
    assert short["func"] == ["f"]
    assert short["duration"] == 2.0


def test_pids_and_patterns_can_be_repeated() -> None:
    arguments = parse(["-p", "1", "-p", "2", "--func", "a", "--func", "b"])
    assert (arguments.pid, arguments.func) == ([1, 2], ["a", "b"])


@pytest.mark.parametrize(
    ("option", "name", "value"), [("-u", "unit", "us"), ("-m", "unit", "ms"), ("-j", "format", "json")]
)
def test_short_words_of_funclatency(option: str, name: str, value: str) -> None:
    assert getattr(parse([*MEASURE, option]), name) == value


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["-p", "0"], "process id"),
        (["-p", "-5"], "process id"),
        (["-p", "99999999999"], "process id"),
        (["-p", "it"], "process id"),
        (["-p", "²"], "process id"),
        ([*MEASURE, "-d", "-1"], "no duration"),
        ([*MEASURE, "-d", "0"], "no duration"),
        ([*MEASURE, "-d", "nan"], "no number"),
        ([*MEASURE, "-d", "inf"], "no number"),
        ([*MEASURE, "-i", "often"], "no number"),
        ([*MEASURE, "--top", "0"], "number of functions"),
        ([*MEASURE, "--max-loss", "101"], "percentage"),
        ([*MEASURE, "--engine", "magic"], "magic"),
        ([*MEASURE, "-u", "-m"], "not allowed with"),
        (["--func", "f"], "-p"),
        (["mesure"], "no command 'mesure'"),
        ([*MEASURE, "--no-such-option"], "--no-such-option"),
    ],
)
def test_words_that_mean_nothing_are_named_in_one_line_with_one_of_advice(
    words: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said, advice = refused(words, capsys)
    assert said.startswith("pylat: ")
    assert what in said
    assert "--help" in advice


def test_a_terminal_escape_on_the_command_line_is_not_sent_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert "\x1b" not in "".join(refused(["\x1b[31m"], capsys))


def test_without_a_command_there_is_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([])
    assert ended.value.code == 2
    assert "commands" in capsys.readouterr().out


def test_the_help_explains_every_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"{status} " in shown[shown.index("exit status") :] for status in range(5))


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"), [(UsageError("no", "do"), 2), (NothingMeasured("none"), 3), (CompileError("no"), 2)]
)
def test_an_error_of_ours_ends_with_its_status(
    error: PylatError, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr("latency.cli.parse", lambda _: argparse.Namespace(run=run, verbose=False))
    assert main([]) == status
    assert capsys.readouterr().err.startswith(f"pylat: {error}\n")


def test_ctrl_c_before_the_measurement_ends_as_a_shell_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("latency.cli.parse", lambda _: argparse.Namespace(run=run, verbose=False))
    assert main([]) == 130


def test_an_error_is_two_lines_and_its_detail_is_for_those_who_ask(capsys: pytest.CaptureFixture[str]) -> None:
    error = CompileError("it did not compile", "ask", detail="line 1\nline 2\n")
    complain(error, verbose=False)
    assert capsys.readouterr().err == "pylat: it did not compile\n  ask\n"
    complain(error, verbose=True)
    assert capsys.readouterr().err == "pylat: it did not compile\n  ask\nline 1\nline 2\n"


def test_a_name_in_an_error_is_escaped_and_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    complain(UsageError("no \x1b[31m" + "x" * 10_000, "near: \x07" + "y" * 10_000), verbose=False)
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "\x07" not in said
    assert max(map(len, said.splitlines())) < 1100


def test_the_package_runs_as_a_module(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["pylat", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("latency", run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("pylat ")


def test_a_report_of_a_missing_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err


def test_numpy_starts_no_threads_and_a_program_that_is_run_hears_nothing_of_it() -> None:
    text = "import os, latency.cli; print(len(os.listdir('/proc/self/task')), 'OPENBLAS_NUM_THREADS' in os.environ)"
    environ = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    said = subprocess.run([sys.executable, "-c", text], env=environ, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["1", "False"]
