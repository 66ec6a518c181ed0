"""What the measurements of a rule have seen since the agent began, added up."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from math import inf

from latency.agent.config import Rule
from latency.recording import Function, FunctionLatency, Losses, Recording, SlowCall, SlowCalls
from latency.recording.combine import in_turn
from latency.tracing import together
from latency.tracing.measurement import Measurement
from latency.tracing.together import Series

_MOST_EXPIRED = 10_000
"""Of so many series that have ended a measurement keeps the labels; then nobody joins it any more."""
_OTHERS = Function("<others>", "", 0)
"""What the functions together are called that are more than a rule may have series of."""


@dataclass(eq=False)
class Running:
    """A measurement that goes on.

    Attributes:
        measurement: it has been started.
        granted_pct: what it may cost, of one CPU, as was settled when it began; infinite for no limit.
        limit_pct: what it may cost now.
        series: whose the processes are that it began with; as long as the rule's ``labels``.
        pids: the processes that it follows, as far as it has told.
        expired: the series of processes that have ended, of which nothing is told any more.
        due_s: when it is asked again.
    """

    measurement: Measurement
    granted_pct: float
    series: Series = ()
    pids: set[int] = field(default_factory=set)
    expired: set[Series] = field(default_factory=set)
    due_s: float = -inf
    limit_pct: float = field(init=False)

    def __post_init__(self) -> None:
        self.limit_pct = self.granted_pct

    def interval(self) -> tuple[dict[Series, Recording], Sequence[SlowCall]]:
        """What has come since the last one, by whose it is, and the slow calls among it."""
        interval = self.measurement.interval()
        self.pids.update(each.pid for each in interval.processes if not each.ended)
        self.pids.difference_update(each.pid for each in interval.processes if each.ended)
        together.forget_ended(self.measurement)
        parts = self.parts(interval)
        return parts, [call for part in parts.values() for call in (part.slow_calls.kept if part.slow_calls else ())]

    def parts(self, recording: Recording) -> dict[Series, Recording]:
        """A recording by whose it is. What no function says, and nobody's losses are, is that of no series at all: with
        empty labels."""
        common = ("",) * len(self.series)
        functions: dict[Series, list[FunctionLatency]] = {common: []}
        for each in recording.functions:
            function, series = self._whose(each.function)
            functions.setdefault(series, []).append(replace(each, function=function))
        slow: dict[Series, list[SlowCall]] = {}
        for call in recording.slow_calls.kept if recording.slow_calls else ():
            function, series = self._whose(call.function)
            slow.setdefault(series, []).append(replace(call, function=function))
        return {
            series: _part(recording, these, slow.get(series, []), is_common=series == common)
            for series, these in functions.items()
        }

    @property
    def alive(self) -> set[Series]:
        """The series of the processes that it follows, children whose parents have ended among them."""
        return {series or self.series for series in together.series_alive(self.measurement)}

    def takes(self, series: Series) -> bool:
        """Whether processes with this series may join it."""
        return series not in self.expired and len(self.expired) < _MOST_EXPIRED

    def joining(self, series: Series) -> Series:
        """What ``together.look_at`` is to call this series."""
        return () if series == self.series else series

    def forget(self, series: Series) -> None:
        """Its processes have ended, and nobody asks for them any more."""
        self.expired.add(series)
        together.forget_series(self.measurement, self.joining(series))

    def _whose(self, function: Function) -> tuple[Function, Series]:
        plain, series = together.series_of(function)
        return plain, series or self.series


def _part(
    recording: Recording, functions: Sequence[FunctionLatency], slow: Sequence[SlowCall], *, is_common: bool
) -> Recording:
    calls = recording.slow_calls
    if is_common:
        calls = replace(calls, kept=tuple(slow)) if calls else None
        return replace(recording, functions=tuple(functions), slow_calls=calls)
    calls = SlowCalls(calls.slower, calls.limit, kept=tuple(slow)) if calls else None
    return replace(
        recording,
        functions=tuple(functions),
        slow_calls=calls,
        losses=Losses(),
        overhead=None,
        began_before=0,
        processes=(),  # a thousand processes with a thousand lines each
    )


class Group:
    """Series with the same labels: those of a rule, or of those of its processes that the rule tells apart.

    Attributes:
        rule: whose.
        series: the values of its labels, beside ``service``.
        created: since when it counts; UTC.
        beyond: functions that had no series of their own at the last reading.
        alive_s: when anybody was measured for it last.
    """

    def __init__(self, rule: Rule, series: Series, now_s: float) -> None:
        self.rule = rule
        self.series = series
        self.created = datetime.now(timezone.utc)
        self.beyond = 0
        self.alive_s = now_s
        self._ended: Recording | None = None
        self._taken: dict[Running, Recording | None] = {}  # what their intervals have told so far
        self._named: set[Function] = set()

    @property
    def labels(self) -> dict[str, str]:
        """Of all its series, beside ``service``."""
        return dict(zip(self.rule.labels, self.series, strict=True))

    @property
    def is_common(self) -> bool:
        """Whether it has what is not known of the processes one by one: what measuring costs, and what is lost."""
        return not any(self.series)

    @property
    def running(self) -> list[Running]:
        """Who is measured for it."""
        return list(self._taken)

    def begin(self, running: Running) -> None:
        """From now on it is measured for it, too."""
        self._taken.setdefault(running, None)

    def take(self, running: Running, interval: Recording) -> None:
        """What has come since the last one."""
        interval, taken = self._limited(interval), self._taken[running]
        self._taken[running] = _bounded(in_turn([taken, interval]) if taken else interval)

    def end(self, running: Running, final: Recording | None) -> None:
        """A measurement is over.

        Args:
            final: all that it saw, which takes the place of what its intervals told; None where it could not say.
        """
        taken = self._taken.pop(running)
        final = self._limited(final) if final else taken
        if final is not None:
            self._ended = _bounded(in_turn([self._ended, final]) if self._ended else final)

    def recordings(self) -> Iterator[Recording]:
        """All of it."""
        for recording in (self._ended, *self._taken.values()):
            if recording is not None:
                yield recording

    def _limited(self, recording: Recording) -> Recording:
        """The same with so many functions as the rule allows, and the rest as one of them."""
        for each in recording.functions:
            if len(self._named) < self.rule.max_functions:
                self._named.add(each.function)
        kept = [each for each in recording.functions if each.function in self._named]
        rest = [replace(each, function=_OTHERS) for each in recording.functions if each.function not in self._named]
        self.beyond += len(rest)
        return replace(recording, functions=(*kept, *rest)) if rest else recording


class Groups(dict[tuple[str, Series], Group]):
    """Those of all rules, by the rule's name and their series."""

    def running(self, rule: Rule) -> tuple[Running, ...]:
        """All measurements of a rule that go on."""
        common = self.get((rule.name, ("",) * len(rule.labels)))
        return tuple(common.running) if common else ()

    def begin(self, rule: Rule, series: Series, running: Running, now_s: float) -> None:
        """Processes with this series are measured from now on."""
        for each in (("",) * len(rule.labels), series):
            group = self.setdefault((rule.name, each), Group(rule, each, now_s))
            group.begin(running)
            group.alive_s = now_s

    def read(self, rule: Rule, running: Running) -> list[tuple[str, SlowCall]]:
        """Take in what a measurement has seen by now. Returns the slow calls among it, with the rule's name."""
        parts, slow = running.interval()
        for series, part in parts.items():
            group = self.get((rule.name, series))
            if group and running in group.running:
                group.take(running, part)
        return [(rule.name, call) for call in slow]

    def end(self, running: Running, final: Recording | None, now_s: float) -> None:
        """A measurement is over. ``final``: see ``Group.end``."""
        parts = running.parts(final) if final else {}
        for group in self.values():
            if running in group.running:
                group.end(running, parts.get(group.series))
                group.alive_s = now_s

    def forget(self, alive: Collection[tuple[str, Series]], now_s: float, ended_s: float) -> None:
        """Those with labels of their own whose processes have ended so long ago.

        Args:
            alive: those of which a process is measured.
        """
        for key, group in list(self.items()):
            if key in alive:
                group.alive_s = now_s
            elif not group.is_common and now_s - group.alive_s > ended_s:
                for running in group.running:
                    running.forget(group.series)
                del self[key]


def closed(final: Recording, *, lost: bool) -> Recording:
    """What a measurement saw that is over: its open calls get the name of a loss, but where they are kept with their
    ages.

    Args:
        lost: its process goes on: the ends of the open calls will not be seen, and are lost. Else they have none.
    """
    open_calls = sum(each.open for each in final.functions if each.ages is None)
    losses = Losses(unmatched_entry=open_calls) if lost else Losses(thread_ended=open_calls)
    functions = tuple(
        replace(each, open=0, oldest_open_ns=0, cut=each.cut + (0 if each.ages is None else each.open))
        for each in final.functions
    )
    return replace(final, functions=functions, losses=final.losses + losses)


def _bounded(recording: Recording) -> Recording:
    """Without what grows with the number of processes and is no number."""
    return replace(recording, processes=(), blind_spots=(), events={})
