"""How long the report takes: of a real recording of 10,000 functions."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.keeping import Goal, Part, Settings, Spread, Values, chosen, table
from benchmarks.worker import Worker, own_command
from latency.cpython.interpreter import Target
from latency.recording import Options, Recording, dump, dumps, load
from latency.report.text import render
from latency.tracing.probes.session import Session

_ROUNDS = 9
_FUNCTIONS, _CALLS = 10_000, 100_000
_WHOLE, _REPORT, _JSON = "report, all functions in full", "report", "JSON with all percentiles"
_READ, _COMMAND = "read a saved recording", "pylat report FILE"
_STEPS = {
    _WHOLE: "`render(full=True)`: percentiles and histogram of each function",
    _REPORT: "`render()`: the busiest first, as `pylat -p PID` prints it",
    _JSON: "`dumps()`: as `-j` prints it",
    _READ: "`load()`",
    _COMMAND: "the command, from its start to its end",
}


def recorded() -> Recording:
    """All functions of a process that called 10,000 of them, ten times each."""
    (interpreter,) = chosen(Settings(), [(3, 13)])
    with (
        Worker(interpreter.command(), "growing.py", _FUNCTIONS) as worker,
        Session(Target(worker.pid), Options()) as session,
    ):
        session.start()
        worker.ask("functions", _FUNCTIONS, _CALLS)
        return session.stop()


def measure(settings: Settings) -> Values:
    """Each step as often as there are rounds."""
    recording = recorded()
    with tempfile.TemporaryDirectory(prefix="pylat-report-") as folder:
        file = Path(folder) / "recording.json"
        dump([recording], file)
        command = [*own_command(), "report", str(file)]
        steps: dict[str, Callable[[], Any]] = {
            _WHOLE: lambda: render(recording, full=True),
            _REPORT: lambda: render(recording),
            _JSON: lambda: dumps([recording]),
            _READ: lambda: load(file),
            _COMMAND: lambda: subprocess.run(command, capture_output=True, check=True),
        }
        found: dict[str, list[float]] = {name: [] for name in steps}
        for number in range(settings.rounds_or(_ROUNDS)):
            settings.progress(f"reporting: round {number + 1}")
            for name, step in steps.items():
                begin = time.perf_counter()
                step()
                found[name].append(time.perf_counter() - begin)
        size = file.stat().st_size
    return {"functions": len(recording.functions), "calls": recording.calls, "bytes": size, "seconds": found}


def tables(values: Values) -> str:
    """One row for each step."""
    rows = [[name, _STEPS[name], f"{Spread.of(each):.3f} s"] for name, each in values["seconds"].items()]
    what = f"{values['functions']:,} functions and {values['calls']:,} calls, {values['bytes'] / 1e6:.1f} MB as JSON"
    return f"A recording of {what}, on Python {sys.version.split()[0]}.\n\n" + table(("", "what", "takes"), rows)


def goals(values: Values) -> list[Goal]:
    """Of the slower of the two that give percentiles of every function."""
    whole = {name: Spread.of(values["seconds"][name]) for name in (_WHOLE, _JSON)}
    slower = max(whole, key=lambda name: whole[name].middle)
    figure = f"report and percentiles of {values['functions']:,} functions"
    return [Goal(figure, "at most 1 s", f"{whole[slower]:.2f} s ({slower})", whole[slower].middle <= 1)]


PART = Part("reporting", "How long the report takes", measure, tables, goals=goals)
