"""What the program has counted by one moment, function by function."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from latency.histogram import Histogram
from latency.recording import Function
from latency.tracing.counted import wire
from latency.tracing.counted.divided import Divided
from latency.tracing.counted.kept import Kept
from latency.tracing.counted.maps import CallMaps
from latency.tracing.counted.opencalls import OpenCalls
from latency.tracing.counted.table import FunctionTable
from latency.tracing.limit.watched import WatchedUntil

_ROWS = 256


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
    def take(cls, maps: CallMaps, table: FunctionTable, at_ns: int, kept: Kept[Counted] | None = None) -> Reading:
        """Read what the program has counted until now.

        Args:
            kept: what was read of the same measurement before; what has not changed since is not read again.
        """
        maps.extremes.look()
        used = maps.used_slots()
        heads = maps.heads(used)
        places, unnamed = _places(table, used, heads)
        unchanged: dict[Function, Counted] = {}
        if kept and not maps.tells_more:
            unchanged = kept.unchanged(used, heads, places, table.retired.version)
        again = {function: these for function, these in places.items() if function not in unchanged}
        calls = list(zip(heads["returned"].tolist(), heads["raised"].tolist(), strict=True))
        rows = _rows(maps, used, calls, again)
        functions = {function: unchanged.get(function) or Counted() for function in places}
        is_call = heads["flags"] & wire.ACTIVE == 0
        for function, these in again.items():
            of_calls = used[these][is_call[these]].tolist()
            functions[function].slots = of_calls
            functions[function].divided = maps.splits.of_all(of_calls)
        for key, record in table.retired.rows.items():
            name, (row,) = key[0], Row.many(record)
            if name is None:
                unnamed += 0 if row.active else row.returned + row.raised
            elif name not in unchanged:
                counted = functions.setdefault(name, Counted())
                rows.setdefault(name, []).append(row)
                if not row.active:
                    counted.slots.append(table.retired.places[key])
                    counted.divided += table.retired.divided[name]
        for function, found in rows.items():
            functions[function].add_rows(found)
        if kept:
            kept.keep(used, heads, places, table.retired.version, functions)
        return cls(at_ns, functions, unnamed, _by_space(heads, calls, places, table.retired.spaces), maps.counters())


def _places(
    table: FunctionTable, used: np.ndarray[Any, Any], heads: np.ndarray[Any, Any]
) -> tuple[dict[Function, list[int]], int]:
    """(Of each wanted function, where its slots are among those in use; calls of functions whose name is not known.)"""
    found: dict[Function, list[int]] = {}
    by_id: dict[int, list[int]] = {}  # of a function in many processes there are many objects
    unnamed = 0
    columns = (heads[name].tolist() for name in ("space", "code", "flags", "returned", "raised"))
    for at, (slot, space, code, flags, returned, raised) in enumerate(zip(used.tolist(), *columns, strict=True)):
        function, wanted = table.function_of(slot, space, code, dead=bool(flags & wire.DEAD))
        if wanted and function is None:
            unnamed += 0 if flags & wire.ACTIVE else returned + raised
        elif wanted and function is not None:
            these = by_id.get(id(function))
            if these is None:
                these = by_id[id(function)] = found.setdefault(function, [])
            these.append(at)
    return found, unnamed


def _rows(
    maps: CallMaps,
    used: np.ndarray[Any, Any],
    calls: list[tuple[int, int]],
    places: Mapping[Function, list[int]],
) -> dict[Function, list[Row]]:
    """The records of these functions, added up. ``calls`` says of their slots from then on what these records say."""
    functions = list(places)
    pairs = sorted((at, number) for number, these in enumerate(places.values()) for at in these)
    found: dict[Function, list[Row]] = {}
    for first in range(0, len(pairs), _ROWS):  # a few at a time: thousands of functions are tens of megabytes
        block = pairs[first : first + _ROWS]
        records = maps.rows(used[[at for at, _ in block]])
        columns = (records[name].tolist() for name in ("flags", "returned", "raised"))
        known: dict[tuple[int, int], int] = {}
        groups = []
        for (at, number), flags, returned, raised in zip(block, *columns, strict=True):
            groups.append(known.setdefault((number, flags & wire.ACTIVE), len(known)))
            calls[at] = returned, raised
        for (number, _), row in zip(known, Row.sums(records, groups), strict=True):
            found.setdefault(functions[number], []).append(row)
    return found


def _by_space(
    heads: np.ndarray[Any, Any],
    calls: Sequence[tuple[int, int]],
    places: Mapping[Function, list[int]],
    retired: Mapping[int, tuple[int, int]],
) -> dict[int, tuple[int, int]]:
    """(Returned, raised) calls of these functions in each address space."""
    found = dict(retired)
    at = np.fromiter(itertools.chain.from_iterable(places.values()), np.intp)
    at = at[heads["flags"][at] & wire.ACTIVE == 0]
    numbers, whose = np.unique(heads["space"][at], return_inverse=True)
    sums = np.zeros((len(numbers), 2), np.int64)
    if len(at):
        np.add.at(sums, whose, np.array(calls, np.int64)[at])
    for number, (returned, raised) in zip(numbers.tolist(), sums.tolist(), strict=True):
        before = found.get(number, (0, 0))
        found[number] = before[0] + returned, before[1] + raised
    return found


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
