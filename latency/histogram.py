"""The bucket grid and :class:`Histogram`: how many calls took how long.

Bucket p of scale s covers (2^((p-1)/2^s), 2^(p/2^s)] **seconds**, upper bound inclusive. Calls are recorded at
scale 4, 4.4 % wide, by ``bpf/histogram.h``. It is OpenTelemetry's exponential histogram (index p - 1) and
Prometheus' native histogram (schema s), so both are exported without a change. A coarser scale is an exact sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, isqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Counts: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

SCALE = 4
"""Scale of recorded histograms: sixteen buckets make one power of two."""
BUCKETS = 576
"""Counters of one recorded histogram."""
BUCKET_MIN = -382
"""Bucket of the first counter: all durations up to 64 ns. The last counter holds all above 4096 s (bucket 193)."""


def longest_ns(p: int, scale: int = SCALE) -> int:
    """The longest whole number of nanoseconds in bucket p of a scale from 0 on: 10^9 * 2^(p/2^scale), rounded down."""
    value: int = 10 ** (9 * 2**scale)
    value = value << p if p >= 0 else value >> -p
    for _ in range(scale):
        value = isqrt(value)
    return value


# Exact: a floating-point logarithm puts some values above 3.8e13 ns in the wrong bucket.
_BOUNDS_NS = np.array([longest_ns(p) for p in range(BUCKET_MIN, BUCKET_MIN + BUCKETS - 1)], np.int64)


@dataclass(frozen=True, eq=False, slots=True)
class Histogram:
    """Counts on the grid, with the exact sum, minimum and maximum beside them. Not changed after it is made.

    Attributes:
        scale: 2^scale buckets make one power of two.
        offset: the bucket of ``counts[0]``.
        counts: calls in each bucket, int64, without zeros at either end; empty when nothing was counted.
        sum_ns, min_ns, max_ns: over all calls, nanoseconds; 0 when empty.
    """

    scale: int
    offset: int
    counts: Counts
    sum_ns: int
    min_ns: int
    max_ns: int

    def __post_init__(self) -> None:
        counts = np.asarray(self.counts, np.int64)
        used = counts.nonzero()[0]
        first, last = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0)
        # A copy of its own: a slice would keep a whole row of counters alive, and could change under us.
        trimmed = counts[first:last].copy()
        trimmed.flags.writeable = False
        object.__setattr__(self, "counts", trimmed)
        object.__setattr__(self, "offset", self.offset + first if len(trimmed) else 0)

    @classmethod
    def empty(cls, scale: int = SCALE) -> Histogram:
        """The histogram of no calls."""
        return cls(scale, 0, np.zeros(0, np.int64), 0, 0, 0)

    @classmethod
    def from_array(cls, counts: ArrayLike, sum_ns: int, min_ns: int, max_ns: int) -> Histogram:
        """From the ``BUCKETS`` counters that ``bpf/histogram.h`` indexes."""
        return cls(SCALE, BUCKET_MIN, np.asarray(counts, np.int64), int(sum_ns), int(min_ns), int(max_ns))

    @classmethod
    def many(
        cls, counts: NDArray[np.integer], sums_ns: ArrayLike, mins_ns: ArrayLike, maxs_ns: ArrayLike
    ) -> list[Histogram]:
        """:meth:`from_array` for each row of ``counts``, of shape (histograms, ``BUCKETS``): thousands in one go."""
        used = counts != 0
        any_ = used.any(axis=1)
        firsts = np.where(any_, used.argmax(axis=1), 0)
        lasts = np.where(any_, counts.shape[1] - used[:, ::-1].argmax(axis=1), 0)
        numbers = (np.asarray(each).tolist() for each in (firsts, lasts, sums_ns, mins_ns, maxs_ns))
        found = []
        for row, first, last, sum_ns, min_ns, max_ns in zip(counts, *numbers, strict=True):
            made = object.__new__(cls)
            trimmed = row[first:last].astype(np.int64)
            trimmed.flags.writeable = False
            offset = BUCKET_MIN + first if last else 0
            for name, value in zip(cls.__slots__, (SCALE, offset, trimmed, sum_ns, min_ns, max_ns), strict=True):
                object.__setattr__(made, name, value)
            found.append(made)
        return found

    @classmethod
    def from_values(cls, values_ns: ArrayLike) -> Histogram:
        """From whole nanoseconds, none negative, each counted in the bucket that the kernel side would choose."""
        values = np.asarray(values_ns, np.int64).ravel()
        if not len(values):
            return cls.empty()
        counts = np.bincount(np.searchsorted(_BOUNDS_NS, values, side="left"), minlength=BUCKETS)
        # In two halves, since the sum of many int64 need not fit in one.
        sum_ns = (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())
        return cls.from_array(counts, sum_ns, int(values.min()), int(values.max()))

    @property
    def count(self) -> int:
        """The number of calls."""
        return int(self.counts.sum())

    @property
    def mean_ns(self) -> float:
        """The exact mean, or nan when empty."""
        count = self.count
        return self.sum_ns / count if count else float("nan")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        mine = (self.scale, self.offset, self.sum_ns, self.min_ns, self.max_ns)
        theirs = (other.scale, other.offset, other.sum_ns, other.min_ns, other.max_ns)
        return mine == theirs and np.array_equal(self.counts, other.counts)

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: Histogram) -> Histogram:
        return self.merge(other)

    def merge(self, *others: Histogram) -> Histogram:
        """All calls of these histograms, on the coarsest of their scales; exact."""
        scale = min(self.scale, *(other.scale for other in others)) if others else self.scale
        parts = [part.downscale(scale) for part in (self, *others) if len(part.counts)]
        if not parts:
            return Histogram.empty(scale)
        if len(parts) == 1:
            return parts[0]
        offset = min(part.offset for part in parts)
        counts = np.zeros(max(part.offset + len(part.counts) for part in parts) - offset, np.int64)
        for part in parts:
            counts[part.offset - offset :][: len(part.counts)] += part.counts
        return Histogram(
            scale,
            offset,
            counts,
            sum(part.sum_ns for part in parts),
            min(part.min_ns for part in parts),
            max(part.max_ns for part in parts),
        )

    def subtract(self, earlier: Histogram) -> Histogram:
        """The calls between an earlier reading of the same counters and this one.

        Their minimum and maximum are not known: they are taken as the ends of the outermost buckets, within this
        histogram's own minimum and maximum.

        Raises:
            ValueError: ``earlier`` is of another scale, or holds calls that this one does not.
        """
        if not len(earlier.counts):
            return self
        start = earlier.offset - self.offset
        end = start + len(earlier.counts)
        if earlier.scale != self.scale or start < 0 or end > len(self.counts):
            raise ValueError("not an earlier reading of the same histogram")
        counts = self.counts.copy()
        counts[start:end] -= earlier.counts
        if counts.min() < 0:
            raise ValueError("an earlier reading holds more calls than a later one")
        return between(self, self.offset, counts, self.sum_ns - earlier.sum_ns)

    def downscale(self, to_scale: int) -> Histogram:
        """The same calls on a coarser grid; exact, since the coarser bounds are among the finer ones."""
        if to_scale == self.scale:
            return self
        if not 0 <= to_scale < self.scale:
            raise ValueError(f"cannot go from scale {self.scale} to {to_scale}")
        if not len(self.counts):
            return Histogram.empty(to_scale)
        width = 2 ** (self.scale - to_scale)
        buckets = -(-np.arange(self.offset, self.offset + len(self.counts)) // width)
        counts = np.zeros(int(buckets[-1] - buckets[0]) + 1, np.int64)
        np.add.at(counts, buckets - buckets[0], self.counts)
        return Histogram(to_scale, int(buckets[0]), counts, self.sum_ns, self.min_ns, self.max_ns)

    def log2(self) -> Histogram:
        """The same calls in powers of two of seconds (scale 0)."""
        return self.downscale(0)

    def dense(self) -> Counts:
        """The ``BUCKETS`` counters of a recorded histogram, as :meth:`from_array` takes them."""
        counts = np.zeros(BUCKETS, np.int64)
        start = self.offset - BUCKET_MIN
        if len(self.counts):
            if self.scale != SCALE or start < 0 or start + len(self.counts) > BUCKETS:
                raise ValueError("not on the recorded grid")
            counts[start : start + len(self.counts)] = self.counts
        return counts

    def bounds_ns(self, p: int) -> tuple[float, float]:
        """What bucket p covers: above the first, up to and including the second, in nanoseconds."""
        low, high = _bounds_ns(np.array([p]), self.scale)
        return float(low[0]), float(high[0])

    def quantile(self, q: float) -> float:
        """The latency in nanoseconds that a share q (0 .. 1) of the calls does not exceed; nan when empty."""
        return float(self.quantiles([q])[0])

    def quantiles(self, qs: Sequence[float]) -> Floats:
        """:meth:`quantile` for each of qs.

        Log-linear inside the bucket and within the exact minimum and maximum: at most 4.4 % off, typically 0.2 %.
        """
        if not len(self.counts):
            return np.full(len(qs), np.nan)
        reached = self.counts.cumsum()
        low, high = self.edges_ns()
        total = int(reached[-1])
        at = reached.searchsorted([_rank(q, total) for q in qs])
        inside = self.counts[at]
        share = np.clip((np.asarray(qs) * total - (reached[at] - inside)) / inside, 0.0, 1.0)
        found: Floats = low[at] * (high[at] / low[at]) ** share
        return found

    def rank_below(self, value_ns: float) -> float:
        """The share of calls, 0 .. 1, that took at most value_ns: the inverse of :meth:`quantile`; nan when empty."""
        if not len(self.counts):
            return float("nan")
        if value_ns < self.min_ns:
            return 0.0
        if value_ns >= self.max_ns:
            return 1.0
        low, high = self.edges_ns()
        at = int(np.searchsorted(high, value_ns, side="left"))
        share = 1.0 if high[at] <= low[at] else float(np.log(value_ns / low[at]) / np.log(high[at] / low[at]))
        below = int(self.counts[:at].sum()) + int(self.counts[at]) * min(max(share, 0.0), 1.0)
        return below / self.count

    def edges_ns(self) -> tuple[Floats, Floats]:
        """Where the buckets begin and end, the outermost ones at the exact minimum and maximum."""
        low, high = _bounds_ns(np.arange(self.offset, self.offset + len(self.counts)), self.scale)
        low[0], high[-1] = max(self.min_ns, 1), max(self.max_ns, 1)
        return low, high


def between(whole: Histogram, offset: int, counts: ArrayLike, sum_ns: int) -> Histogram:
    """A part of whole's calls of which only the counts and the sum are known; for the rest see ``subtract``."""
    part = Histogram(whole.scale, offset, np.asarray(counts, np.int64), sum_ns, 0, 0)
    if not len(part.counts):
        return Histogram.empty(whole.scale)
    low, high = _bounds_ns(np.array([part.offset, part.offset + len(part.counts) - 1]), whole.scale)
    end = whole.offset + len(whole.counts) - 1
    # The last counter has no upper bound, nor the first a lower one: there only whole's own ends are known.
    min_ns = whole.min_ns if part.offset == whole.offset else max(whole.min_ns, int(low[0]) + 1)
    max_ns = whole.max_ns if part.offset + len(part.counts) - 1 == end else min(whole.max_ns, int(high[1]))
    return Histogram(whole.scale, part.offset, part.counts, sum_ns, min_ns, max_ns)


