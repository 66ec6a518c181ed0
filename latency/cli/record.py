"""``pylat record``, short ``pylat -p PID``: measure and report."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack

from latency import resources
from latency.cli import output
from latency.cli.terminal import say
from latency.cpython.watch_points import ENGINE as WATCH
from latency.errors import UsageError
from latency.recording import Options
from latency.report.names import escape
from latency.tracing.host import require
from latency.tracing.loop import Outcome, measure
from latency.tracing.parameters import cflags
from latency.tracing.session import Session, Target
from latency.tracing.watch import WatchSession

_LONGEST_NAME = 60


def run(arguments: argparse.Namespace) -> int:
    """Measure until the time is up, Ctrl-C or SIGTERM."""
    options = Options(
        func=tuple(arguments.func),
        regex=arguments.regex,
        duration_s=arguments.duration,
        interval_s=arguments.interval,
        engine=arguments.engine,
        children=arguments.children,
        slower=arguments.slower or "",
        slowest=arguments.slowest,
    )
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
    stop = threading.Event()
    with ExitStack() as stack:
        targets = [Target(pid, engine=options.engine) for pid in dict.fromkeys(pids)]
        sessions: list[Session | WatchSession] = []
        for target in targets:
            sessions.append(_session(target, options, arguments))
            stack.callback(sessions[-1].close)
        # From here on Ctrl-C ends the measurement, and nothing ends the clean-up.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        for session in sessions:
            session.start()
        if arguments.verbose:
            _explain(sessions, time.perf_counter() - begin)
        say(_banner(sessions, options))
        outcome = measure(
            sessions,
            stop,
            duration_s=options.duration_s,
            interval_s=options.interval_s,
            on_interval=lambda recording: output.show_interval(recording, arguments),
        )
        say("Detaching...")
    return outcome


def _session(target: Target, options: Options, arguments: argparse.Namespace) -> Session | WatchSession:
    if options.engine == WATCH:
        return WatchSession(target, options)
    return Session(target, options, attachment=arguments.attach)


def _banner(sessions: Sequence[Session | WatchSession], options: Options) -> str:
    what = escape(", ".join(options.func), _LONGEST_NAME) if options.func else "every function"
    whom = ", ".join(str(session.target.process.pid) for session in sessions)
    target = sessions[0].target
    end = f"for {options.duration_s:g} s" if options.duration_s else "... Hit Ctrl-C to end."
    return f"Tracing {what} in pid {whom} (CPython {target.build.version_text}, {target.plan.engine}) {end}"


def _explain(sessions: Sequence[Session | WatchSession], total_s: float) -> None:
    for session in sessions:
        target = session.target
        say(
            f"pid {target.process.pid}: {target.build.file} CPython {target.build.version_text} {target.build.build_id}"
        )
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
    for flag in cflags(target.offsets, target.plan, every_function=not options.func, slower=bool(options.slower)):
        name, _, value = flag.removeprefix("-D").partition("=")
        print(f"#define {name} {value}")
    sys.stdout.write((resources.directory("bpf") / "pylat.bpf.c").read_text())
    return 0
