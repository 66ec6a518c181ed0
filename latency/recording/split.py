"""Where the wall time of calls went: on the CPU, waiting, collecting garbage, suspended."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from latency.histogram import Counts, Histogram

PARTS = ("running", "waiting", "runnable", "gc", "suspended")
"""What wall time is made of, in the order of the rows of ``Split.parts_ns``; together they are all of it.

running: on a CPU (garbage collections not, where they are told apart).
waiting: off the CPU, with nothing to do yet: sleep, input and output, locks, the GIL.
runnable: off the CPU although it was ready to run: preempted, or woken while others had the CPUs.
gc: on a CPU, in a garbage collection.
suspended: of generators and coroutines, between their stays on the stack.
"""


@dataclass(frozen=True, eq=False, slots=True)
class Split:
    """The parts of the wall time of one function's calls, summed by the wall time of the call.

    Attributes:
        calls: how many calls it is made of; ``FunctionLatency.calls``, but for calls of which it is not known.
        scale, offset: as ``Histogram`` has them: column i is of the calls in bucket ``offset + i``.
        parts_ns: nanoseconds, int64, shape (len(PARTS), buckets), without columns of zeros at either end.
        gc_known: whether garbage collection is told apart; if not, it is in ``running``.
    """

    calls: int
    scale: int
    offset: int
    parts_ns: Counts
    gc_known: bool = True

    def __post_init__(self) -> None:
        parts = np.asarray(self.parts_ns, np.int64).reshape(len(PARTS), -1)
        used = parts.any(axis=0).nonzero()[0]
        first, last = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0)
        trimmed = parts[:, first:last].copy()
        trimmed.flags.writeable = False
        object.__setattr__(self, "parts_ns", trimmed)
        object.__setattr__(self, "offset", self.offset + first if len(used) else 0)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Split):
            return NotImplemented
        mine = (self.calls, self.scale, self.offset, self.gc_known)
        theirs = (other.calls, other.scale, other.offset, other.gc_known)
        return mine == theirs and np.array_equal(self.parts_ns, other.parts_ns)

    __hash__ = None  # type: ignore[assignment]

    @property
    def totals_ns(self) -> dict[str, int]:
        """Nanoseconds of each part, over all calls."""
        return dict(zip(PARTS, self.parts_ns.sum(axis=1).tolist(), strict=True))

    @property
    def wall_ns(self) -> int:
        """The wall time of all calls: the sum of all parts."""
        return int(self.parts_ns.sum())

    def shares_at(self, q: float, wall: Histogram) -> dict[str, float] | None:
        """Of the calls around a quantile (those in its bucket), each part as a share of their wall time, 0 .. 1.

        Args:
            q: 0 .. 1.
            wall: the wall times of the same calls.

        Returns:
            None where nothing is known of these calls.
        """
        if wall.scale < self.scale or not len(wall.counts):
            return None
        coarse = wall.downscale(self.scale)
        reached = coarse.counts.cumsum()
        # As in Histogram.quantile: the whole number is only exceeded through rounding.
        rank = max(ceil(int(reached[-1]) * q * (1 - 1e-12)), 1)
        column = coarse.offset + int(reached.searchsorted(rank)) - self.offset
        if not 0 <= column < self.parts_ns.shape[1]:
            return None
        parts = self.parts_ns[:, column]
        total = int(parts.sum())
        return dict(zip(PARTS, (parts / total).tolist(), strict=True)) if total else None

    def __add__(self, other: Split) -> Split:
        """All these calls. Of different scales: the coarser. What only one of both tells apart is not told apart."""
        one, two = (each.without_gc() if not (self.gc_known and other.gc_known) else each for each in (self, other))
        scale = min(one.scale, two.scale)
        parts = [part for part in (one.downscale(scale), two.downscale(scale)) if part.parts_ns.shape[1]]
        offset = min((part.offset for part in parts), default=0)
        end = max((part.offset + part.parts_ns.shape[1] for part in parts), default=0)
        sums = np.zeros((len(PARTS), end - offset), np.int64)
        for part in parts:
            sums[:, part.offset - offset :][:, : part.parts_ns.shape[1]] += part.parts_ns
        return Split(one.calls + two.calls, scale, offset, sums, one.gc_known)

    def since(self, earlier: Split) -> Split:
        """What came after an earlier reading of the same sums."""
        minus = Split(-earlier.calls, earlier.scale, earlier.offset, -earlier.parts_ns, earlier.gc_known)
        return self + minus

    def without_gc(self) -> Split:
        """The same where garbage collection is not told apart: it is on a CPU, so running."""
        if not self.gc_known:
            return self
        sums = self.parts_ns.copy()
        sums[PARTS.index("running")] += sums[PARTS.index("gc")]
        sums[PARTS.index("gc")] = 0
        return Split(self.calls, self.scale, self.offset, sums, gc_known=False)

    def downscale(self, to_scale: int) -> Split:
        """The same on a coarser grid, exactly; see ``Histogram.downscale``."""
        columns = self.parts_ns.shape[1]
        if to_scale == self.scale or not columns:
            return Split(self.calls, to_scale, self.offset, self.parts_ns, self.gc_known)
        buckets = -(-np.arange(self.offset, self.offset + columns) // (1 << (self.scale - to_scale)))
        sums = np.zeros((len(PARTS), int(buckets[-1] - buckets[0]) + 1), np.int64)
        np.add.at(sums.T, buckets - buckets[0], self.parts_ns.T)
        return Split(self.calls, to_scale, int(buckets[0]), sums, self.gc_known)
