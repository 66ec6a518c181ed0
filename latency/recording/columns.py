"""Runs as columns of numbers: what comparing needs, in a tenth of the time and memory of ten thousand objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from math import nan

import numpy as np
from numpy.typing import NDArray

from latency.errors import RecordingError
from latency.histogram import Counts, Floats, Histogram
from latency.recording.function import Function
from latency.recording.model import FunctionLatency, Recording

Rows = NDArray[np.int32]

MAX_CALLS = 1 << 62
"""Of one run, so that running sums fit."""
_MIN_BUCKET = -(1 << 16)


@dataclass(frozen=True, eq=False, slots=True)
class Columns:
    """One run. Row i of each column belongs to one function; no function has two rows.

    Attributes:
        run: everything else about the run; its ``functions`` are empty.
        table: functions, shared by the runs of a file.
        codes: by index in ``table``, the digests of the function's code in the runs of a file, where these are known.
        which: for each row, the index of its function in ``table``.
        calls: calls in each row's histogram, int64.
        sum_ns, min_ns, max_ns: over the calls of each row, float64, nanoseconds; 0 without calls.
        error_ns: by how much the sum of each row may be wrong since what pylat's probes took is an estimate; nan where
            that is not known, and nothing was taken off.
        unsure_ns: by how much more it may be less, for what the probes took while calls were suspended.
        delayed: how many calls of each row the probes have delayed (``Probes.delayed_share``).
        scale: the grid of ``buckets``, the same for all rows: the coarsest that the run has.
        ends: where each row's entries end in ``buckets`` and ``counts``; the next row's begin there.
        buckets, counts: the buckets that hold calls, rising within a row, and how many; see ``latency.histogram``.
    """

    run: Recording
    table: Sequence[Function]
    codes: Mapping[int, AbstractSet[str]]
    which: Rows
    calls: Counts
    sum_ns: Floats
    min_ns: Floats
    max_ns: Floats
    error_ns: Floats
    unsure_ns: Floats
    delayed: Floats
    scale: int
    ends: Counts
    buckets: Rows
    counts: Counts

    @property
    def loss_share(self) -> float:
        """Losses as a share of all that should have been measured, 0 .. 1."""
        lost = self.run.losses.total
        return lost / (int(self.calls.sum()) + lost) if lost else 0.0

    @property
    def mean_ns(self) -> Floats:
        """The exact mean of each row; nan without calls."""
        found: Floats = np.where(self.calls > 0, self.sum_ns / np.maximum(self.calls, 1), np.nan)
        return found

    def probe_errors_ns(self, qs: Sequence[float | None]) -> tuple[Floats, Floats]:
        """By how much statistics of each row may be too high, and too low, for what the probes took; as
        ``FunctionLatency.intervals_ns`` has it.

        Args:
            qs: quantiles, or None for the mean.

        Returns:
            Nanoseconds, shape (rows, len(qs)) each; 0 where nothing was taken off.
        """
        calls = np.maximum(self.calls, 1)
        wrong, unsure = (
            np.where(self.calls > 0, np.nan_to_num(it) / calls, 0.0) for it in (self.error_ns, self.unsure_ns)
        )
        too_low = np.repeat(wrong[:, None], len(qs), axis=1)
        too_high = too_low + unsure[:, None]
        kept = np.clip(1 - self.delayed / calls, 0.0, 1.0)
        if (kept < 1).any():
            for column, q in enumerate(qs):
                if q is not None:
                    value, least = (self.quantiles([each])[0][:, 0] for each in (q, q * kept))
                    too_high[:, column] += np.nan_to_num(np.maximum(value - least, 0.0))
        return too_high, too_low

    def histogram(self, row: int) -> Histogram:
        """The calls of one row."""
        entries = slice(int(self.ends[row - 1]) if row else 0, int(self.ends[row]))
        buckets = self.buckets[entries]
        if not len(buckets):
            return Histogram.empty(self.scale)
        counts = np.zeros(int(buckets[-1] - buckets[0]) + 1, np.int64)
        counts[buckets - buckets[0]] = self.counts[entries]
        extremes = int(self.sum_ns[row]), int(self.min_ns[row]), int(self.max_ns[row])
        return Histogram(self.scale, int(buckets[0]), counts, *extremes)

    def quantiles(self, qs: Sequence[float | Floats]) -> tuple[Floats, Floats]:
        """``Histogram.quantile`` of every row at once.

        Args:
            qs: quantiles, 0 .. 1; or one for each row.

        Returns:
            Nanoseconds, shape (rows, len(qs)), nan without calls; and of the same shape the share of the row's calls
            that are in the bucket where the quantile lies.
        """
        found, shares = np.full((2, len(self.calls), len(qs)), np.nan)
        used = np.flatnonzero(self.calls)
        if not len(used):
            return found, shares
        total, ends = self.calls[used], self.ends[used]
        starts = np.concatenate([[0], ends[:-1]])
        reached = self.counts.cumsum()
        before = reached[ends - 1] - total
        width = 2.0**self.scale
        for column, each in enumerate(qs):
            q = each[used] if isinstance(each, np.ndarray) else each
            # As in Histogram.quantile: the whole number is only exceeded through rounding.
            rank = np.maximum(np.ceil(total * (q * (1 - 1e-12))).astype(np.int64), 1)
            at = reached.searchsorted(before + rank)
            inside = self.counts[at]
            share = np.clip((q * total - (reached[at] - inside - before)) / inside, 0.0, 1.0)
            low, high = 1e9 * np.exp2((self.buckets[at] - 1) / width), 1e9 * np.exp2(self.buckets[at] / width)
            low = np.where(at == starts, np.maximum(self.min_ns[used], 1.0), low)
            high = np.where(at == ends - 1, np.maximum(self.max_ns[used], 1.0), high)
            found[used, column] = low * (high / low) ** share
            shares[used, column] = inside / total
        return found, shares

    def downscale(self, to_scale: int) -> Columns:
        """The same calls on a coarser grid, exactly."""
        if to_scale == self.scale:
            return self
        rows = np.repeat(np.arange(len(self.calls)), np.diff(self.ends, prepend=0))
        buckets = -(-self.buckets // (1 << (self.scale - to_scale)))
        buckets, counts, ends = _gather(rows, buckets, self.counts, len(self.calls))
        return replace(self, scale=to_scale, ends=ends, buckets=buckets, counts=counts)


def sparse(lengths: Counts, offsets: Counts, counts: Counts) -> tuple[Rows, Counts, Counts]:
    """The buckets that hold calls, of histograms laid end to end.

    Args:
        lengths: how many of ``counts`` each histogram has; they are of the buckets from ``offsets`` on.

    Returns:
        ``buckets``, ``counts`` and ``ends`` as :class:`Columns` has them.
    """
    used = np.flatnonzero(counts)
    bounds = np.cumsum(lengths)
    ends = used.searchsorted(bounds)
    shifts = np.repeat(offsets - (bounds - lengths), np.diff(ends, prepend=0))
    return (used + shifts).astype(np.int32), counts[used], ends


def totals(counts: Counts, ends: Counts) -> Counts:
    """The sum of each row's entries."""
    return np.diff(np.concatenate([[0], counts.cumsum()])[ends], prepend=0)


