"""What the measurements of a rule have seen since the agent began, added up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from math import inf

from latency.agent.config import Rule
from latency.recording import Function, Losses, Recording, SlowCall
from latency.recording.combine import in_turn
from latency.tracing import together
from latency.tracing.measurement import Measurement

_OTHERS = Function("<others>", "", 0)
"""What the functions together are called that are more than a rule may have series of."""


@dataclass(eq=False)
class Running:
    """A measurement that goes on.

    Attributes:
        measurement: it has been started.
        limit_pct: what it may cost, of one CPU; infinite for no limit.
        pids: the processes that it follows, as far as it has told.
        taken: what its intervals have told so far; None before the first.
        due_s: when it is asked again.
    """

    measurement: Measurement
    limit_pct: float
    pids: set[int] = field(default_factory=set)
    taken: Recording | None = None
    due_s: float = -inf


class Group:
    """Series with the same labels: those of a rule, or of those of its processes that the rule tells apart.

    Attributes:
        rule: whose.
        labels: of all its series, beside ``service``.
        created: since when it counts; UTC.
        running: who is measured for it.
        beyond: functions that had no series of their own at the last reading.
        alive_s: when anybody was measured for it last.
    """

    def __init__(self, rule: Rule, labels: Mapping[str, str], now_s: float) -> None:
        self.rule = rule
        self.labels = dict(labels)
        self.created = datetime.now(timezone.utc)
        self.running: list[Running] = []
        self.beyond = 0
        self.alive_s = now_s
        self._ended: Recording | None = None
        self._named: set[Function] = set()

    def read(self) -> list[SlowCall]:
        """Take in what has come since the last reading. Returns the slow calls among it."""
        self.beyond = 0
        return [call for each in self.running for call in self.take(each)]

    def end(self, running: Running, final: Recording | None, *, lost: bool) -> None:
        """A measurement is over.

        Args:
            final: all that it saw, which takes the place of what its intervals told; None where it could not say.
            lost: its process goes on: the ends of the open calls will not be seen, and are lost. Else they have none.
        """
        self.running.remove(running)
        final = self._limited(final) if final else running.taken
        if final is None:
            return
        final = _closed(final, lost=lost)
        self._ended = _bounded(in_turn([self._ended, final]) if self._ended else final)

    def recordings(self) -> Iterator[Recording]:
        """All of it."""
        for recording in (self._ended, *(each.taken for each in self.running)):
            if recording is not None:
                yield recording

    def take(self, running: Running) -> Sequence[SlowCall]:
        """The same of one measurement."""
        interval = running.measurement.interval()
        running.pids.update(each.pid for each in interval.processes if not each.ended)
        running.pids.difference_update(each.pid for each in interval.processes if each.ended)
        together.forget_ended(running.measurement)
        slow = interval.slow_calls.kept if interval.slow_calls else ()
        interval = self._limited(interval)
        running.taken = _bounded(in_turn([running.taken, interval]) if running.taken else interval)
        return slow

    def _limited(self, recording: Recording) -> Recording:
        """The same with so many functions as the rule allows, and the rest as one of them."""
        for each in recording.functions:
            if len(self._named) < self.rule.max_functions:
                self._named.add(each.function)
        kept = [each for each in recording.functions if each.function in self._named]
        rest = [replace(each, function=_OTHERS) for each in recording.functions if each.function not in self._named]
        self.beyond += len(rest)
        return replace(recording, functions=(*kept, *rest)) if rest else recording


def _closed(final: Recording, *, lost: bool) -> Recording:
    """Its open calls get the name of a loss, but where they are kept with their ages."""
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
