"""What is known of all functions of all processes by now: since the start, and over the last interval."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from latency.histogram import BUCKET_MIN, BUCKETS, SCALE, Counts, Floats, Histogram, quantiles_of_cells
from latency.recording import Function, Losses, SlowCall, censored
from latency.recording.totals import NUMBERS, Totals, added, gathered, grown

_MOST_INTERVALS, _MOST_BYTES = 600, 8 << 20
_NONE = np.zeros(0, np.int64)
_SUMS = [name for name in NUMBERS.names or () if name not in ("min_ns", "max_ns", "error_ns")]


@dataclass(frozen=True)
class Columns:
    """What was counted of each function in some time.

    Attributes:
        functions: of each row.
        numbers, cells, counts: as ``Totals`` has them.
        seconds: how long that was, without the time in which the probes were away.
        ages: of functions of which calls were cut, how long these had run; known of the whole time alone.
    """

    functions: Sequence[Function]
    numbers: np.ndarray[Any, Any]
    cells: Counts
    counts: Counts
    seconds: float
    ages: dict[Function, Histogram] = field(default_factory=dict)

    @property
    def calls(self) -> Counts:
        """Of each row."""
        calls: Counts = self.numbers["returned"] + self.numbers["raised"]
        return calls

    def percentiles_ns(self, qs: Sequence[float], rows: Counts | None = None) -> tuple[Floats, Floats]:
        """Quantiles, and what they are at least where they cannot be told since calls were cut; as ``FunctionLatency``
        has them. Shape (rows, qs).

        Args:
            rows: of these; else of all.
        """
        rows = np.arange(len(self.functions)) if rows is None else rows
        cells, counts = self._of(rows)
        numbers = self.numbers[rows]
        found = quantiles_of_cells(cells, counts, numbers["min_ns"], numbers["max_ns"], qs)
        least = np.full(found.shape, np.nan)
        for place, row in enumerate(rows.tolist()) if self.ages else ():
            ages = self.ages.get(self.functions[row])
            if ages is not None:
                found[place], least[place] = censored.quantiles(self.histogram(row), ages, qs)
        return found, least

    def histogram(self, row: int) -> Histogram:
        """Of one row."""
        first, last = self.cells.searchsorted([row * BUCKETS, (row + 1) * BUCKETS])
        dense = np.zeros(BUCKETS, np.int64)
        dense[self.cells[first:last] - row * BUCKETS] = self.counts[first:last]
        each = self.numbers[row]
        return Histogram.from_array(dense, int(each["wall_ns"]), int(each["min_ns"]), int(each["max_ns"]))

    def _of(self, rows: Counts) -> tuple[Counts, Counts]:
        """The cells of these rows, renumbered in this order."""
        if len(rows) == len(self.functions) and (rows == np.arange(len(rows))).all():
            return self.cells, self.counts
        firsts = self.cells.searchsorted(rows * BUCKETS)
        lasts = self.cells.searchsorted((rows + 1) * BUCKETS)
        places = [np.arange(first, last) for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True)]
        at = np.concatenate([np.zeros(0, np.int64), *places])
        moved = np.repeat((np.arange(len(rows)) - rows) * BUCKETS, lasts - firsts)
        return self.cells[at] + moved, self.counts[at]


class Moment(NamedTuple):
    """One interval of one function, for its course over time."""

    at_s: float
    seconds: float
    histogram: Histogram


class _Interval(NamedTuple):
    at_s: float
    seconds: float
    cells: Counts
    counts: Counts


class _Kept(NamedTuple):
    """An interval, half as large: none has so many calls, and no process so many functions."""

    at_s: float
    seconds: float
    cells: NDArray[np.uint32]
    counts: NDArray[np.uint32]


@dataclass(frozen=True)
class Standing:
    """Of the whole measurement, for the head of the view.

    Attributes:
        seconds: since the start.
        cost: of one CPU, over the last interval, what the probes cost; None where that is not known.
        losses: since the start.
        watched: the share of the time of the last interval in which the probes were in place.
        watched_in_all: the same since the start.
        probes: of the elapsed time of all calls, what the probes took.
        engine, choice: how it is measured now, and why so.
        slow: slow calls that are kept.
    """

    seconds: float = 0.0
    cost: float | None = None
    losses: Losses = field(default_factory=Losses)
    watched: float = 1.0
    watched_in_all: float = 1.0
    probes: float = 0.0
    engine: str = ""
    choice: str = ""
    slow: Sequence[SlowCall] = ()


class Ledger:
    """Takes ``Totals`` at each interval.

    Attributes:
        standing: see there.
        pids: the processes of which calls are known, in the order in which they came; 0 stands for those of which that
            is not known any longer.
        split, own: whether off-CPU and self times are known.
    """

    def __init__(self, began_s: float) -> None:
        self.standing = Standing()
        self.pids: list[int] = []
        self.split = self.own = False
        self._began_s = self._at_s = began_s
        self._functions: list[Function] = []  # once each
        self._index: dict[Function, int] = {}
        self._rows: dict[tuple[int, int], int] = {}  # (process, function) to row
        self._function_of: list[int] = []
        self._pid_of: list[int] = []
        self._known: dict[str, tuple[Sequence[Function], list[int]]] = {}  # the rows of each source
        self._now = self._before = (np.zeros(0, NUMBERS), _NONE, _NONE)
        self._ages: dict[Function, Histogram] = {}
        self._spent_s: float | None = None
        self._times = (0.0, 0.0)  # watched, and in all
        self._interval = _Interval(began_s, 0.0, _NONE, _NONE)
        self._intervals: deque[_Kept] = deque(maxlen=_MOST_INTERVALS)
        self._bytes = 0

    def take(self, parts: Sequence[Totals], at_s: float) -> None:
        """One interval ends at this moment, by a clock of seconds; all that was counted until now."""
        self._count(parts)
        self._stand(parts, at_s)
        self._interval = _Interval(at_s, at_s - self._at_s, *grown(*self._now[1:], *self._before[1:]))
        self._at_s = at_s
        self._keep()

    def begin_anew(self, parts: Sequence[Totals], at_s: float) -> None:
        """The same, where other columns than before say what was counted: what came meanwhile is of no interval."""
        self._count(parts)
        self._stand(parts, at_s)
        self._before = self._now
        self._interval = _Interval(at_s, 0.0, _NONE, _NONE)
        self._at_s = at_s

    def since_start(self, pid: int | None = None) -> Columns:
        """All that was counted; of one process, or of all together."""
        seconds = (self._at_s - self._began_s) * self.standing.watched_in_all
        return self._columns(*self._now, seconds, pid, self._ages if pid is None else {})

    def last_interval(self, pid: int | None = None) -> Columns:
        """What came in the last interval. The extremes are those of the buckets, where they are not known exactly."""
        numbers, earlier = self._now[0].copy(), np.zeros(len(self._now[0]), NUMBERS)
        earlier[: len(self._before[0])] = self._before[0]
        for name in _SUMS:
            numbers[name] = np.maximum(numbers[name] - earlier[name], 0)
        _narrow(numbers, earlier, self._interval.cells)
        seconds = self._interval.seconds * self.standing.watched
        return self._columns(numbers, self._interval.cells, self._interval.counts, seconds, pid, {})

    def course(self, function: Function, pid: int | None = None) -> list[Moment]:
        """The histograms of a function, of each interval that is kept. Of their extremes only the buckets are known."""
        index = self._index.get(function)
        if index is None:
            return []
        rows = [
            row
            for row, (of, whose) in enumerate(zip(self._function_of, self._pid_of, strict=True))
            if of == index and pid in (None, whose)
        ]
        moments = []
        for each in self._intervals:
            dense = np.zeros(BUCKETS, np.int64)
            for row in rows:
                bounds = np.array([row * BUCKETS, (row + 1) * BUCKETS], each.cells.dtype)
                first, last = each.cells.searchsorted(bounds)
                dense[each.cells[first:last] - bounds[0]] += each.counts[first:last]
            moments.append(Moment(each.at_s - self._began_s, each.seconds, _bounded(dense)))
        return moments

    # -- inside ----------------------------------------------------------------------------------

    def _rows_of(self, totals: Totals) -> list[int]:
        """Of each of its rows, the row here."""
        functions, rows = self._known.get(totals.source, ((), []))
        if functions is not totals.functions:  # others, or in another order
            rows = []
            self._known[totals.source] = totals.functions, rows
        done = len(rows)
        for function, pid in zip(
            totals.functions[done : len(totals.numbers)], totals.pids[done:].tolist(), strict=True
        ):
            index = self._index.setdefault(function, len(self._functions))
            if index == len(self._functions):
                self._functions.append(function)
            row = self._rows.setdefault((pid, index), len(self._pid_of))
            if row == len(self._pid_of):
                self._pid_of.append(pid)
                self._function_of.append(index)
                if pid not in self.pids:
                    self.pids.append(pid)
            rows.append(row)
        return rows

    def _count(self, parts: Sequence[Totals]) -> None:
        into = [np.array(self._rows_of(each), np.int64) for each in parts]
        numbers = added(len(self._pid_of), [(each.numbers, rows) for each, rows in zip(parts, into, strict=True)])
        cells, counts = gathered([(each.cells, each.counts, rows) for each, rows in zip(parts, into, strict=True)])
        self._before, self._now = self._now, (numbers, cells, counts)
        self._ages = {}
        for each in parts:
            for function, ages in each.ages.items():
                self._ages[function] = self._ages[function] + ages if function in self._ages else ages
        self.split = self.split or any(each.split for each in parts)
        self.own = self.own or any(each.own for each in parts)

    def _stand(self, parts: Sequence[Totals], at_s: float) -> None:
        spent_s = (
            sum(each.spent_s or 0.0 for each in parts) if any(each.spent_s is not None for each in parts) else None
        )
        watched_s, all_s = (sum(getattr(each, name) for each in parts) for name in ("watched_s", "duration_s"))
        seconds = at_s - self._at_s
        cost = None
        if spent_s is not None and seconds > 0:
            cost = max(spent_s - (self._spent_s or 0.0), 0.0) / seconds
        taken_ns, wall_ns = (int(self._now[0][name].sum()) for name in ("taken_ns", "wall_ns"))
        passed = watched_s - self._times[0], all_s - self._times[1]
        last = parts[-1] if parts else None
        self.standing = Standing(
            seconds=at_s - self._began_s,
            cost=cost,
            losses=sum((each.losses for each in parts), Losses()),
            watched=min(max(passed[0] / passed[1], 0.0), 1.0) if passed[1] > 0 else 1.0,
            watched_in_all=min(watched_s / all_s, 1.0) if all_s > 0 else 1.0,
            probes=taken_ns / (taken_ns + wall_ns) if taken_ns else 0.0,
            engine=last.engine if last else "",
            choice=last.choice if last else "",
            slow=[call for each in parts for call in each.slow],
        )
        self._spent_s, self._times = spent_s, (watched_s, all_s)

    def _keep(self) -> None:
        if len(self._intervals) == self._intervals.maxlen:
            self._bytes -= _bytes(self._intervals[0])
        each = self._interval
        kept = _Kept(each.at_s, each.seconds, each.cells.astype(np.uint32), each.counts.astype(np.uint32))
        self._intervals.append(kept)
        self._bytes += _bytes(kept)
        while self._bytes > _MOST_BYTES and len(self._intervals) > 1:
            self._bytes -= _bytes(self._intervals.popleft())

    def _columns(
        self,
        numbers: np.ndarray[Any, Any],
        cells: Counts,
        counts: Counts,
        seconds: float,
        pid: int | None,
        ages: dict[Function, Histogram],
    ) -> Columns:
        """By function: of one process, or of all together."""
        if pid is None and len(numbers) == len(self._functions):
            return Columns(self._functions[: len(numbers)], numbers, cells, counts, seconds, ages)
        into = np.array(self._function_of[: len(numbers)], np.int64)
        if pid is not None:
            of_it = np.array(self._pid_of[: len(numbers)], np.int64) == pid
            mine = np.unique(into[of_it])
            functions: Sequence[Function] = [self._functions[index] for index in mine.tolist()]
            into = np.where(of_it, np.minimum(mine.searchsorted(into), len(mine) - 1), -1)
        else:
            functions = self._functions
        kept = into >= 0
        together = added(len(functions), [(numbers[kept], into[kept])])
        return Columns(functions, together, *gathered([(cells, counts, into)]), seconds, ages)


def _bytes(interval: _Kept) -> int:
    return interval.cells.nbytes + interval.counts.nbytes


def _narrow(numbers: np.ndarray[Any, Any], earlier: np.ndarray[Any, Any], cells: Counts) -> None:
    """The extremes of an interval: of the outermost buckets, but for what is longer or shorter than all before."""
    rows = np.arange(len(numbers))
    firsts, lasts = cells.searchsorted(rows * BUCKETS), cells.searchsorted((rows + 1) * BUCKETS) - 1
    any_ = lasts >= firsts
    low, high = np.zeros(len(numbers), np.int64), np.zeros(len(numbers), np.int64)
    if any_.any():
        low[any_] = np.floor(_bound_ns(cells[firsts[any_]] % BUCKETS - 1)) + 1
        high[any_] = np.floor(_bound_ns(cells[lasts[any_]] % BUCKETS))
    newest, shortest = numbers["max_ns"] > earlier["max_ns"], (numbers["min_ns"] < earlier["min_ns"])
    first_seen = earlier["min_ns"] == 0
    numbers["max_ns"] = np.where(any_, np.where(newest, numbers["max_ns"], np.minimum(high, numbers["max_ns"])), 0)
    least = np.where(shortest | first_seen, numbers["min_ns"], np.maximum(low, numbers["min_ns"]))
    numbers["min_ns"] = np.where(any_, least, 0)


def _bound_ns(counters: Counts) -> Floats:
    bounds: Floats = 1e9 * np.exp2((counters + BUCKET_MIN) / 2.0**SCALE)
    return bounds


def _bounded(dense: Counts) -> Histogram:
    used = np.flatnonzero(dense)
    if not len(used):
        return Histogram.empty()
    low, high = _bound_ns(used[[0]] - 1), _bound_ns(used[[-1]])
    return Histogram.from_array(dense, 0, int(low[0]) + 1, max(int(high[0]), int(low[0]) + 1))