def make_columns(
    run: Recording,
    table: Sequence[Function],
    codes: Mapping[int, AbstractSet[str]],
    which: Rows,
    scales: Counts,
    sums: Floats,
    entries: tuple[Rows, Counts, Counts],
) -> Columns:
    """Columns from histograms, of which some may be of one function, or on another grid than the others.

    Functions that occur twice (code that was compiled twice) are added up; all is made as coarse as the coarsest.

    Args:
        run: its ``functions`` are dropped.
        codes: as :class:`Columns` has them.
        sums: of each histogram sum, minimum, maximum, and what ``error_ns``, ``unsure_ns`` and ``delayed`` of
            :class:`Columns` are; shape (6, histograms).
        entries: of :func:`sparse`.

    Raises:
        RecordingError: more than ``MAX_CALLS`` calls in all.
    """
    buckets, counts, ends = entries
    if counts.sum(dtype=np.float64) >= MAX_CALLS:
        raise RecordingError("a run of more calls than can be added up", "give a file that pylat wrote with -o")
    sum_ns, min_ns, max_ns, error_ns, unsure_ns, delayed = sums
    scale = int(scales.min()) if len(scales) else 0
    names, into = np.unique(which, return_inverse=True)
    if len(names) < len(which) or (len(scales) and scales.max() > scale):
        rows = np.repeat(np.arange(len(which)), np.diff(ends, prepend=0))
        # A histogram of no calls has no extremes, and must not lend its zeros.
        least = np.where(totals(counts, ends) > 0, min_ns, np.inf)
        buckets, counts, ends = _gather(into[rows], -(-buckets // (1 << (scales - scale))[rows]), counts, len(names))
        added = (sum_ns, error_ns, unsure_ns, delayed)
        sum_ns, error_ns, unsure_ns, delayed = (np.bincount(into, each, minlength=len(names)) for each in added)
        min_ns, max_ns = np.full(len(names), np.inf), np.zeros(len(names))
        np.minimum.at(min_ns, into, least)
        np.maximum.at(max_ns, into, sums[2])
        min_ns[np.isinf(min_ns)] = 0.0
        which = names
    bare = replace(run, functions=())
    calls = totals(counts, ends)
    probed = error_ns, unsure_ns, delayed
    return Columns(bare, table, codes, which, calls, sum_ns, min_ns, max_ns, *probed, scale, ends, buckets, counts)


class Tabulator:
    """Makes columns of recordings that share one table of functions."""

    def __init__(self) -> None:
        self._table: list[Function] = []
        self._known: dict[Function, int] = {}
        self._codes: dict[int, set[str]] = {}

    def index(self, function: Function, code: str) -> int:
        """Where the function stands in the table."""
        at = self._known.setdefault(function, len(self._table))
        if at == len(self._table):
            self._table.append(function)
        if code:
            self._codes.setdefault(at, set()).add(code)
        return at

    def columns(self, run: Recording) -> Columns:
        """A live or loaded recording as columns.

        Raises:
            RecordingError: more than ``MAX_CALLS`` calls in it.
        """
        walls = [each.wall for each in run.functions]
        entries = sparse(
            np.array([len(wall.counts) for wall in walls], np.int64),
            np.array([wall.offset for wall in walls], np.int64),
            np.concatenate([np.zeros(0, np.int64), *(wall.counts for wall in walls)]),
        )
        return make_columns(
            run,
            self._table,
            self._codes,
            np.array([self.index(each.function, each.code) for each in run.functions], np.int32),
            np.array([wall.scale for wall in walls], np.int64),
            np.array([_sums(each) for each in run.functions], np.float64).reshape(-1, 6).T,
            entries,
        )


def _sums(latency: FunctionLatency) -> tuple[float, ...]:
    wall, probes = latency.wall, latency.probes
    of_probes = (
        probed(latency.calls, probes.sum_ns, probes.error_share, probes.unsure_ns, probes.delayed_share)
        if probes
        else NOT_PROBED
    )
    return wall.sum_ns, wall.min_ns, wall.max_ns, *of_probes


NOT_PROBED = (nan, 0.0, 0.0)


def probed(
    calls: int, sum_ns: int, error_share: float, unsure_ns: int, delayed_share: float
) -> tuple[float, float, float]:
    """``error_ns``, ``unsure_ns`` and ``delayed`` of one histogram, from its ``Probes``."""
    return sum_ns * error_share, float(unsure_ns), delayed_share * calls


def _gather(rows: Counts, buckets: NDArray[np.integer], counts: Counts, size: int) -> tuple[Rows, Counts, Counts]:
    """Entries in order, those of the same row and bucket added up; and where each row's end."""
    keys, place = np.unique(rows * (1 << 32) + (buckets - _MIN_BUCKET), return_inverse=True)
    # By add.at and not bincount, whose floats round counts above 2^53.
    total = np.zeros(len(keys), np.int64)
    np.add.at(total, place, counts)
    ends = np.bincount(keys >> 32, minlength=size).cumsum()
    return ((keys & 0xFFFFFFFF) + _MIN_BUCKET).astype(np.int32), total, ends
