"""What the sessions of all engines do in the same way: readings, intervals, and what every recording has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from itertools import groupby
from types import TracebackType
from typing import TypeVar
from uuid import uuid4

from latency.cpython.compiled import compiled_to_c, remark
from latency.cpython.functions import LiveFunction
from latency.cpython.interpreter import Target
from latency.recording import (
    Function,
    FunctionLatency,
    Losses,
    Options,
    Overhead,
    Probes,
    ProcessCalls,
    Recording,
    SlowCall,
)
from latency.recording.totals import Totals
from latency.tracing.counted import wire
from latency.tracing.counted.codes import About
from latency.tracing.counted.maps import CountingMaps
from latency.tracing.counted.opencalls import OpenCalls
from latency.tracing.counted.proof import Proof
from latency.tracing.counted.reading import Reading, Span
from latency.tracing.counted.results import latencies
from latency.tracing.counted.slices import Slices
from latency.tracing.counted.spaces import Space
from latency.tracing.counted.tally import Counted
from latency.tracing.kernel import clock
from latency.tracing.limit.throttle import Keeper
from latency.tracing.limit.watched import SlicesWatched, WatchedUntil

_Session = TypeVar("_Session", bound="CountingSession")


class CountingSession(ABC):
    """One measurement of one target. Its constructor prepares everything that needs nothing attached.

    Attributes:
        target, options: what is measured, and what was asked for.
        strangers: PIDs of followed processes that run another program since, which may be a CPython of another build.
        unseen: what this session did not see, one line each, beside the plan's blind spots.
        remarks: what whoever waits for the measurement should know, one line each.
        looked_s: how much of the measurement's time has passed when ``start`` returns.
        hurries: as ``Measurement`` says.
        watched: when the probes or watchpoints were in place, and what the slices' ends cut.
        keeper: of the limit to what measuring costs, from the start on; None without a limit.
        vanished: calls whose end was missed.
        not_run: hits and events for which the kernel did not run pylat's programs; known at the end.
    """

    def __init__(self, target: Target, options: Options) -> None:
        self.target = target
        self.options = options
        self.strangers: list[int] = []
        self.unseen: list[str] = []
        self.remarks: list[str] = []
        self._missing: Callable[[], list[str]] = list
        self.looked_s = 0.0
        self.hurries = False
        self.watched = SlicesWatched()
        self.keeper: Keeper | None = None
        self.vanished = self.not_run = 0
        self._info = target.info(show_secrets=options.show_secrets)  # now: at the end the process may be gone
        self._slices = Slices()
        self._proof = Proof()
        self._first: Reading | None = None
        self._last: Reading | None = None
        self._last_watched: WatchedUntil | None = None
        self._started_at = datetime.now(timezone.utc)
        self._memory_bytes = self._map_bytes = 0
        self._about: Callable[[Function], About] = lambda _: About()
        self._source = uuid4().hex  # of ``Totals``

    # -- what is different in each engine ----------------------------------------------------------

    maps: CountingMaps

    @abstractmethod
    def start(self) -> None:
        """Place everything and begin. Raises AttachError, TargetGone."""

    @abstractmethod
    def poll(self) -> str:
        """Take in what has happened since; call it several times a second.

        Returns:
            ``""``, or why the target cannot be measured any longer: ``"exited"`` or ``"exec"`` (another program).
        """

    @abstractmethod
    def stop(self) -> Recording:
        """End the measurement: disable, detach, read."""

    @abstractmethod
    def close(self) -> None:
        """Take everything away."""

    @abstractmethod
    def _read(self, at_ns: int) -> Reading:
        """What has been counted by now, which is ``at_ns``."""

    @abstractmethod
    def _overhead(self, span: Span) -> Overhead | None:
        """What measuring took from the target; None where that is not known."""

    def _opens(self) -> Mapping[int, OpenCalls]:
        """The calls that are open now, by slot, while the measurement goes on."""
        return {}

    def _blind_spots(self) -> Sequence[str]:
        """What this session cannot see, one line each."""
        return (*self.target.plan.blind_spots, *self.unseen)

    def _processes(self, reading: Reading) -> tuple[ProcessCalls, ...]:
        """The calls of each process, where children are followed."""
        return ()

    @property
    def missing(self) -> list[str]:
        """The patterns that have meant no function yet."""
        return self._missing()

    @property
    def engine(self) -> str:
        """What a recording calls the way of measuring."""
        return self._info.engine

    # -- what is the same --------------------------------------------------------------------------

    def allow(self, limit_pct: float) -> None:
        """As ``Measurement`` says."""
        if self.keeper:
            self.keeper.allow(limit_pct / 100)

    def doubt(self) -> str:
        """Once, after the first calls: why the build may not be as pylat takes it to be, a line; ``""`` for nothing."""
        first, now_ns = self._first, clock.now_ns()
        seconds = (now_ns - first.at_ns) / 1e9 if first else 0.0
        if first is None or not self._proof.is_due(seconds):
            return ""
        counters = {name: count - first.counters[name] for name, count in self.maps.counters().items()}
        line = self._proof.look(counters, seconds)
        self.unseen += [line] if line else []
        return line

    def end_slice(self) -> None:
        """One more of the equal parts of the measurement is over: the error bars are made of these."""
        self._slices.add(self.maps)

    def interval(self, until: Reading | None = None) -> Recording:
        """What came since the last interval, until now or until that reading. The open calls are not told."""
        reading = until or self._next_reading()
        earlier, self._last = self._last or self._first, reading
        watched = self.watched.until(reading.at_ns)
        before, self._last_watched = self._last_watched, watched
        return self._recording(Span(reading, earlier, watched.since(before) if before else watched))

    def so_far(self) -> Recording:
        """What was seen since the start; it goes on."""
        reading = self._next_reading()
        return self._recording(Span(reading, self._first, self.watched.until(reading.at_ns), self._opens(), whole=True))

    def totals(self) -> list[Totals]:
        """As ``Measurement`` says."""
        return [Totals.of(self.so_far(), self._source)]

    def explain(self) -> Iterator[str]:
        """What is attached where and why, a line each."""
        target = self.target
        if target.choice:
            yield target.choice
        yield from target.plan.notes
        for site in target.plan.sites:
            how = "emulated" if site.emulated else "single-stepped"
            yield f"{site.role.value:17} {site.name:28} {site.address:#x}  {how:14}  {site.instruction}"
        yield from self._attached()
        for name, seconds in target.stopwatch.steps:
            yield f"{seconds:6.3f} s  {name}"

    def _attached(self) -> Iterator[str]:
        """What a session adds to ``explain``."""
        yield from ()

    def __enter__(self: _Session) -> _Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # -- for those that are built on it ------------------------------------------------------------

    def _begin(self) -> None:
        """Everything is in place: what comes from now on counts."""
        self._started_at = datetime.now(timezone.utc)
        self._first = self._read(clock.now_ns())
        self.maps.enable(self.target.process)
        self.watched.begin(clock.now_ns())

    def _of_compiled(self, wanted: Iterable[tuple[Space, LiveFunction]]) -> None:
        """Say which of these are C: what is wanted by name."""
        found: list[LiveFunction] = []
        for _, pairs in groupby(wanted, key=lambda pair: pair[0].number):
            spaces, lives = zip(*pairs, strict=True)
            if process := spaces[0].readable:
                found += compiled_to_c(process, self.target.offsets, lives)
        line = remark(found)
        if line:
            self.unseen.append(line)
            self.remarks.append(f"not seen: {line}")

    def _whole(self, reading: Reading, opens: Mapping[int, OpenCalls]) -> Recording:
        """The whole measurement, which ended with this reading; ``opens``: the open calls by slot."""
        watched = self.watched.until(reading.at_ns)
        return self._recording(Span(reading, self._first, watched, opens, whole=True, over=True))

    def _next_reading(self) -> Reading:
        """An interval ends now."""
        return self._read(clock.now_ns())

    def _functions(self, span: Span) -> tuple[FunctionLatency, ...]:
        return latencies(
            span.reading,
            opens=span.opens,
            slices=self._error_bars(span),
            earlier=span.earlier,
            empty=bool(self.options.func),
            cut=span.watched.ages if self.watched.sliced else None,
            about=self._about,
            taken_off=self._taken_off(),
            watched=lambda function: span.watched.share_of(function, span.duration_s),
        )

    def _taken_off(self) -> Callable[[int, int, int], Probes] | None:
        """See ``latencies``."""
        return None

    def _error_bars(self, span: Span) -> Slices | None:
        """The parts of the time, of a whole measurement alone."""
        return self._slices if span.whole else None

    def _losses(self, counters: Mapping[str, int], *, cut: int, unnamed: int, whole: bool) -> Losses:
        losses = {name: counters[name] for name in wire.LOSSES}
        losses["thread_ended"] += cut
        losses["unmatched_entry"] += self.vanished if whole else 0
        losses["not_run"] = self.not_run if whole else 0
        if self._proof.again:
            losses["unmatched_entry"] += counters["duplicates"]
        return Losses.from_dict({**losses, "unnamed": unnamed})

    def _totals(self, counted: Counted, spent_s: float | None, slow: Sequence[SlowCall]) -> Totals:
        """See ``Totals``; ``counted`` has just been read."""
        assert self._first is not None
        at_ns = clock.now_ns()
        watched = self.watched.until(at_ns)
        counters = {name: count - self._first.counters[name] for name, count in self.maps.counters().items()}
        return Totals(
            source=self._source,
            functions=counted.functions,
            pids=counted.pids,
            numbers=counted.numbers,
            cells=counted.cells,
            counts=counted.counts,
            duration_s=(at_ns - self._first.at_ns) / 1e9,
            watched_s=watched.watched_ns / 1e9,
            spent_s=spent_s,
            losses=self._losses(counters, cut=counted.cut, unnamed=counted.unnamed + watched.unnamed, whole=True),
            ages=watched.ages,
            slow=slow,
            engine=self.engine,
            choice=self.target.choice,
            split=self.options.offcpu,
            own=self.options.self_time,
        )

    def _recording(self, span: Span) -> Recording:
        counters = span.counters
        losses = self._losses(counters, cut=span.cut, unnamed=span.unnamed, whole=span.whole)
        for name in ("slow_lost", "taken_ns", *wire.LOSSES):  # told with the slow calls; with the cost; as losses
            del counters[name]
        return Recording(
            target=replace(self._info, choice=self.target.choice),
            duration_s=span.duration_s,
            functions=self._functions(span),
            options=self.options,
            losses=losses,
            blind_spots=tuple(self._blind_spots()),
            overhead=self._overhead(span),
            began_before=counters.pop("began_before"),
            events=counters,
            started_at=span.began_at(self._started_at, self._first),
            watched=span.watched.share(span.duration_s) if self.watched.sliced else None,
            processes=self._processes(span.reading) if self.options.children else (),
        )
