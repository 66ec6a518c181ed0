"""What the program has counted by one moment, function by function, and the parts of a measurement for error bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from latency.histogram import BUCKETS, Histogram
from latency.recording import Function
from latency.tracing import wire
from latency.tracing.program import Program
from latency.tracing.table import FunctionTable

_ROWS = 256


@dataclass
class Counted:
    """What was counted of one function: its code objects together (a closure's, a reloaded module's, each process's).

    Attributes:
        slots: those that it has at this moment.
        whole: whether these slots hold all of it: nothing of it was in a slot that was given back.
    """

    returned: int = 0
    raised: int = 0
    abandoned: int = 0
    suspensions: int = 0
    cut: int = 0
    slow: int = 0
    unjudged: int = 0
    wall: Histogram = field(default_factory=Histogram.empty)
    active: Histogram | None = None
    slots: list[int] = field(default_factory=list)
    whole: bool = True

    def add(self, row: np.void) -> None:
        """One record of ``wire.STATISTICS``."""
        counted = Histogram.from_array(row["counts"], int(row["sum_ns"]), int(row["min_ns"]), int(row["max_ns"]))
        if row["flags"] & wire.ACTIVE:
            self.active = counted if self.active is None else self.active + counted
            return
        self.wall += counted
        for name in ("returned", "raised", "abandoned", "suspensions", "cut", "slow", "unjudged"):
            setattr(self, name, getattr(self, name) + int(row[name]))


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
    def take(cls, program: Program, table: FunctionTable, at_ns: int) -> Reading:
        """Read what the program has counted until now."""
        statistics = program.statistics
        functions: dict[Function, Counted] = {}
        spaces: dict[int, tuple[int, int]] = {}
        unnamed = 0
        rows: list[tuple[int | None, Function | None, np.void]] = []
        for slot in np.flatnonzero(statistics["code"]).tolist():
            row = statistics[slot].copy()
            function, wanted = table.function_of(slot, row)
            if wanted:
                rows.append((slot, function, row))
        rows += [(None, function, row) for function, row in table.retired]
        for slot_or_none, function, row in rows:
            active = bool(row["flags"] & wire.ACTIVE)
            if function is None:
                unnamed += 0 if active else int(row["returned"]) + int(row["raised"])
                continue
            if not active:
                returned, raised = spaces.get(int(row["space"]), (0, 0))
                spaces[int(row["space"])] = returned + int(row["returned"]), raised + int(row["raised"])
            counted = functions.setdefault(function, Counted())
            counted.add(row)
            if slot_or_none is None:
                counted.whole = False
            elif not active:
                counted.slots.append(slot_or_none)
        return cls(at_ns, functions, unnamed, spaces, program.counters())


class Counting(Protocol):
    """A program that has statistics."""

    @property
    def statistics(self) -> np.ndarray[Any, Any]:
        """The records of ``wire.STATISTICS``, by slot."""


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
    _last: np.ndarray[Any, Any] = field(default_factory=lambda: np.zeros((0, BUCKETS), np.uint64))
    _given_back: set[int] = field(default_factory=set)

    def add(self, program: Counting) -> None:
        """One more part ends now. Call it at equal intervals."""
        self._pending += 1
        if self._pending < self.joined:
            return
        self._pending = 0
        used = int(np.flatnonzero(program.statistics["code"]).max(initial=-1)) + 1
        if used > len(self._last):
            self._last = np.concatenate([self._last, np.zeros((used - len(self._last), BUCKETS), np.uint64)])
        found = [(np.empty(0, np.uint32), np.empty(0, np.uint32))]
        for first in range(0, used, _ROWS):  # a few at a time: thousands of functions are tens of megabytes
            now = program.statistics["counts"][first : min(first + _ROWS, used)].copy()
            grown = (now - self._last[first : first + len(now)]).ravel()
            self._last[first : first + len(now)] = now
            cells = np.flatnonzero(grown)
            found.append(((cells + first * BUCKETS).astype(np.uint32), grown[cells].astype(np.uint32)))
        self.parts.append((np.concatenate([part[0] for part in found]), np.concatenate([part[1] for part in found])))
        if len(self.parts) >= self.limit:
            self.parts = [_joined(*self.parts[at : at + 2]) for at in range(0, len(self.parts) - 1, 2)]
            self.joined *= 2

    def give_back(self, slots: Sequence[int]) -> None:
        """These slots start again from zero, for other functions: there are no parts of them any more."""
        self._given_back.update(slots)
        self._last[[slot for slot in slots if slot < len(self._last)]] = 0

    def of(self, counted: Counted) -> tuple[Histogram, ...]:
        """The parts of a function, a histogram each (sum, minimum and maximum are not known: 0); () where unknown."""
        if not counted.whole or self._given_back.intersection(counted.slots):
            return ()
        found = []
        for cells, grown in self.parts:
            counts = np.zeros(BUCKETS, np.int64)
            for slot in counted.slots:
                first, last = np.searchsorted(cells, [slot * BUCKETS, (slot + 1) * BUCKETS])
                counts[cells[first:last] - slot * BUCKETS] += grown[first:last]
            found.append(Histogram.from_array(counts, 0, 0, 0) if counts.any() else Histogram.empty())
        return tuple(found)


def _joined(
    one: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]], other: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    cells, where = np.unique(np.concatenate([one[0], other[0]]), return_inverse=True)
    grown = np.zeros(len(cells), np.uint32)
    np.add.at(grown, where, np.concatenate([one[1], other[1]]))
    return cells, grown
