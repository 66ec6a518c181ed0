"""``pylat top``: the measurement as a view to sort, filter and open, and its report at the end."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from latency.cli import output
from latency.cli.options import options_of
from latency.cli.record import attached, limit_pct, report
from latency.cli.terminal import is_dumb, say
from latency.cpython.wrapped import target_of
from latency.errors import HostError, UsageError
from latency.recording import Options
from latency.report.names import escape
from latency.tracing.kernel.host import give_back, one_heap
from latency.tracing.loop import Stop
from latency.tracing.measurement import Measurement, begin

if TYPE_CHECKING:
    from latency.live.feed import Feed
    from latency.live.measuring import Measuring

_LONGEST_LINE = 1000


def run(arguments: argparse.Namespace) -> int:
    """Measure and draw until q, Ctrl-C, SIGTERM, or the time is up; then the report, as ``pylat -p PID`` prints it.

    Raises:
        UsageError: there is no terminal to draw on.
        HostError: textual is not installed.
    """
    require_terminal()
    require_textual()
    output.require_place(arguments)
    one_heap()
    # What is asked for at intervals is of the view, and not of the recording.
    options = replace(options_of(arguments, max_overhead_pct=limit_pct(arguments)), interval_s=None)
    from latency.live.feed import Feed
    from latency.live.measuring import Measuring

    def prepared(options: Options) -> list[Measurement]:
        targets = [target_of(pid, engine=options.engine, children=options.children) for pid in arguments.pid]
        return [begin(target, options, attachment=arguments.attach) for target in targets]

    stop = Stop()
    with ExitStack() as stack:
        measurements = attached(arguments.pid, options, arguments, stop, stack)
        info = measurements[0].target.info(show_secrets=options.show_secrets)
        looked_s = max(each.looked_s for each in measurements)
        duration_s = None if options.duration_s is None else max(options.duration_s - looked_s, 0.0)
        feed = Feed()
        measuring = Measuring(measurements, prepared, feed, interval_s=arguments.interval, duration_s=duration_s)
        stack.pop_all()  # they are its own from now on
    give_back()  # what placing the probes took
    measuring.start()
    said: list[str] = []
    try:
        _show(feed, measuring, info.command, arguments, stop, said)
    finally:  # whatever becomes of the view, what was measured is reported
        measuring.end()
    say("Detaching...")
    outcome = measuring.outcome()
    for line in said:  # it was on the screen that is gone now
        say(escape(line, _LONGEST_LINE))
    status = report(outcome, arguments)
    if measuring.failed is not None:
        raise measuring.failed
    return status


def _show(
    feed: Feed, measuring: Measuring, command: str, arguments: argparse.Namespace, stop: Stop, said: list[str]
) -> None:
    """Until it is left. What is told meanwhile is kept in ``said``."""
    # Its library is large: the probes need not wait for it, nor does what is taken to place them lie beside it.
    from latency.live.top import Subject, Top

    without_color = os.environ.get("NO_COLOR")
    subject = Subject(arguments.pid, command, arguments.interval, arguments.unit, _folder(arguments))
    view = Top(feed, measuring, subject, ends=arguments.duration is not None)
    if without_color is not None:
        os.environ["NO_COLOR"] = without_color  # textual takes it away, and the report asks for it

    def tell(line: str) -> None:
        said.append(line)
        view.say(line)

    measuring.say, measuring.over = tell, view.over
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: view.leave())
    if not stop.is_set():  # in between
        view.run()


def require_terminal() -> None:
    """Raises UsageError where there is none that can be drawn on."""
    streams = {"input": sys.stdin, "output": sys.stdout, "error": sys.stderr}
    without = [name for name, stream in streams.items() if not stream.isatty()]
    if without:
        raise UsageError(
            f"pylat top draws on a terminal, and standard {without[0]} is none", "pylat -p PID -i 1 writes reports"
        )
    if is_dumb():
        raise UsageError("pylat top cannot draw on this terminal (TERM)", "pylat -p PID -i 1 writes reports")


def require_textual() -> None:
    """Raises HostError where it is not installed."""
    if importlib.util.find_spec("textual") is None:
        raise HostError("pylat top needs textual, which is not installed here", "pip install 'pylat-bpf[live]'")


def _folder(arguments: argparse.Namespace) -> Path:
    """Where recordings are saved: beside that of ``-o``, else where one is."""
    return Path(arguments.output).parent if arguments.output else Path()
