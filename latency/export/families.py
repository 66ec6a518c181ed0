"""From recordings to metrics with values: what all formats say, before it is put into words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import TypeAlias

from latency.export import metrics as named
from latency.export.metrics import GAUGE, INFO, Metric
from latency.histogram import Histogram
from latency.recording import Function, FunctionLatency, Recording, SlowCall
from latency.untrusted import visible

Labels: TypeAlias = tuple[tuple[str, str], ...]
Value: TypeAlias = int | float | Histogram

_SUSPENDING = ("generator", "coroutine", "async_generator")

_MOST_KEPT = 4096  # values of labels, which are the same from one scrape to the next

LONGEST_LABEL = 512
"""Characters of a label's value; of what is longer the middle is replaced by a digest of the whole."""


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One call that stands for those of its bucket.

    Attributes:
        duration_ns: how long it took.
        ended_at: UTC.
        labels: which it was.
    """

    duration_ns: int
    ended_at: datetime
    labels: Labels


@dataclass(frozen=True, slots=True)
class Point:
    """One series of a metric.

    Attributes:
        labels: name and value of each, safe to show.
        value: of a metric whose unit is seconds in nanoseconds, as a histogram has them.
        created: since when it counts; UTC.
        exemplars: the longest call first.
    """

    labels: Labels
    value: Value
    created: datetime
    exemplars: tuple[Exemplar, ...] = ()


@dataclass(frozen=True, slots=True)
class Family:
    """A metric with its series, no two of the same labels, and all with the same names of labels."""

    metric: Metric
    points: tuple[Point, ...]

    def number(self, point: Point) -> int | float:
        """The value of a point of a counter or gauge in the metric's own unit: seconds where that is it."""
        assert not isinstance(point.value, Histogram)
        return point.value / 1e9 if self.metric.unit == "seconds" else point.value


@dataclass(frozen=True, slots=True)
class Source:
    """A recording and what is known of it beside.

    Attributes:
        recording: what was measured.
        labels: of all its series: ``service``, ``pid``. All sources of one export have the same names.
        created: since when it counts, where that is not when the recording began.
        whole: what it says beside its functions (what measuring costs, what was lost) is exported, too.
    """

    recording: Recording
    labels: Mapping[str, str] = field(default_factory=dict)
    created: datetime | None = None
    whole: bool = True


def families(sources: Iterable[Source], *, version: str, table: Table | None = None) -> list[Family]:
    """All metrics of these recordings; what has the same labels is added up, exactly.

    Args:
        version: of pylat.
        table: further metrics, with which these are to be.
    """
    table = table or Table()
    for source in sources:
        _add(table, source, version)
    return table.families()


class Table:
    """Series that grow: counters and histograms are added up, of gauges the metric says what becomes."""

    def __init__(self) -> None:
        self._points: dict[Metric, dict[Labels, Point]] = {}
        self._parts: dict[tuple[Metric, Labels], list[Histogram]] = {}

    def add(
        self,
        metric: Metric,
        values: Sequence[str],
        value: Value,
        created: datetime,
        *,
        common: Labels = (),
        exemplars: tuple[Exemplar, ...] = (),
    ) -> None:
        """One value.

        Args:
            values: of the metric's labels, in their order; untrusted text.
            common: further labels, safe to show.
        """
        labels = (*common, *zip(metric.labels, map(label_value, values), strict=True))
        points = self._points.setdefault(metric, {})
        known = points.get(labels)
        if isinstance(value, Histogram):
            self._parts.setdefault((metric, labels), []).append(value)
        if known is None:
            points[labels] = Point(labels, value, created, exemplars)
            return
        points[labels] = Point(
            labels,
            _together(metric, known.value, value),
            min(known.created, created),
            tuple(sorted(known.exemplars + exemplars, key=_longest_first)),
        )

    def families(self) -> list[Family]:
        """What came together, in the order in which it came."""
        for (metric, labels), parts in self._parts.items():
            if len(parts) > 1:
                points = self._points[metric]
                points[labels] = replace(points[labels], value=parts[0].merge(*parts[1:]))
        self._parts.clear()
        return [Family(metric, tuple(points.values())) for metric, points in self._points.items()]


def _together(metric: Metric, known: Value, value: Value) -> Value:
    if isinstance(known, Histogram) or isinstance(value, Histogram) or metric.type == INFO:
        return known  # histograms are merged at the end, all at once
    return max(known, value) if metric.greatest else known + value


def label_value(text: str) -> str:
    """Untrusted text as the value of a label: nothing hidden in it, valid UTF-8, of bounded length, and where two texts
    differ in what is left out, two values."""
    if len(text) <= LONGEST_LABEL:
        shown = _visible(text)
        if len(shown) <= LONGEST_LABEL:
            return shown
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    kept = (LONGEST_LABEL - len(digest) - 2) // 2
    return f"{visible(text[:kept])[:kept]}…{digest}…{visible(text[-kept:])[-kept:]}"


_visible = lru_cache(_MOST_KEPT)(visible)


