"""``pylat record``, short ``pylat -p PID``: measure and report."""

from __future__ import annotations

import argparse
import math
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from latency import resources
from latency.cli import output
from latency.cli.arguments import DEFAULT_LIMIT_PCT
from latency.cli.terminal import say
from latency.cpython.watch_points import ENGINE as WATCH
from latency.errors import UsageError
from latency.recording import Options
from latency.report.names import escape
from latency.tracing.auto import Auto
from latency.tracing.counted.parameters import cflags
from latency.tracing.kernel.host import require
from latency.tracing.loop import Outcome, Stop, measure
from latency.tracing.probes.session import Session, Target
from latency.tracing.probes.splitting import Splitting
from latency.tracing.watch.session import WatchSession

if TYPE_CHECKING:
    from latency.tracing.markers.session import MarkerSession

_LONGEST_NAME = 60
AUTO = "auto"


def run(arguments: argparse.Namespace) -> int:
    """Measure until the time is up, Ctrl-C or SIGTERM."""
    options = Options(
        func=tuple(arguments.func),
        regex=arguments.regex,
        duration_s=arguments.duration,
        interval_s=arguments.interval,
        engine=arguments.engine,
        children=arguments.children,
        markers=tuple(arguments.markers),
        offcpu=arguments.offcpu,
        self_time=arguments.self_time,
        max_overhead_pct=_limit(arguments),
        slower=arguments.slower or "",
        slowest=arguments.slowest,
    )
    if arguments.format == "html" and arguments.interval:
        raise UsageError("a report for each interval is text or JSON", "leave -i out, or take --format json")
    if arguments.append and not arguments.output:
        raise UsageError("--append adds to a file, and there is none", "give -o FILE")
    if arguments.output:
        output.require_writable(arguments.output, to_append=arguments.append)
    if arguments.ebpf:
        return _print_program(arguments.pid[0], options)
    outcome = record(arguments.pid, options, arguments)
    for pid in outcome.other_programs:
        say(f"process {pid} is a child that runs another program than CPython: not measured")
    for pid, why in outcome.ended.items():
        what = "ended" if why == "exited" else "replaced itself by another program (exec)"
        say(f"process {pid} {what}: this is what was seen until then")
    try:
        output.save(outcome.recording, arguments)
    finally:  # a full disk must not cost what was measured
        output.show(outcome.recording, arguments)
    return output.exit_status(outcome.recording, max_loss_pct=arguments.max_loss)


def record(pids: Sequence[int], options: Options, arguments: argparse.Namespace) -> Outcome:
    """One measurement of these processes, from attaching to detaching."""
    begin = time.perf_counter()
    require()
    stop = Stop()
    with ExitStack() as stack:
        targets = [Target(pid, engine=options.engine) for pid in dict.fromkeys(pids)]
        begun = []
        for target in targets:
            begun.append(_begun(target, options, arguments))
            stack.callback(begun[-1].close)
        # From here on Ctrl-C ends the measurement, and nothing ends the clean-up.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        for each in begun:
            each.start()
        sessions = [each.session if isinstance(each, Auto) else each for each in begun]
        looked_s = max(each.looked_s if isinstance(each, Auto) else 0.0 for each in begun)
        if arguments.verbose:
            _explain(sessions, time.perf_counter() - begin)
        say(_banner(sessions, options))
        outcome = measure(
            sessions,
            stop,
            duration_s=None if options.duration_s is None else max(options.duration_s - looked_s, 0.0),
            interval_s=options.interval_s,
            on_interval=lambda recording: output.show_interval(recording, arguments),
        )
        say("Detaching...")
    return outcome


def _begun(
    target: Target, options: Options, arguments: argparse.Namespace
) -> Session | WatchSession | MarkerSession | Auto:
    if options.markers:
        from latency.tracing.markers.session import MarkerSession  # who does not ask for it starts sooner

        return MarkerSession(target, options, attachment=arguments.attach)
    if options.engine == WATCH:
        if options.offcpu or options.self_time:
            raise UsageError("the engine watch does not see where a call's time goes", "take --engine auto")
        return WatchSession(target, options)
    if options.engine == AUTO:
        return Auto(target, options, attachment=arguments.attach)
    return Session(target, options, attachment=arguments.attach)


def _limit(arguments: argparse.Namespace) -> float | None:
    """``--max-overhead``; without it ``auto`` is careful, and who names an engine knows why."""
    if arguments.max_overhead is None:
        return DEFAULT_LIMIT_PCT if arguments.engine == AUTO else None
    return None if arguments.max_overhead == math.inf else float(arguments.max_overhead)


def _banner(sessions: Sequence[Session | WatchSession | MarkerSession], options: Options) -> str:
    asked = options.func or options.markers
    what = escape(", ".join(asked), _LONGEST_NAME) if asked else "every function"
    whom = ", ".join(str(session.target.process.pid) for session in sessions)
    target = sessions[0].target
    engine = "usdt" if options.markers else target.plan.engine
    end = f"for {options.duration_s:g} s" if options.duration_s else "... Hit Ctrl-C to end."
    return f"Tracing {what} in pid {whom} (CPython {target.build.version_text}, {engine}) {end}"


def _explain(sessions: Sequence[Session | WatchSession | MarkerSession], total_s: float) -> None:
    for session in sessions:
        target = session.target
        say(
            f"pid {target.process.pid}: {target.build.file} CPython {target.build.version_text} {target.build.build_id}"
        )
        if not isinstance(session, (Session, WatchSession)):
            for line in session.explain():
                say(f"  {escape(line)}")
            continue
        if target.choice:
            say(f"  {target.choice}")
        for note in target.plan.notes:
            say(f"  {note}")
        for site in target.plan.sites:
            how = "emulated" if site.emulated else "single-stepped"
            say(f"  {site.role.value:17} {site.name:28} {site.address:#x}  {how:14}  {site.instruction}")
        say(f"  live functions that match: {len(session.functions):,}; attached by {session.program.attachment}")
        for name, seconds in target.stopwatch.steps:
            say(f"  {seconds:6.3f} s  {name}")
    say(f"  {total_s:6.3f} s  in all")


def _print_program(pid: int, options: Options) -> int:
    target = Target(pid, engine=options.engine)
    further = Splitting(options.offcpu, options.self_time).flags()
    everything, slower = not options.func, bool(options.slower)
    for flag in cflags(target.offsets, target.plan, every_function=everything, slower=slower, further=further):
        name, _, value = flag.removeprefix("-D").partition("=")
        print(f"#define {name} {value}")
    sys.stdout.write((resources.directory("bpf") / "pylat.bpf.c").read_text())
    return 0
