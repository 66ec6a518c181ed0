"""Where the wish to measure is turned into an engine: ``begin`` chooses, and what it returns has one face.

    measurement = begin(Target(pid, engine=options.engine), options)   # everything that needs nothing attached
    measurement.start()                                                # placed, and counting
    measurement.poll()                                                 # several times a second
    recording = measurement.stop()
    measurement.close()

``loop.measure`` drives several of them until the time is up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from latency.cpython import jit
from latency.cpython.interpreter import Target
from latency.cpython.watch_points import ENGINE as WATCH
from latency.errors import UsageError
from latency.recording import Options, Recording
from latency.recording.totals import Totals
from latency.recording.trace import TraceEvent

if TYPE_CHECKING:
    from latency.cpython.values import Limits

AUTO = "auto"


class Measurement(Protocol):
    """One measurement of one target: of ``probes``, ``watch`` or ``markers``, or ``auto.Auto``, which changes its mind.

    Attributes:
        target, options: what is measured, and what was asked for.
        engine: what a recording calls the way of measuring.
        strangers: PIDs of followed processes that run another program since; whoever takes them over takes them out.
        looked_s: how much of the measurement's time has passed when ``start`` returns.
        remarks: what whoever waits for it should know when it begins, a line each.
        missing: the patterns that have meant no function yet.
        hurries: it costs more than its limit just now, and ``poll`` will take the probes away for a time: ask it ten
            times a second.
    """

    options: Options

    @property
    def target(self) -> Target:
        """See above, as those below."""

    @property
    def engine(self) -> str:
        """See above."""

    @property
    def strangers(self) -> list[int]:
        """See above."""

    @property
    def looked_s(self) -> float:
        """See above."""

    @property
    def missing(self) -> list[str]:
        """See above."""

    @property
    def remarks(self) -> list[str]:
        """See above."""

    @property
    def hurries(self) -> bool:
        """See above."""

    def start(self) -> None:
        """Place everything and begin. Raises AttachError, TargetGone."""

    def poll(self) -> str:
        """Take in what has happened since; ``""``, or why the target cannot be measured any longer.

        That is ``"exited"`` or ``"exec"``: it runs another program.
        """

    def allow(self, limit_pct: float) -> None:
        """From now on it may cost so much, percent of one CPU, and not what its options say; where these say nothing it
        has no limit still."""

    def doubt(self) -> str:
        """Once, after the first calls: why the build may not be as pylat takes it to be, a line; ``""`` for nothing."""

    def end_slice(self) -> None:
        """One more of the equal parts of the measurement is over: the error bars are made of these."""

    def interval(self) -> Recording:
        """What came since the last interval. The open calls are not told."""

    def so_far(self) -> Recording:
        """What was seen since the start, as ``stop`` gives it; it goes on. What only the end shows is not told."""

    def totals(self) -> list[Totals]:
        """The numbers of the same, for who asks every second; several where it was measured in several ways in turn."""

    def stop(self) -> Recording:
        """End the measurement."""

    def explain(self) -> Iterator[str]:
        """What is attached where and why, a line each."""

    def close(self) -> None:
        """Take everything away, however far it came."""


class Calls(Protocol):
    """The calls of a measurement, one by one."""

    def take(self) -> Iterator[TraceEvent]:
        """What has happened since, in its order; with an event of its own where some were lost."""

    def take_last(self) -> Iterator[TraceEvent]:
        """After the measurement's ``stop``: what is left, and what was lost at the end."""

    @property
    def lost_in_all(self) -> int:
        """Events that were lost, from the start to the end."""


def begin(target: Target, options: Options, *, attachment: str = "auto", late: bool = False) -> Measurement:
    """Prepare what the options ask for. Nothing is attached yet.

    Args:
        target: looked at for the engine of the options.
        attachment: ``"multi"``, ``"perf"`` or ``"auto"``, see ``probes.program.Program``.
        late: the target has only just begun: that no function matches yet is no error.

    Raises:
        UsageError: the options do not go together.
        NoFunctionMatches: patterns, and no live function that matches; the hint offers the nearest names.
        TargetError, HostError: it cannot be measured here.
    """
    # Imported by who needs it: nothing else should make a measurement wait.
    if options.markers:
        from latency.tracing.markers.session import MarkerSession

        return MarkerSession(target, options, attachment=attachment)
    if options.engine == WATCH:
        if late:
            from latency.tracing.handed import HandedOver

            return HandedOver(target, options, attachment=attachment)
        from latency.tracing.watched import Watched

        return Watched(target, options, attachment=attachment)
    if options.engine == AUTO and not late:
        if options.func and jit.switched_on(target.process, target.build):  # which probes do not see into
            from latency.tracing.watched import Watched

            target.plan = target.watch_plan()
            return Watched(target, options, attachment=attachment)
        from latency.tracing.auto import Auto

        return Auto(target, options, attachment=attachment)
    from latency.tracing.probes.session import Session

    return Session(target, options, attachment=attachment, late=late)


def require_traceable(options: Options) -> None:
    """Raises UsageError where the engine that was asked for does not tell calls one by one."""
    if options.engine == WATCH:
        raise UsageError("the watch engine does not tell calls one by one", "take another --engine")


def begin_trace(
    target: Target,
    options: Options,
    *,
    arguments: bool = False,
    values: bool = False,
    limits: Limits | None = None,
    event_bytes: int = 16 << 20,
) -> tuple[Measurement, Calls]:
    """``begin``, of a measurement that tells its calls one by one, too.

    Args:
        arguments: with their arguments.
        values: with what they return, and the text of exceptions.
        limits: of each text; None for those of ``probes.trace``.
        event_bytes: of the ring buffer, a power of two.

    Raises:
        UnsupportedBuild: returned values are asked for, and this build does not show where they are.
    """
    require_traceable(options)
    from latency.tracing.probes.session import Session
    from latency.tracing.probes.trace import Trace

    trace = Trace(
        target,
        arguments=arguments,
        values=values,
        limits=limits,
        show_secrets=options.show_secrets,
        event_bytes=event_bytes,
    )
    return Session(target, options, parts=[trace]), trace
