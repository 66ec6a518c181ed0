"""``pylat record``, short ``pylat -p PID``: measure and report."""

from __future__ import annotations

import argparse
import math
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

from latency.cli import output
from latency.cli.arguments import DEFAULT_LIMIT_PCT
from latency.cli.filling import FILLED_EACH_S, filling
from latency.cli.missed import bystanders
from latency.cli.options import options_of
from latency.cli.terminal import progress, say
from latency.cpython.interpreter import Stopwatch
from latency.cpython.wrapped import target_of
from latency.errors import UsageError
from latency.recording import Options
from latency.report.names import escape
from latency.tracing.ebpf import program_text
from latency.tracing.kernel.host import require
from latency.tracing.loop import Outcome, Stop, measure
from latency.tracing.measurement import AUTO, Measurement, begin

_LONGEST_NAME, _LONGEST_LINE = 60, 1000


def run(arguments: argparse.Namespace) -> int:
    """Measure until the time is up, Ctrl-C or SIGTERM."""
    options = options_of(arguments, max_overhead_pct=limit_pct(arguments))
    if arguments.format == "html" and arguments.interval:
        raise UsageError("a report for each interval is text or JSON", "leave -i out, or take --format json")
    output.require_place(arguments)
    if arguments.ebpf:
        sys.stdout.write(program_text(target_of(arguments.pid[0], engine=options.engine), options))
        return output.DONE
    return report(record(arguments.pid, options, arguments), arguments)


def report(outcome: Outcome, arguments: argparse.Namespace) -> int:
    """Save and show what was seen, and say what was not. Returns the exit status."""
    for pid in outcome.other_programs:
        say(f"process {pid} is a child that runs another program than CPython: not measured")
    for pid, why in outcome.ended.items():
        what = "ended" if why == "exited" else "replaced itself by another program (exec)"
        say(f"process {pid} {what}: this is what was seen until then")
    for line in bystanders(outcome):
        say(line)
    try:
        output.save(outcome.recording, arguments)
    finally:  # a full disk must not cost what was measured
        output.show(outcome.recording, arguments)
    return output.exit_status(outcome.recording, max_loss_pct=arguments.max_loss)


def record(pids: Sequence[int], options: Options, arguments: argparse.Namespace) -> Outcome:
    """One measurement of these processes, from attaching to detaching."""
    stop = Stop()
    with ExitStack() as stack:
        measurements = attached(pids, options, arguments, stop, stack)
        looked_s = max(each.looked_s for each in measurements)
        say(_banner(measurements, options))
        with filling(measurements, arguments) as listener:
            outcome = measure(
                measurements,
                stop,
                duration_s=None if options.duration_s is None else max(options.duration_s - looked_s, 0.0),
                interval_s=options.interval_s or (FILLED_EACH_S if listener else None),
                on_interval=(lambda recording: output.show_interval(recording, arguments)) if not listener else None,
                listener=listener,
                on_doubt=lambda pid, line: say(f"pid {pid}: {line}"),
            )
        say("Detaching...")
    return outcome


def attached(
    pids: Sequence[int], options: Options, arguments: argparse.Namespace, stop: Stop, stack: ExitStack
) -> list[Measurement]:
    """Measurements of these processes that have begun.

    Args:
        stop: which Ctrl-C and SIGTERM set from now on.
        stack: closes them.
    """
    started_s = time.perf_counter()
    require()
    stopwatches = {pid: Stopwatch() for pid in pids}
    with progress(list(stopwatches.values())):
        targets = [
            target_of(pid, engine=options.engine, children=options.children, stopwatch=watch)
            for pid, watch in stopwatches.items()
        ]
        measurements = []
        for target in targets:
            measurements.append(begin(target, options, attachment=arguments.attach))
            stack.callback(measurements[-1].close)
        # From here on Ctrl-C ends the measurement, and nothing ends the clean-up.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        for each in measurements:
            each.start()
    if arguments.verbose:
        _explain(measurements, time.perf_counter() - started_s)
    for line in (line for each in measurements for line in each.remarks):
        say(escape(line, _LONGEST_LINE))
    return measurements


def limit_pct(arguments: argparse.Namespace) -> float | None:
    """``--max-overhead``; without it ``auto`` is careful, and who names an engine knows why."""
    if arguments.max_overhead is None:
        return DEFAULT_LIMIT_PCT if arguments.engine == AUTO else None
    return None if arguments.max_overhead == math.inf else float(arguments.max_overhead)


def _banner(measurements: Sequence[Measurement], options: Options) -> str:
    asked = options.func or options.markers
    what = escape(", ".join(asked), _LONGEST_NAME) if asked else "every function"
    whom = ", ".join(str(each.target.pid) for each in measurements)
    first = measurements[0]
    end = f"for {options.duration_s:g} s" if options.duration_s else "... Hit Ctrl-C to end."
    return f"Tracing {what} in pid {whom} (CPython {first.target.build.version_text}, {first.engine}) {end}"


def _explain(measurements: Sequence[Measurement], total_s: float) -> None:
    for each in measurements:
        build = each.target.build
        say(f"pid {each.target.process.pid}: {build.file} CPython {build.version_text} {build.build_id}")
        for line in each.explain():
            say(f"  {escape(line)}")
    say(f"  {total_s:6.3f} s  in all")