def since(now: Sequence[Family], before: Sequence[Family], before_at: datetime) -> list[Family]:
    """What came between two exports of the same growing counters: for receivers that take differences.

    A series that began anew in between, or that was not there, counts as a whole. Gauges stand as they are.

    Args:
        before_at: when the earlier one was made; UTC.
    """
    known = {(family.metric, point.labels): point for family in before for point in family.points}
    return [
        Family(
            family.metric,
            tuple(
                _difference(family.metric, point, known.get((family.metric, point.labels)), before_at)
                for point in family.points
            ),
        )
        for family in now
    ]


def _difference(metric: Metric, point: Point, earlier: Point | None, before_at: datetime) -> Point:
    if metric.type in (GAUGE, INFO) or earlier is None or earlier.created != point.created:
        return point
    if isinstance(point.value, Histogram) and isinstance(earlier.value, Histogram):
        try:
            value: Value = point.value.subtract(earlier.value)
        except ValueError:  # less than before: it began anew, whatever it says
            return point
    else:
        assert not isinstance(point.value, Histogram)
        assert not isinstance(earlier.value, Histogram)
        value = point.value - earlier.value
        if value < 0:
            return point
    fresh = tuple(each for each in point.exemplars if each.ended_at > before_at)
    return replace(point, value=value, created=before_at, exemplars=fresh)


def _add(table: Table, source: Source, version: str) -> None:
    run = source.recording
    created = source.created or run.started_at
    common = tuple((name, label_value(value)) for name, value in source.labels.items())
    slow = _slow(run)
    for each in run.functions:
        labels = _labels(each.function)
        if each.function.kind == "event":
            table.add(named.EVENTS, labels[:3], each.calls, created, common=common)
            continue
        for metric, value in _of_function(each):
            exemplars = slow.get(each.function, ()) if metric is named.DURATION else ()
            table.add(metric, labels, value, created, common=common, exemplars=exemplars)
        if each.split:
            for part, part_ns in each.split.totals_ns.items():
                if part != "gc" or each.split.gc_known:
                    table.add(named.PART, (*labels, part), part_ns, created, common=common)
    if source.whole:
        _add_whole(table, run, created, common)
    table.add(named.BUILD, (version,), 1, created)


def _add_whole(table: Table, run: Recording, created: datetime, common: Labels) -> None:
    """What a recording says beside its functions."""
    for reason, count in run.losses.as_dict().items():
        table.add(named.LOST, (reason,), count, created, common=common)
    for metric, value in _of_run(run):
        table.add(metric, (), value, created, common=common)
    target = run.target
    known = (target.python, target.build_id, target.executable, target.engine, target.kernel, target.machine)
    table.add(named.TARGET, known, 1, created, common=common)
    if run.overhead and run.overhead.memory_bytes:
        table.add(named.MEMORY, (), run.overhead.memory_bytes, created)


def _labels(function: Function) -> tuple[str, str, str, str]:
    name = f"{function.module}.{function.qualname}" if function.module else function.qualname
    return name, function.filename, str(function.line), function.kind


def _of_function(each: FunctionLatency) -> Iterator[tuple[Metric, Value]]:
    yield named.DURATION, each.wall
    if each.active is not None:
        yield named.ACTIVE, each.active
    if each.self_time is not None:
        yield named.SELF, each.self_time
    yield named.RAISED, each.raised
    if each.function.kind in _SUSPENDING:
        yield named.ABANDONED, each.abandoned
        yield named.SUSPENSIONS, each.suspensions
    if each.ages is not None:
        yield named.CUT, each.cut
    if each.probes is not None:
        yield named.PROBES, each.probes.sum_ns
    yield named.OPEN, each.open
    yield named.OLDEST_OPEN, each.oldest_open_ns


def _of_run(run: Recording) -> Iterator[tuple[Metric, Value]]:
    yield named.BEGAN_BEFORE, run.began_before
    if run.slow_calls:
        yield named.SLOW, run.slow_calls.seen
        yield named.SLOW_LOST, run.slow_calls.lost
    measured_ns = round(run.duration_s * 1e9)
    yield named.MEASURED, measured_ns
    yield named.WATCHED, round(measured_ns * run.watched.share) if run.watched else measured_ns
    if run.overhead:
        yield named.HITS, run.overhead.hits
        yield named.COST, round(run.overhead.hits * run.overhead.ns_per_hit)
        if run.overhead.map_bytes:
            yield named.MAPS, run.overhead.map_bytes


def _slow(run: Recording) -> dict[Function, tuple[Exemplar, ...]]:
    """The slow calls of each function, the longest first."""
    found: dict[Function, list[Exemplar]] = {}
    for call in run.slow_calls.kept if run.slow_calls else ():
        found.setdefault(call.function, []).append(_exemplar(call))
    return {function: tuple(sorted(calls, key=_longest_first)) for function, calls in found.items()}


def _exemplar(call: SlowCall) -> Exemplar:
    ended_at = call.began_at + timedelta(microseconds=call.duration_ns / 1e3)
    return Exemplar(call.duration_ns, ended_at, (("pid", str(call.pid)), ("tid", str(call.tid))))


def _longest_first(exemplar: Exemplar) -> int:
    return -exemplar.duration_ns
