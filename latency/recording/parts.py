"""The consecutive parts of a measurement: a histogram's calls in each, and the error bars that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from latency.histogram import Counts, Floats, Histogram, between

FEWEST = 10
"""Parts with calls that an error bar needs."""


@dataclass(frozen=True, eq=False, slots=True)
class Parts(Sequence[Histogram]):
    """What was counted in equal, consecutive parts of a measurement: a histogram each, made when it is asked for.

    A measurement of ten thousand functions has three hundred thousand of them, of which a report shows hardly any.

    Attributes:
        whole: all of the measurement.
        length: how many parts there are.
        part, offset, counts: which part has how many calls in which of the whole's buckets (``whole.counts``), each
            pair once or several times; shape (entries,).
        sums_ns: over the calls of each part; or () where they are not known.
    """

    whole: Histogram
    length: int
    part: NDArray[np.integer]
    offset: NDArray[np.integer]
    counts: NDArray[np.integer]
    sums_ns: tuple[int, ...] = ()

    @classmethod
    def of(cls, histograms: Sequence[Histogram], whole: Histogram) -> Parts:
        """From a histogram for each part.

        Raises:
            ValueError: one holds calls outside the whole's buckets, or is on another grid.
        """
        used = [each for each in histograms if len(each.counts)]
        if any(
            each.scale != whole.scale
            or not whole.offset <= each.offset <= whole.offset + len(whole.counts) - len(each.counts)
            for each in used
        ):
            raise ValueError("a part of another histogram")
        lengths = [len(each.counts) for each in histograms]
        empty = np.zeros(0, np.int64)
        return cls(
            whole,
            len(histograms),
            np.repeat(np.arange(len(histograms)), lengths),
            np.concatenate([empty, *(np.arange(len(it.counts)) + it.offset - whole.offset for it in used)]),
            np.concatenate([empty, *(each.counts for each in used)]),
            tuple(each.sum_ns for each in histograms),
        )

    @property
    def matrix(self) -> Counts:
        """The calls of each part in each of the whole's buckets, shape (length, buckets)."""
        width = len(self.whole.counts)
        found = np.zeros(self.length * width, np.int64)
        np.add.at(found, self.part.astype(np.int64) * width + self.offset, self.counts.astype(np.int64))
        return found.reshape(self.length, width)

    def rows(self) -> list[tuple[int, int, list[int]]]:
        """Of each part: its first bucket, its sum in nanoseconds (0 where it is not known), its counts."""
        matrix = self.matrix
        if not matrix.size:
            return [(0, 0, [])] * self.length
        used = matrix != 0
        firsts, lasts = used.argmax(axis=1).tolist(), (matrix.shape[1] - used[:, ::-1].argmax(axis=1)).tolist()
        sums = self.sums_ns or (0,) * self.length
        calls = used.any(axis=1).tolist()
        return [
            (self.whole.offset + first, total, counts[first:last]) if any_ else (0, total, [])
            for first, last, total, counts, any_ in zip(firsts, lasts, sums, matrix.tolist(), calls, strict=True)
        ]

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> Histogram: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Histogram]: ...
    def __getitem__(self, index: int | slice) -> Histogram | Sequence[Histogram]:
        if isinstance(index, slice):
            return tuple(self[at] for at in range(*index.indices(self.length)))
        at = range(self.length)[index]
        counts = np.zeros(len(self.whole.counts), np.int64)
        mine = self.part == at
        np.add.at(counts, self.offset[mine], self.counts[mine].astype(np.int64))
        return between(self.whole, self.whole.offset, counts, self.sums_ns[at] if self.sums_ns else 0)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


def intervals_ns(
    parts: Sequence[Histogram], whole: Histogram, qs: Sequence[float], confidence: float = 0.95
) -> list[tuple[float, float] | None] | None:
    """Confidence intervals of whole's quantiles, from how much they move between parts of the measurement.

    Calls are not independent of each other: intervals from order statistics cover 43-63 % where they promise 95 %.
    So the part is the unit. With F_k the share of part k's calls below the overall quantile, the half-width in
    rank is t(K - 1) * sd(F_k) / sqrt(K), each part weighted by its calls; both ends are read off the histogram.
    No interval is narrower than half a bucket either side, which is as well as the grid can tell.

    Args:
        parts: what was counted in equal, consecutive parts of the measurement.
        whole: all of it.
        qs: quantiles, 0 .. 1.
        confidence: the share of such intervals that hold the true quantile.

    Returns:
        (low_ns, high_ns) for each of qs, or None where the interval has no end: too few calls are beyond that
        quantile. None altogether with fewer than ``FEWEST`` parts that hold calls.
    """
    if len(parts) < FEWEST:
        return None
    matrix = (parts if isinstance(parts, Parts) else Parts.of(parts, whole)).matrix
    calls = matrix.sum(axis=1)
    matrix, calls = matrix[calls > 0], calls[calls > 0]
    if len(calls) < FEWEST:
        return None
    from scipy.special import stdtrit  # scipy is slow to import, and only error bars need it

    factor = float(stdtrit(len(calls) - 1, (1 + confidence) / 2))  # quantile of Student's t
    values = whole.quantiles(qs)
    shares = _shares_below(matrix, whole, values) / calls[:, None]
    weights = (calls / calls.mean())[:, None]
    halves = factor * np.sqrt(((weights * (shares - qs)) ** 2).sum(axis=0) / (len(calls) - 1) / len(calls))
    lows, highs = np.asarray(qs) - halves, np.asarray(qs) + halves
    ends = whole.quantiles(np.clip(np.concatenate([lows, highs]), 0.0, 1.0).tolist()).reshape(2, -1)
    resolution = 2.0 ** (0.5 / 2**whole.scale)
    low_ns = np.maximum(np.minimum(ends[0], values / resolution), whole.min_ns).tolist()
    high_ns = np.minimum(np.maximum(ends[1], values * resolution), whole.max_ns).tolist()
    known = ((lows > 0) & (highs < 1)).tolist()
    return [(low, high) if it else None for low, high, it in zip(low_ns, high_ns, known, strict=True)]


def _shares_below(matrix: Counts, whole: Histogram, values_ns: Floats) -> Floats:
    """How many calls of each part took at most each value, log-linear inside a bucket; shape (parts, values)."""
    low, high = whole.edges_ns()
    at = np.minimum(high.searchsorted(values_ns), len(high) - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share: Any = np.log(values_ns / low[at]) / np.log(high[at] / low[at])
    share = np.where(high[at] > low[at], np.clip(share, 0.0, 1.0), 1.0)
    found: Floats = matrix.cumsum(axis=1)[:, at] - matrix[:, at] * (1 - share)
    return found
