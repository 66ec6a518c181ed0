"""``pylat agent``: always on, for the processes that a file of rules means."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

from latency.cli import output
from latency.cli.terminal import say
from latency.errors import MissingLibrary
from latency.export.formats import writer
from latency.report.names import escape
from latency.tracing.kernel.host import one_heap, require

_LONGEST_LINE = 1000
_WRITERS = ("text", "protobuf", "otlp")


def run(arguments: argparse.Namespace) -> int:
    """Until SIGTERM or SIGINT; SIGHUP reads the file again."""
    path = Path(arguments.config)
    config = _module("config").read(path, os.environ)  # what is wrong with it is told whatever the machine can do
    if arguments.check:
        return _check(config)
    for name in _WRITERS:
        writer(name)
    require()
    one_heap()
    agent = _module("agent").Agent(path, os.environ, lambda line: say(escape(line, _LONGEST_LINE)), sys.stdout)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: agent.end())
    signal.signal(signal.SIGHUP, lambda *_: agent.reload())
    say(f"Answering on http://{agent.address}/metrics ... SIGHUP reads {path} again, Ctrl-C ends it.")
    agent.run()
    return output.DONE


def _module(name: str) -> Any:
    """Of ``latency.agent``. Raises MissingLibrary where what it needs is not installed."""
    try:
        return importlib.import_module(f"latency.agent.{name}")
    except ImportError as error:
        raise MissingLibrary(
            f"the agent needs a library that cannot be imported: {error}",
            "python -m pip install 'pylat-bpf[agent]', or script/setup in a checkout",
        ) from error


def _check(config: Any) -> int:
    """Say of each rule how many of the processes that are there it means."""
    processes = _module("processes")
    census = processes.Census()
    there = [(seen, census.ancestors(seen.pid)) for seen in census.look(0.0)]
    for rule in config.rules:
        means = sum(processes.matches(rule.processes, seen, above) for seen, above in there)
        print(f"{escape(rule.name)}: {means} of {len(there)} processes; {escape(', '.join(rule.options.func))}")
    return output.DONE
