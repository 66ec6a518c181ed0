"""What the program has counted by one moment, function by function, and the parts of a measurement for error bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from latency.histogram import BUCKET_MIN, BUCKETS, Histogram
from latency.recording import Function
from latency.recording.parts import Parts
from latency.recording.totals import grown
from latency.tracing.counted import wire
from latency.tracing.counted.cells import Cells
from latency.tracing.counted.divided import Divided
from latency.tracing.counted.maps import CallMaps, CountingMaps
from latency.tracing.counted.opencalls import OpenCalls
from latency.tracing.counted.retired import Given
from latency.tracing.counted.table import FunctionTable
from latency.tracing.limit.watched import WatchedUntil

_ROWS = 256
_NOWHERE = -1


class Row(NamedTuple):
    """A record of ``wire.STATISTICS``, unpacked."""

    code: int
    space: int
    flags: int
    returned: int
    raised: int
    abandoned: int
    suspensions: int
    cut: int
    slow: int
    unjudged: int
    taken_ns: int
    unsure_ns: int
    counted: Histogram

    @property
    def active(self) -> bool:
        """Whether it is of the time that a suspending function ran, not of its calls."""
        return bool(self.flags & wire.ACTIVE)

    @classmethod
    def many(cls, records: np.ndarray[Any, Any]) -> list[Row]:
        """Each of these records; thousands in one go."""
        counted = Histogram.many(*(records[name] for name in ("counts", "sum_ns", "min_ns", "max_ns")))
        numbers = (records[name].tolist() for name in cls._fields[:-1])
        return [cls(*each) for each in zip(*numbers, counted, strict=True)]

    @classmethod
    def sums(cls, records: np.ndarray[Any, Any], groups: Sequence[int]) -> list[Row]:
        """One for each group of records, added up; what is no number is that of its first record.

        Args:
            groups: of each record the number of its group: 0, and each number up to the greatest.
        """
        if not len(records):
            return []
        order = np.argsort(groups, kind="stable")
        ordered = records[order]
        starts = np.searchsorted(np.array(groups)[order], np.arange(max(groups) + 1))
        least = np.where(ordered["min_ns"], ordered["min_ns"], np.iinfo(np.uint64).max)
        least = np.minimum.reduceat(least, starts)
        counted = Histogram.many(
            np.add.reduceat(ordered["counts"].astype(np.int64), starts, axis=0),
            np.add.reduceat(ordered["sum_ns"], starts),
            np.where(least == np.iinfo(np.uint64).max, 0, least),
            np.maximum.reduceat(ordered["max_ns"], starts),
        )
        whose = (ordered[name][starts].tolist() for name in cls._fields[:3])
        numbers = (np.add.reduceat(ordered[name], starts).tolist() for name in cls._fields[3:-1])
        return [cls(*each) for each in zip(*whose, *numbers, counted, strict=True)]


@dataclass
class Counted:
    """What was counted of one function: its code objects together (a closure's, a reloaded module's, each process's).

    Attributes:
        slots: those that it has at this moment, and the place of what was retired (``retired.FIRST_PLACE``).
        divided: where the time of the calls went.
    """

    returned: int = 0
    raised: int = 0
    abandoned: int = 0
    suspensions: int = 0
    cut: int = 0
    slow: int = 0
    unjudged: int = 0
    taken_ns: int = 0
    unsure_ns: int = 0
    wall: Histogram = field(default_factory=Histogram.empty)
    active: Histogram | None = None
    slots: list[int] = field(default_factory=list)
    divided: Divided = field(default_factory=Divided)

    def add(self, row: np.void) -> None:
        """One record of ``wire.STATISTICS``."""
        (each,) = Row.many(np.array([row], wire.STATISTICS))
        self.add_rows([each])

    def add_rows(self, rows: Sequence[Row]) -> None:
        """The same of many, unpacked: one function may have a row in each of a thousand processes."""
        whole = [row for row in rows if not row.active]
        if active := [row.counted for row in rows if row.active]:
            self.active = active[0].merge(*active[1:], *([] if self.active is None else [self.active]))
        if whole:
            self.wall = self.wall.merge(*(row.counted for row in whole))
        for row in whole:
            self.returned += row.returned
            self.raised += row.raised
            self.abandoned += row.abandoned
            self.suspensions += row.suspensions
            self.cut += row.cut
            self.slow += row.slow
            self.unjudged += row.unjudged
            self.taken_ns += row.taken_ns
            self.unsure_ns += row.unsure_ns


@dataclass(frozen=True)
class Reading:
    """The statistics at one moment.

    Attributes:
        at_ns: when (CLOCK_MONOTONIC).
        functions: what was counted of each wanted function.
        unnamed: calls of functions whose name is not known.
        spaces: (returned, raised) calls of wanted functions in each address space.
        counters: the program's counters.
    """

    at_ns: int
    functions: dict[Function, Counted]
    unnamed: int
    spaces: dict[int, tuple[int, int]]
    counters: dict[str, int]

    @property
    def cut(self) -> int:
        """Calls that were open when their thread ended."""
        return sum(counted.cut for counted in self.functions.values())

    @classmethod
    def take(cls, maps: CallMaps, table: FunctionTable, at_ns: int) -> Reading:
        """Read what the program has counted until now."""
        statistics = maps.statistics
        maps.extremes.look()
        functions: dict[Function, Counted] = {}
        of_function: dict[Function, list[Row]] = {}
        spaces = dict(table.retired.spaces)
        unnamed = 0
        used = np.flatnonzero(statistics["code"])
        for first in range(0, len(used), _ROWS):  # a few at a time: thousands of functions are tens of megabytes
            slots = used[first : first + _ROWS]
            records = maps.rows(slots)
            kept: list[int] = []
            groups: list[int] = []
            known: dict[tuple[Function, bool], int] = {}
            columns = (records[name].tolist() for name in ("space", "code", "flags", "returned", "raised"))
            for at, (slot, space, code, flags, returned, raised) in enumerate(
                zip(slots.tolist(), *columns, strict=True)
            ):
                function, wanted = table.function_of(slot, space, code, dead=bool(flags & wire.DEAD))
                active = bool(flags & wire.ACTIVE)
                if not wanted:
                    continue
                if function is None:
                    unnamed += 0 if active else returned + raised
                    continue
                kept.append(at)
                groups.append(known.setdefault((function, active), len(known)))
                if function not in functions:
                    functions[function] = Counted()
                if active:
                    continue
                counted = functions[function]
                counted.slots.append(slot)
                before = spaces.get(space, (0, 0))
                spaces[space] = before[0] + returned, before[1] + raised
                divided = maps.splits.of(slot)
                if divided.split or divided.self_time:
                    counted.divided += divided
            for (function, _), row in zip(known, Row.sums(records[kept], groups), strict=True):
                of_function.setdefault(function, []).append(row)
        for key, record in table.retired.rows.items():
            (row,) = Row.many(record)
            if key[0] is None:
                unnamed += 0 if row.active else row.returned + row.raised
                continue
            counted = functions.setdefault(key[0], Counted())
            of_function.setdefault(key[0], []).append(row)
            if not row.active:
                counted.slots.append(table.retired.places[key])
        for function, counted in functions.items():
            counted.add_rows(of_function[function])
        for function, divided in table.retired.divided.items():
            if function in functions:
                functions[function].divided += divided
        return cls(at_ns, functions, unnamed, spaces, maps.counters())


@dataclass(frozen=True)
class Span:
    """What came between two readings.

    Attributes:
        reading: the later one.
        earlier: the other; None where counting has not begun.
        watched: when the probes were in place meanwhile.
        opens: the open calls by slot; told at the end of a measurement alone.
        whole: it is the whole measurement, and no interval.
        over: the measurement has ended with it.
    """

    reading: Reading
    earlier: Reading | None
    watched: WatchedUntil
    opens: Mapping[int, OpenCalls] = field(default_factory=dict)
    whole: bool = False
    over: bool = False

    @property
    def duration_s(self) -> float:
        """How long it was."""
        return (self.reading.at_ns - (self.earlier.at_ns if self.earlier else self.reading.at_ns)) / 1e9

    @property
    def counters(self) -> dict[str, int]:
        """By how much the counters have grown."""
        since = self.earlier.counters if self.earlier else {}
        return {name: count - since.get(name, 0) for name, count in self.reading.counters.items()}

    @property
    def unnamed(self) -> int:
        """Calls of functions whose name is not known, the cut ones included."""
        before = self.earlier.unnamed if self.earlier else 0
        return self.reading.unnamed - before + self.watched.unnamed

    @property
    def cut(self) -> int:
        """Calls that were open when their thread ended."""
        return self.reading.cut - (self.earlier.cut if self.earlier else 0)

    def began_at(self, started_at: datetime, first: Reading | None) -> datetime:
        """When it began; ``started_at`` is the time of the ``first`` reading."""
        if first is None or self.earlier is None:
            return started_at
        return started_at + timedelta(microseconds=(self.earlier.at_ns - first.at_ns) // 1000)


class _ByCell(NamedTuple):
    """The entries of all parts by cell."""

    part: np.ndarray[Any, Any]
    cell: np.ndarray[Any, Any]
    grown: np.ndarray[Any, Any]


@dataclass
class Slices:
    """Which buckets grew by how much in each equal part of the measurement, kept sparse: for error bars.

    Attributes:
        parts: (cells, growth) of each part; a cell is slot * BUCKETS + bucket.
        limit: more parts than this are joined in pairs, so that a measurement without a known end keeps equal parts.
    """

    limit: int = 60
    parts: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]] = field(default_factory=list)
    joined: int = 1
    _pending: int = 0
    _now: Cells = field(default_factory=Cells)
    _retired: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]] = field(default_factory=list)
    _by_cell: _ByCell | None = None

    def add(self, maps: CountingMaps) -> None:
        """One more part ends now. Call it at equal intervals."""
        self._by_cell = None
        self._pending += 1
        if self._pending < self.joined:
            return
        self._pending = 0
        cells, counts = self._now.cells, self._now.counts
        self._now.look(maps.statistics)
        cells, more = grown(self._now.cells, self._now.counts, cells, counts)
        found = [(cells.astype(np.uint32), more.astype(np.uint32)), *self._retired]
        self._retired = []
        self.parts.append((np.concatenate([part[0] for part in found]), np.concatenate([part[1] for part in found])))
        if len(self.parts) >= self.limit:
            self.parts = [_joined(*self.parts[at : at + 2]) for at in range(0, len(self.parts) - 1, 2)]
            self.joined *= 2

    def skip(self, maps: CountingMaps) -> None:
        """What was counted until now is in no part."""
        self.add(maps)
        self.parts.clear()

    def give_back(self, given: Sequence[Given]) -> None:
        """These slots start again from zero, for other functions; what they had moves to the places of the retired."""
        if not given:
            return
        self._by_cell = None
        places = np.arange(max(each.slot for each in given) + 1, dtype=np.int64)
        for slot, place, counts in given:
            places[slot] = _NOWHERE if place is None else place
            more = counts.astype(np.int64) - self._now.row(slot)
            cells = np.flatnonzero(more)
            if place is not None and len(cells):
                self._retired.append(((cells + place * BUCKETS).astype(np.uint32), more[cells].astype(np.uint32)))
        self._now.forget([each.slot for each in given])
        self.parts = [_moved(part, places) for part in self.parts]

    def of(self, counted: Counted, wall: Histogram) -> Sequence[Histogram]:
        """The parts of a function's calls; () where they are not known.

        Args:
            wall: all of its calls since the first part began.
        """
        if not len(wall.counts) or not counted.slots:
            return ()
        part, cells, counts = self._sorted()
        found = []
        for slot in counted.slots:
            entries = slice(*cells.searchsorted([slot * BUCKETS, (slot + 1) * BUCKETS]))
            found.append((part[entries], cells[entries] - (slot * BUCKETS - BUCKET_MIN + wall.offset), counts[entries]))
        together = found[0] if len(found) == 1 else tuple(np.concatenate(each) for each in zip(*found, strict=True))
        return Parts(wall, len(self.parts), *together)

    def _sorted(self) -> _ByCell:
        if self._by_cell is None:
            empty = np.zeros(0, np.int64)
            cells = np.concatenate([empty, *(part[0] for part in self.parts)])
            grown = np.concatenate([empty, *(part[1] for part in self.parts)])
            part = np.repeat(np.arange(len(self.parts)), [len(each[0]) for each in self.parts])
            order = cells.argsort(kind="stable")
            self._by_cell = _ByCell(part[order], cells[order], grown[order])
        return self._by_cell


def _moved(
    part: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]], places: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The entries of a part with the cells of each slot where ``places`` says; what was moved once stays."""
    cells, grown = part[0].astype(np.int64), part[1]
    slots = cells // BUCKETS
    here = slots < len(places)
    moved = np.where(here, places[np.minimum(slots, len(places) - 1)], slots)
    kept = moved != _NOWHERE
    return ((cells + (moved - slots) * BUCKETS)[kept].astype(np.uint32), grown[kept])


def _joined(
    one: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]], other: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    cells, where = np.unique(np.concatenate([one[0], other[0]]), return_inverse=True)
    grown = np.zeros(len(cells), np.uint32)
    np.add.at(grown, where, np.concatenate([one[1], other[1]]))
    return cells, grown
