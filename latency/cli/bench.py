"""``pylat bench``: two commands, measured in turns, and then compared."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from latency.cli.compare import gates, show
from latency.cli.options import options_of
from latency.cli.terminal import say
from latency.errors import NothingMeasured, RecordingError, UsageError
from latency.recording import Options, Recording, append
from latency.report.compare import Comparison, compare, exit_status
from latency.report.compare_gates import Gate
from latency.report.statistics import Verdict
from latency.tracing.kernel.host import require
from latency.tracing.running import run_measured

_NAMES = ("base", "head")


def run(arguments: argparse.Namespace) -> int:
    """Warm up, then A B A B …, one run of each side a round; then the comparison."""
    commands = [shlex.split(text) for text in (arguments.a, arguments.b)]
    if not all(commands):
        raise UsageError("a command is empty", "pylat bench --func NAME --rounds 10 'COMMAND A' 'COMMAND B'")
    wanted = gates(arguments)
    require()
    options = options_of(arguments)
    folder = Path(arguments.output or tempfile.mkdtemp(prefix="pylat-bench-"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordingError(f"cannot write to {folder}: {error.strerror}", "give -o another folder") from None
    if any((folder / f"{name}.json").exists() for name in _NAMES):
        raise UsageError(f"{folder} has the recordings of another comparison", "give -o another folder")
    comparison = _measured(commands, options, arguments, wanted, folder, "")
    if arguments.confirm and any(each.verdict is Verdict.SLOWER for each in comparison.functions):
        say("suspected to be slower: measuring a second time")
        comparison = _measured(commands, options, arguments, wanted, folder, "-confirm")
    show(comparison, arguments)
    say(f"recordings: {folder}")
    return exit_status(comparison, strict=arguments.strict)


def _measured(
    commands: Sequence[Sequence[str]],
    options: Options,
    arguments: argparse.Namespace,
    wanted: Sequence[Gate],
    folder: Path,
    suffix: str,
) -> Comparison:
    sides: tuple[list[Recording], list[Recording]] = ([], [])
    for side, command in enumerate(commands):
        _progress(f"warming up {_NAMES[side]}")
        _one(command, options)
    for number in range(arguments.rounds):
        for side, command in enumerate(commands):
            _progress(f"round {number + 1} of {arguments.rounds}: {_NAMES[side]}")
            recording = _one(command, options)
            sides[side].append(recording)
            append([recording], folder / f"{_NAMES[side]}{suffix}.json")
    _progress("")
    return compare(sides[0], sides[1], wanted, max_loss=arguments.max_loss / 100)


def _one(command: Sequence[str], options: Options) -> Recording:
    outcome, status = run_measured(command, options, foreground=False)
    if outcome is None or status:
        what = "ran no CPython" if outcome is None else f"ended with status {status}"
        raise NothingMeasured(f"{shlex.join(command)} {what}", "run it by hand to see why")
    return outcome.recording


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
