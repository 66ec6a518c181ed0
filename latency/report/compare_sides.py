"""The runs of one side of a comparison as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latency.errors import RecordingError
from latency.histogram import Floats, Histogram
from latency.recording import Function, Recording
from latency.recording.columns import Columns, Tabulator


@dataclass(frozen=True, eq=False)
class Side:
    """One side.

    Attributes:
        runs: all on one grid.
        scales: those that the runs had before that.
        functions: every function of any run, each once.
        codes: the digest of the code of each; ``""`` where it is not known, or the runs do not agree.
        rows: shape (runs, functions): the row of a function in a run, or -1.
    """

    runs: tuple[Columns, ...]
    scales: frozenset[int]
    functions: tuple[Function, ...]
    codes: tuple[str, ...]
    rows: NDArray[np.int32]

    def values_ns(self, statistics: Sequence[float | None]) -> tuple[Floats, Floats]:
        """Statistics of every function in every run.

        Args:
            statistics: quantiles, 0 .. 1, or None for the mean.

        Returns:
            Nanoseconds, shape (runs, functions, statistics), nan without calls; and of the same shape the share of
            the calls that are in the quantile's bucket, 0 for a mean, which does not depend on the grid.
        """
        values, shares = np.full((2, *self.rows.shape, len(statistics)), np.nan)
        qs = [q for q in statistics if q is not None]
        is_mean = np.array([q is None for q in statistics], bool)
        for run, rows, value, share in zip(self.runs, self.rows, values, shares, strict=True):
            there = np.flatnonzero(rows >= 0)
            quantiles, inside = run.quantiles(qs)
            value[np.ix_(there, ~is_mean)], share[np.ix_(there, ~is_mean)] = quantiles[rows[there]], inside[rows[there]]
            value[np.ix_(there, is_mean)], share[np.ix_(there, is_mean)] = run.mean_ns[rows[there], None], 0.0
        # A call of no time at all has no logarithm; the clock has nanoseconds.
        return np.maximum(values, 1.0), shares

    def probe_errors_ns(self, statistics: Sequence[float | None]) -> tuple[Floats, Floats]:
        """By how much statistics may be too high, and too low, for what the probes took: nanoseconds, each of shape
        (runs, functions, statistics); 0 without calls, and where nothing was taken off."""
        too_high, too_low = np.zeros((2, *self.rows.shape, len(statistics)))
        for run, rows, high, low in zip(self.runs, self.rows, too_high, too_low, strict=True):
            there = rows >= 0
            high[there], low[there] = (each[rows[there]] for each in run.probe_errors_ns(statistics))
        return too_high, too_low

    def calls(self) -> NDArray[np.int64]:
        """Calls of each function in each run, shape (runs, functions)."""
        found = np.zeros(self.rows.shape, np.int64)
        for run, rows, calls in zip(self.runs, self.rows, found, strict=True):
            there = rows >= 0
            calls[there] = run.calls[rows[there]]
        return found

    def histograms(self, function: int) -> list[Histogram]:
        """The calls of one function in each run that has any."""
        found = (run.histogram(row) for run, row in zip(self.runs, self.rows[:, function], strict=True) if row >= 0)
        return [each for each in found if len(each.counts)]


def side_of(runs: Sequence[Recording | Columns], name: str) -> Side:
    """Runs, from one file or from many, as a side.

    Raises:
        RecordingError: there are none, or one twice.
    """
    if not runs:
        raise RecordingError(f"no runs in {name}", "record some with pylat run -o FILE --append")
    tabulator = Tabulator()
    columns = [run if isinstance(run, Columns) else tabulator.columns(run) for run in runs]
    if len({each.run.id for each in columns}) < len(columns):
        raise RecordingError(f"a run is twice in {name}", "name each file once")
    # The runs of a file share a table, so that each function is looked up once and not once a run.
    places: dict[int, NDArray[np.int64]] = {}
    known: dict[Function, int] = {}
    codes: dict[int, set[str]] = {}
    for each in columns:
        if id(each.table) not in places:
            indices = (known.setdefault(function, len(known)) for function in each.table)
            places[id(each.table)] = np.fromiter(indices, np.int64, len(each.table))
            for index, of_function in each.codes.items():
                codes.setdefault(known[each.table[index]], set()).update(of_function)
    rows = np.full((len(columns), len(known)), -1, np.int32)
    for each, row in zip(columns, rows, strict=True):
        row[places[id(each.table)][each.which]] = np.arange(len(each.which))
    scales = frozenset(each.scale for each in columns)
    sure = (codes.get(index, set()) for index in range(len(known)))
    return Side(tuple(columns), scales, tuple(known), tuple(it.pop() if len(it) == 1 else "" for it in sure), rows)


def on_one_grid(*sides: Side) -> tuple[Side, ...]:
    """The same with every run as coarse as the coarsest, which is exact."""
    scale = min(scale for side in sides for scale in side.scales)
    return tuple(
        Side(tuple(run.downscale(scale) for run in side.runs), side.scales, side.functions, side.codes, side.rows)
        for side in sides
    )
