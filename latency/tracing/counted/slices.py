"""The parts of a measurement, of which error bars are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from latency.histogram import BUCKET_MIN, BUCKETS, Histogram
from latency.recording.parts import Parts
from latency.recording.totals import grown
from latency.tracing.counted.cells import Cells
from latency.tracing.counted.maps import CountingMaps
from latency.tracing.counted.reading import Counted
from latency.tracing.counted.retired import Given

_NOWHERE = -1


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
