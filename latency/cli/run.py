"""``pylat run``: start a program under measurement. Its output, signals and exit status are its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout

from latency.cli import output
from latency.cli.missed import bystanders, nothing_called
from latency.cli.options import options_of
from latency.cli.terminal import say
from latency.errors import NothingMeasured, UsageError
from latency.report.names import escape
from latency.tracing.kernel.host import require
from latency.tracing.loop import Outcome
from latency.tracing.running import run_measured

_SIGNALS = 128  # as a shell says it
_LONGEST_NAME, _LONGEST_LINE, _MOST_NAMED = 60, 1000, 5


def run(arguments: argparse.Namespace) -> int:
    """Run it to its end, then report on standard error: standard output is the program's."""
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise UsageError("there is no program to run", "pylat run --func NAME -- PROGRAM ARGUMENTS")
    output.require_place(arguments)
    require()
    options = options_of(arguments)
    outcome, status = run_measured(command, options, user=arguments.user)
    if outcome is None:
        raise NothingMeasured(
            f"{command[0]} ran no CPython, and ended with {status}", "give a program that runs Python"
        )
    output.save(outcome.recording, arguments)
    with redirect_stdout(sys.stderr):
        output.show(outcome.recording, arguments)
    for line in missed(outcome, status):
        say(line)
    return output.NOTHING_MEASURED if not status and options.func and nothing_called(outcome) else status


def missed(outcome: Outcome, status: int) -> Iterator[str]:
    """Why there may be calls that were not seen, a line each."""
    how = f"ended by signal {status - _SIGNALS}" if status > _SIGNALS else f"ended with status {status}"
    for pattern in outcome.missing:
        yield f"no function that matches {escape(pattern, _LONGEST_NAME)} was ever called; the program {how}"
        if near := outcome.nearest.get(pattern):
            yield f"  nearest: {escape(', '.join(near), _LONGEST_LINE)}"
    if outcome.missing and outcome.extensions:
        named = ", ".join(outcome.extensions[:_MOST_NAMED]) + (", …" if len(outcome.extensions) > _MOST_NAMED else "")
        yield f"  extension modules are C, of which pylat sees no call: {escape(named, _LONGEST_LINE)}"
    for pid, why in outcome.ended.items():
        if why == "exec":  # never where children are followed: these are all its programs
            yield f"process {pid} replaced itself by another program (exec), which was not measured; add --children"
    yield from bystanders(outcome)
