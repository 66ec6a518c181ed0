"""``pylat run``: start a program under measurement. Its output, signals and exit status are its own."""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout

from latency.cli import output
from latency.cli.options import options_of
from latency.cli.terminal import say
from latency.errors import NothingMeasured, UsageError
from latency.tracing.kernel.host import require
from latency.tracing.running import run_measured


def run(arguments: argparse.Namespace) -> int:
    """Run it to its end, then report on standard error: standard output is the program's."""
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise UsageError("there is no program to run", "pylat run --func NAME -- PROGRAM ARGUMENTS")
    if arguments.append and not arguments.output:
        raise UsageError("--append adds to a file, and there is none", "give -o FILE")
    if arguments.output:
        output.require_writable(arguments.output, to_append=arguments.append)
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
    if not outcome.recording.functions and options.func:
        say(f"no function that matches {', '.join(options.func)} was ever called")
    return status
