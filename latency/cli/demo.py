"""``pylat demo``: the tool on a small workload of its own."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import latency
from latency.cli import output
from latency.cli.arguments import DEFAULT_LIMIT_PCT
from latency.cli.options import options_of
from latency.cli.record import record
from latency.cli.terminal import say
from latency.errors import TargetError

_WORKLOAD = Path(latency.__file__).with_name("demo_workload.py")
_FUNCTION = "__main__:handle_request"  # the standard library has a method of that name too
_PYTHON = "/usr/bin/python3"  # the system's: the demo shows what pylat does with the Python that is installed


def run(arguments: argparse.Namespace) -> int:
    """Start the workload, measure its ``handle_request``, and end it."""
    with workload() as pid:
        say(f"a small HTTP server runs as pid {pid}: {_PYTHON} {_WORKLOAD.name}")
        further = f"{' --offcpu' * arguments.offcpu}{' --self' * arguments.self_time}"
        further += f" --slower {arguments.slower}" if arguments.slower else ""
        further += f"{' --no-values' * (not arguments.values)}{' --show-secrets' * arguments.show_secrets}"
        say(f"$ pylat -p {pid} --func {_FUNCTION} -d {arguments.duration:g}{further}")
        options = options_of(arguments, func=(_FUNCTION,), max_overhead_pct=DEFAULT_LIMIT_PCT)
        arguments.attach = "auto"
        outcome = record([pid], options, arguments)
    output.show(outcome.recording, arguments)
    return output.exit_status(outcome.recording, max_loss_pct=100.0)


@contextmanager
def workload() -> Iterator[int]:
    """The running workload's PID. It ends with its standard input, so it never outlives this process.

    Raises:
        TargetError: it did not start.
    """
    python = _PYTHON if Path(_PYTHON).exists() else sys.executable
    process = subprocess.Popen([python, str(_WORKLOAD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    try:
        if not process.stdout.readline().startswith("ready"):
            raise TargetError("the demo's workload did not start", f"run {python} {_WORKLOAD} to see why")
        yield process.pid
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()
