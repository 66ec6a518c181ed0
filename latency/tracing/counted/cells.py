"""The histograms of all slots as they are by now, sparse: of each function a few buckets are ever used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from latency.histogram import BUCKETS, Counts

_BLOCK = 64
"""Rows that are read at a time: they stay in the processor's cache."""


def _none() -> Counts:
    return np.zeros(0, np.int64)


@dataclass
class Cells:
    """What was read last. A slot in which no call has ended since is not read again.

    Attributes:
        cells: slot * BUCKETS + counter, ascending.
        counts: the calls in each of these.
    """

    cells: Counts = field(default_factory=_none)
    counts: Counts = field(default_factory=_none)
    _sums: np.ndarray[Any, Any] = field(default_factory=lambda: np.zeros(0, np.uint64))  # by slot

    def look(self, statistics: np.ndarray[Any, Any]) -> None:
        """Read all slots' histograms, records of ``wire.STATISTICS``."""
        if len(self._sums) < len(statistics):
            self._sums = np.concatenate([self._sums, np.zeros(len(statistics) - len(self._sums), np.uint64)])
        # A call is in the counts before it is in the sum: what is read too early here is read once more.
        sums = statistics["sum_ns"].copy()
        stale = np.flatnonzero(sums != self._sums)
        if not len(stale):
            return
        self._sums = sums
        kept = self._but(stale)
        cells, counts = [self.cells[kept]], [self.counts[kept]]
        for first in range(0, len(stale), _BLOCK):
            slots = stale[first : first + _BLOCK]
            block = statistics["counts"][slots].ravel()
            found = np.flatnonzero(block != 0)
            place, counter = np.divmod(found, BUCKETS)
            cells.append(slots[place] * BUCKETS + counter)
            counts.append(block[found].astype(np.int64))
        together = np.concatenate(cells)
        order = together.argsort(kind="stable")
        self.cells, self.counts = together[order], np.concatenate(counts)[order]

    def forget(self, slots: Iterable[int]) -> None:
        """These start again from zero."""
        gone = np.array([slot for slot in slots if slot < len(self._sums)], np.int64)
        self._sums[gone] = 0
        kept = self._but(gone)
        self.cells, self.counts = self.cells[kept], self.counts[kept]

    def row(self, slot: int) -> Counts:
        """The counters of one slot as they were read last."""
        first, last = self.cells.searchsorted([slot * BUCKETS, (slot + 1) * BUCKETS])
        dense = np.zeros(BUCKETS, np.int64)
        dense[self.cells[first:last] - slot * BUCKETS] = self.counts[first:last]
        return dense

    def _but(self, slots: Counts) -> np.ndarray[Any, Any]:
        """Which cells are not of these slots."""
        others = np.ones(len(self._sums), bool)
        others[slots] = False
        kept: np.ndarray[Any, Any] = others[self.cells // BUCKETS]
        return kept