def quantiles_of(
    counts: NDArray[np.integer],
    mins_ns: ArrayLike,
    maxs_ns: ArrayLike,
    qs: Sequence[float],
    *,
    offset: int = BUCKET_MIN,
    scale: int = SCALE,
) -> Floats:
    """Quantiles of many histograms at once.

    Args:
        counts: shape (histograms, buckets); the first column is bucket ``offset``.
        mins_ns, maxs_ns: shape (histograms,): the exact extremes of each.
        qs: quantiles, 0 .. 1.

    Returns:
        Nanoseconds, shape (histograms, len(qs)); nan in the rows of empty histograms.
    """
    mins, maxs = (np.maximum(np.asarray(extreme, np.float64), 1.0) for extreme in (mins_ns, maxs_ns))
    rows = np.arange(len(counts))
    reached = np.cumsum(counts, axis=1, dtype=np.int64)
    total = reached[:, -1]
    found = np.empty((len(counts), len(qs)))
    for column, q in enumerate(qs):
        at = (reached >= _ranks(q, total)[:, None]).argmax(axis=1)
        inside, upto = counts[rows, at], reached[rows, at]
        share = np.clip((q * total - (upto - inside)) / np.maximum(inside, 1), 0.0, 1.0)
        low, high = _bounds_ns(at + offset, scale)
        low, high = np.where(upto == inside, mins, low), np.where(upto == total, maxs, high)
        found[:, column] = low * (high / low) ** share
    found[total == 0] = np.nan
    return found


