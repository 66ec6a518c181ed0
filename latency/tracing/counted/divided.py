"""Where the time of calls went, slot by slot, as ``bpf/split.h`` has told it apart until now."""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from latency.histogram import Histogram
from latency.recording import Split
from latency.tracing.counted import wire
from latency.tracing.counted.extremes import Extremes

SCALE = 2
"""Of the split: a quarter as fine as the histograms."""
BUCKET_MIN = -95
"""The first of ``wire.SPLIT_BUCKETS`` buckets: it holds the histograms' first ones."""


@dataclass(frozen=True)
class Divided:
    """What was told apart of one function's calls; None is not asked for."""

    split: Split | None = None
    self_time: Histogram | None = None

    def __add__(self, other: Divided) -> Divided:
        return Divided(
            self.split + other.split if self.split and other.split else self.split or other.split,
            self.self_time + other.self_time
            if self.self_time and other.self_time
            else self.self_time or other.self_time,
        )

    def since(self, earlier: Divided) -> Divided:
        """What came after an earlier reading."""
        return Divided(
            self.split.since(earlier.split) if self.split and earlier.split else self.split,
            self.self_time.subtract(earlier.self_time) if self.self_time and earlier.self_time else self.self_time,
        )


class Splits:
    """What a program has told apart until now, by slot.

    Args:
        splits: the mapped records of ``wire.SPLIT``, or None.
        self_times: those of ``wire.STATISTICS``, of which the times are used, or None.
        gc_known: the build says when it collects garbage.
        extremes: of the self times, where several threads run Python at once.
    """

    def __init__(
        self,
        splits: mmap.mmap | None = None,
        self_times: mmap.mmap | None = None,
        *,
        gc_known: bool = False,
        extremes: Extremes | None = None,
    ) -> None:
        self._splits = splits
        self._self_times = self_times
        self._gc_known = gc_known
        self._extremes = extremes or Extremes()

    @property
    def are_kept(self) -> bool:
        """Whether anything is told apart."""
        return self._splits is not None or self._self_times is not None

    def of_all(self, slots: Iterable[int]) -> Divided:
        """Of these slots together."""
        return sum(map(self.of, slots), Divided()) if self.are_kept else Divided()

    def of(self, slot: int) -> Divided:
        """Of one slot."""
        return Divided(
            None if self._splits is None else self._split(_row(self._splits, wire.SPLIT, slot)[0]),
            None if self._self_times is None else self._self_time(self._self_times, slot),
        )

    def sums(self, slots: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any] | None, np.ndarray[Any, Any] | None]:
        """(the time of all calls by part, shape (slots, PARTS); their self time), ns; None is not asked for."""
        parts_ns = self_ns = None
        if self._splits is not None:
            parts = _rows(self._splits, wire.SPLIT)["parts_ns"][slots]
            parts_ns = parts.reshape(len(slots), wire.PARTS, wire.SPLIT_BUCKETS).sum(axis=2).astype(np.int64)
        if self._self_times is not None:
            self_ns = _rows(self._self_times, wire.STATISTICS)["sum_ns"][slots].astype(np.int64)
        return parts_ns, self_ns

    def clear(self, slots: Iterable[int]) -> None:
        """These slots start again from zero."""
        for memory, dtype in ((self._splits, wire.SPLIT), (self._self_times, wire.STATISTICS)):
            for slot in slots if memory is not None else ():
                _row(memory, dtype, slot)[:] = np.zeros(1, dtype)

    def _self_time(self, memory: mmap.mmap, slot: int) -> Histogram:
        rows = _row(memory, wire.STATISTICS, slot).copy()
        self._extremes.into(rows, np.array([slot]), of_self=True)
        row = rows[0]
        return Histogram.from_array(row["counts"], int(row["sum_ns"]), int(row["min_ns"]), int(row["max_ns"]))

    def _split(self, row: np.void) -> Split:
        parts_ns = row["parts_ns"].astype(np.int64).reshape(wire.PARTS, wire.SPLIT_BUCKETS)
        return Split(int(row["calls"]), SCALE, BUCKET_MIN, parts_ns, self._gc_known)


def _rows(memory: mmap.mmap, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """The live records of all slots."""
    return np.frombuffer(memory, dtype, len(memory) // dtype.itemsize)


def _row(memory: mmap.mmap | None, dtype: np.dtype[Any], slot: int) -> np.ndarray[Any, Any]:
    """The live record of a slot."""
    assert memory is not None
    return np.frombuffer(memory, dtype, 1, slot * dtype.itemsize)
