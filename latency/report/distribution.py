"""The latencies of one function: percentiles with error bars, and the log2 histogram."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import numpy as np

from latency.histogram import Histogram
from latency.recording import PERCENTILES, FunctionLatency, percentile_name
from latency.report.layout import Line, table
from latency.report.units import bar, count, duration, error, estimate

MARKED = (0.5, 0.9, 0.99)
"""Quantiles named beside their row of the histogram."""


def percentiles(histogram: Histogram, unit: str | None, width: int) -> list[Line]:
    """Percentiles and the maximum."""
    return table(rows_of(histogram, unit), width)


def percentiles_with_errors(latency: FunctionLatency, unit: str | None, width: int) -> list[Line]:
    """The same of ``wall``, with error bars where the measurement knows them."""
    return table(rows_with_errors(latency, unit), width)


def rows_of(histogram: Histogram, unit: str | None) -> list[list[str]]:
    """The cells of :func:`percentiles`: heads, values."""
    return [percentile_heads(), _values(histogram, unit)]


def rows_with_errors(
    latency: FunctionLatency, unit: str | None, intervals: Sequence[tuple[float, float] | None] | None = None
) -> list[list[str]]:
    """The cells of :func:`percentiles_with_errors`: heads, values, and errors where they are known.

    Args:
        intervals: its ``intervals_ns()``, where that is at hand.
    """
    error_ns = latency.probe_error_ns
    values = _values(latency.wall, unit, error_ns) if latency.ages is None else _values_of_cut(latency, unit)
    rows = [percentile_heads(), values]
    intervals = latency.intervals_ns() if intervals is None else intervals
    if any(intervals):
        known_ns = latency.percentiles_ns()
        longest_ns = float(latency.wall.max_ns)
        of_longest = error(longest_ns, (longest_ns - error_ns, longest_ns + error_ns)) if error_ns else "exact"
        rows.append([*map(error, known_ns.tolist(), intervals), of_longest])
    return rows


def percentile_heads() -> list[str]:
    """``p50`` … ``max``: what stands above percentiles."""
    return [*map(percentile_name, PERCENTILES), "max"]


def _values(histogram: Histogram, unit: str | None, error_ns: float = 0.0) -> list[str]:
    longest = histogram.max_ns if len(histogram.counts) else float("nan")
    values = (*histogram.quantiles(PERCENTILES).tolist(), longest)
    return [estimate(value, nan, unit, error_ns) for value in values]


def _values_of_cut(latency: FunctionLatency, unit: str | None) -> list[str]:
    """Where calls were cut: the estimates, and what a percentile is at least."""
    longest = float(latency.wall.max_ns) if latency.ages is None or not latency.ages.count else nan
    values = [*latency.percentiles_ns().tolist(), longest]
    least = [*latency.at_least_ns().tolist(), latency.longest_ns]
    return [estimate(*pair, unit, latency.probe_error_ns) for pair in zip(values, least, strict=True)]


def log2_rows(histogram: Histogram, unit: str | None, width: int) -> list[Line]:
    """One row for each power of two of seconds from the shortest call to the longest; none without calls."""
    coarse = histogram.log2()
    if not len(coarse.counts):
        return []
    bounds = [coarse.bounds_ns(coarse.offset + index) for index in range(len(coarse.counts))]
    # The first and the last counter have one end only: there the exact extremes say more than the grid.
    bounds[0] = (min(bounds[0][0], float(histogram.min_ns)), bounds[0][1])
    bounds[-1] = (bounds[-1][0], max(bounds[-1][1], float(histogram.max_ns)))
    total, most = coarse.count, int(coarse.counts.max())
    reached = np.cumsum(coarse.counts)
    cells = [
        (duration(low, unit), duration(high, unit), count(int(calls)), f"{100 * calls / total:.2f}", f"{share:.2f}")
        for (low, high), calls, share in zip(bounds, coarse.counts, 100 * reached / total, strict=True)
    ]
    wide = [max(map(len, column)) for column in zip(*cells, ("", "", "calls", "%", "cum %"), strict=True)]
    marks = _marks(histogram, [high for _, high in bounds])
    prefixes = [
        f" {low:>{wide[0]}} - {high:>{wide[1]}} {calls:>{wide[2] + 2}} {share:>{wide[3] + 1}} {sum_:>{wide[4] + 1}}  "
        for low, high, calls, share, sum_ in cells
    ]
    room = max(width - len(prefixes[0]) - max(map(len, marks)) - 1, 4)
    span = wide[0] + wide[1] + 4
    head = f"{'latency':^{span}} {'calls':>{wide[2] + 2}} {'%':>{wide[3] + 1}} {'cum %':>{wide[4] + 1}}  distribution"
    lines = [Line(head, style="bold")]
    for prefix, calls, mark in zip(prefixes, coarse.counts, marks, strict=True):
        line = Line(prefix)
        line.append(bar(int(calls) / most, room).ljust(room if any(marks) else 0), style="cyan")
        lines.append(line.append(f" {mark}", style="bold"))
    return lines


def _marks(histogram: Histogram, highs: list[float]) -> list[str]:
    """For each row the percentiles that lie in it: ``p50 p90``."""
    marks = [""] * len(highs)
    for q, value in zip(MARKED, histogram.quantiles(MARKED).tolist(), strict=True):
        # A quantile on the bound of two rows belongs to the lower one, whatever rounding says.
        at = min(int(np.searchsorted(highs, value * (1 - 1e-9))), len(highs) - 1)
        marks[at] = f"{marks[at]} {percentile_name(q)}".strip()
    return marks
