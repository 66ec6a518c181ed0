"""``pylat trace``: calls one by one, as they happen."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from contextlib import ExitStack
from typing import TextIO

from latency.cli import output
from latency.cli.options import options_of
from latency.cli.terminal import progress, say
from latency.cpython.interpreter import Stopwatch, Target
from latency.cpython.wrapped import target_of
from latency.errors import UsageError
from latency.recording import Options, Recording
from latency.recording import trace as told
from latency.recording.trace import TraceEvent
from latency.report import chrome, trace_json, trace_text, words
from latency.report.names import escape
from latency.tracing.kernel.host import require
from latency.tracing.loop import Stop
from latency.tracing.measurement import Calls, Measurement, begin_trace, require_traceable

_POLL_S = 0.02
_LOOK_S = 0.1  # between two looks at whether the process lives
_LONGEST_NAME, _LONGEST_LINE = 60, 1000


def run(arguments: argparse.Namespace) -> int:
    """Trace until the time is up, the calls are enough, Ctrl-C or SIGTERM, or the process ends."""
    options = options_of(arguments)
    require_traceable(options)
    require()
    stop = Stop()
    with ExitStack() as stack:
        stopwatch = Stopwatch()
        with progress([stopwatch]):
            target = target_of(arguments.pid, engine=options.engine, children=options.children, stopwatch=stopwatch)
            measurement, calls = begin_trace(
                target, options, arguments=arguments.args, values=arguments.ret, event_bytes=arguments.buffer << 10
            )
            stack.callback(measurement.close)
            writer = stack.enter_context(_Writer(arguments))  # when nothing that was asked for is refused any more
            # From here on Ctrl-C ends the trace, and nothing ends the clean-up.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: stop.set())
            measurement.start()
        writer.begin()
        for line in measurement.remarks:
            say(escape(line, _LONGEST_LINE))
        say(_banner(target, options))
        if arguments.args or arguments.ret:
            say(trace_text.LATER)
        why = _follow(measurement, calls, writer, stop, arguments)
        say("Detaching...")
        recording = measurement.stop()
        for event in calls.take_last():
            writer.write(event)
        writer.finish(calls, recording)
    if why:
        say(f"process {arguments.pid} {'ended' if why == 'exited' else 'replaced itself by another program (exec)'}")
    return _status(calls, writer, recording, arguments.max_loss)


def _follow(measurement: Measurement, calls: Calls, writer: _Writer, stop: Stop, arguments: argparse.Namespace) -> str:
    """Write what happens, until it is enough. Why the process cannot be followed any longer, or ``""``."""
    end_s = time.monotonic() + arguments.duration if arguments.duration else None
    next_look_s = 0.0
    while not stop.is_set() and not writer.enough:
        wrote, now_s = False, time.monotonic()
        for event in calls.take():
            wrote, now_s = True, time.monotonic()
            if not writer.write(event) or stop.is_set() or now_s >= next_look_s:
                break
        if now_s >= next_look_s:
            next_look_s = now_s + _LOOK_S
            why = measurement.poll()
            if why:
                return why
        if end_s is not None and now_s >= end_s:
            break
        if not wrote:
            writer.flush()
            stop.wait(_POLL_S)
    return ""


class _Writer:
    """Where the events go."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._out: TextIO = sys.stdout
        self._json = arguments.json
        self._chrome = chrome.ChromeTrace() if arguments.chrome else None
        self._file: TextIO | None = None
        if arguments.chrome:
            try:
                self._file = open(arguments.chrome, "w", encoding="ascii")  # noqa: SIM115 (closed by __exit__)
            except OSError as error:
                raise UsageError(
                    f"cannot write {arguments.chrome}: {error.strerror}", "give --chrome another path"
                ) from None
            self._file.write(chrome.BEGIN)
        self.events = self.calls = 0

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever happened, the file is whole."""
        if self._file and self._chrome:
            self._file.write(self._chrome.finish() + chrome.END)
            self._file.close()

    def begin(self) -> None:
        """What stands above the events."""
        if not self._file and not self._json:
            self._out.write(trace_text.HEADER + "\n")

    @property
    def enough(self) -> bool:
        """As many calls have ended as were asked for."""
        return self._arguments.number is not None and self.calls >= self._arguments.number

    def write(self, event: TraceEvent) -> bool:
        """Tell one event, unless there were enough. Whether it was told."""
        if self.enough and event.kind != told.LOST:
            return False
        if event.kind != told.LOST:
            self.events += 1
            self.calls += event.kind in told.ENDS
        if self._file and self._chrome:
            self._file.write(self._chrome.add(event))
        elif self._json:
            self._out.write(trace_json.line(event) + "\n")
        else:
            self._out.write(trace_text.line(event, unit=self._arguments.unit) + "\n")
        return True

    def flush(self) -> None:
        """Show what was told until now."""
        (self._file or self._out).flush()

    def finish(self, calls: Calls, recording: Recording) -> None:
        """What is to be said at the end."""
        losses = recording.losses
        if self._json and not self._file:
            known = {name: number for name, number in losses.as_dict().items() if number}
            self._out.write(
                trace_json.end(events=self.events, calls=self.calls, lost=calls.lost_in_all, losses=known) + "\n"
            )
        say(f"{self.events:,} events, {self.calls:,} calls ended, {calls.lost_in_all:,} events lost")
        if calls.lost_in_all:
            say("  events came faster than they could be written: narrow --func, or write to a file")
        for said in words.losses(recording, told=("event_lost",)):
            say(f"  {said.text}")
        self.flush()


def _status(calls: Calls, writer: _Writer, recording: Recording, max_loss_pct: float) -> int:
    lost = calls.lost_in_all + recording.losses.total
    if not writer.events and not lost:
        return output.NOTHING_MEASURED
    return output.LOSSY if 100 * lost > max_loss_pct * (writer.events + lost) else output.DONE


def _banner(target: Target, options: Options) -> str:
    what = escape(", ".join(options.func), _LONGEST_NAME) if options.func else "every function"
    end = f"for {options.duration_s:g} s" if options.duration_s else "... Hit Ctrl-C to end."
    whom = f"pid {target.pid} (CPython {target.build.version_text}, {target.plan.engine})"
    return f"Tracing {what} in {whom} {end}"