def quantiles_of_cells(
    cells: NDArray[np.int64], counts: Counts, mins_ns: Counts, maxs_ns: Counts, qs: Sequence[float]
) -> Floats:
    """:func:`quantiles_of` where only the counters that are not zero are given.

    Args:
        cells: ascending: histogram * BUCKETS + counter, as ``bpf/histogram.h`` indexes it.
        counts: the calls in each of these, none zero.
        mins_ns, maxs_ns: shape (histograms,).
    """
    ends = cells.searchsorted(np.arange(1, len(mins_ns) + 1) * BUCKETS)
    reached = np.concatenate([[0], counts.cumsum()])
    before = reached[np.concatenate([[0], ends[:-1]])] if len(ends) else np.zeros(0, np.int64)
    totals = reached[ends] - before
    any_ = np.flatnonzero(totals)
    before, total = before[any_], totals[any_]
    mins, maxs = (np.maximum(extreme[any_], 1).astype(np.float64) for extreme in (mins_ns, maxs_ns))
    found = np.full((len(mins_ns), len(qs)), np.nan)
    for column, q in enumerate(qs):
        at = reached[1:].searchsorted(before + _ranks(q, total))
        inside, upto = counts[at], reached[at + 1] - before
        share = np.clip((q * total - (upto - inside)) / np.maximum(inside, 1), 0.0, 1.0)
        low, high = _bounds_ns(cells[at] % BUCKETS + BUCKET_MIN, SCALE)
        low, high = np.where(upto == inside, mins, low), np.where(upto == total, maxs, high)
        found[any_, column] = low * (high / low) ** share
    return found


def _rank(q: float, total: int) -> int:
    """Which call, counted from 1 and the shortest, is the quantile."""
    if not 0 <= q <= 1:
        raise ValueError(f"a quantile is between 0 and 1, not {q}")
    # The whole number is only exceeded through rounding: 0.07 * 100 is 7.000000000000001.
    return max(ceil(total * (q * (1 - 1e-12))), 1)


def _ranks(q: float, totals: ArrayLike) -> Counts:
    """:func:`_rank` in each of many histograms."""
    _rank(q, 1)
    ranks: Counts = np.ceil(np.multiply(totals, q * (1 - 1e-12))).astype(np.int64)
    return np.maximum(ranks, 1)


def _bounds_ns(buckets: NDArray[np.integer], scale: int) -> tuple[Floats, Floats]:
    """Both ends of buckets, as floats, nanoseconds."""
    width = 2.0**scale
    low: Floats = 1e9 * np.exp2((buckets - 1) / width)
    high: Floats = 1e9 * np.exp2(buckets / width)
    return low, high
