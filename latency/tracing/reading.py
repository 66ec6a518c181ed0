"""From the program's tables to what the recording says: one reading, and the difference between two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from latency.histogram import BUCKETS, Histogram
from latency.tracing.program import Program


@dataclass(frozen=True)
class Reading:
    """The statistics at one moment.

    Attributes:
        at_ns: when (CLOCK_MONOTONIC).
        slots: the slots in use, ascending.
        statistics: their records (``wire.STATISTICS``).
        counters: the program's counters.
    """

    at_ns: int
    slots: np.ndarray[Any, Any]
    statistics: np.ndarray[Any, Any]
    counters: dict[str, int]

    @classmethod
    def take(cls, program: Program, at_ns: int) -> Reading:
        """Read what the program has counted until now."""
        statistics = program.statistics
        slots = np.flatnonzero(statistics["code"])
        return cls(at_ns, slots, statistics[slots].copy(), program.counters())


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
    _before: dict[int, int] = field(default_factory=dict)
    _last: np.ndarray[Any, Any] | None = None

    def add(self, program: Program) -> None:
        """One more part ends now. Call it at equal intervals."""
        self._pending += 1
        if self._pending < self.joined:
            return
        self._pending = 0
        counts = program.statistics["counts"]
        used = int(np.flatnonzero(program.statistics["code"]).max(initial=-1)) + 1
        now = counts[:used].copy().ravel()
        grown = now.copy()
        if self._last is not None:
            grown[: len(self._last)] -= self._last
        self._last = now
        cells = np.flatnonzero(grown)
        self.parts.append((cells.astype(np.uint32), grown[cells].astype(np.uint32)))
        if len(self.parts) >= self.limit:
            self.parts = [_joined(*self.parts[at : at + 2]) for at in range(0, len(self.parts) - 1, 2)]
            self.joined *= 2

    def of(self, slots: Sequence[int]) -> tuple[Histogram, ...]:
        """The parts of these slots together, one histogram each (sum, minimum and maximum are not known: 0)."""
        found = []
        for cells, grown in self.parts:
            counts = np.zeros(BUCKETS, np.int64)
            for slot in slots:
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
