"""Pictures in a terminal: percentiles over time in braille, and a heat map of latency over time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latency.histogram import Floats, Histogram
from latency.live.ledger import Moment
from latency.report.layout import Line
from latency.report.units import duration

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of a braille cell: (left, right), from above
_BRAILLE = 0x2800
_SHADES = " ░▒▓█"
_HEAT = ("", "blue", "cyan", "yellow", "red")
_LABEL = 9
LINES = {"p50": (0.5, "green"), "p99": (0.99, "yellow")}
"""The percentiles over time, with their colours."""


def joined(moments: Sequence[Moment], columns: int) -> list[Histogram]:
    """At most so many histograms of equal numbers of intervals, the newest last."""
    if not moments or columns < 1:
        return []
    each = -(-len(moments) // columns)
    first = len(moments) % each
    starts = [0, *range(first, len(moments), each)] if first else list(range(0, len(moments), each))
    ends = [*starts[1:], len(moments)]
    return [
        Histogram.empty().merge(*(it.histogram for it in moments[start:end]))
        for start, end in zip(starts, ends, strict=True)
    ]


def percentiles_over_time(moments: Sequence[Moment], width: int, height: int, unit: str | None) -> list[Line]:
    """A line of dots for each of ``LINES``, on a logarithmic scale; nothing without calls."""
    room = max(width - _LABEL - 1, 4)
    parts = joined(moments, 2 * room)
    qs = [q for q, _ in LINES.values()]
    values = np.array([part.quantiles(qs) for part in parts]).reshape(len(parts), len(qs))
    if not np.isfinite(values).any():
        return []
    low, high = _range(values)
    dots = 4 * height
    levels = np.full(values.shape, -1)
    known = np.isfinite(values)
    levels[known] = np.rint((np.log(values[known]) - np.log(low)) / (np.log(high) - np.log(low)) * (dots - 1))
    canvas, styles = np.zeros((height, room), np.int64), np.full((height, room), "", object)
    for series, (_, style) in enumerate(LINES.values()):
        for at, level in enumerate(levels[:, series].tolist()):
            if level >= 0:
                down, row = divmod(dots - 1 - int(level), 4)
                canvas[down, at // 2] |= _DOTS[row][at % 2]
                styles[down, at // 2] = style
    lines = []
    for down in range(height):
        label = duration(high, unit) if down == 0 else duration(low, unit) if down == height - 1 else ""
        line = Line(f"{label:>{_LABEL}} ", style="dim")
        for cell, style in zip(canvas[down].tolist(), styles[down].tolist(), strict=True):
            line.append(chr(_BRAILLE + cell) if cell else " ", style=style or None)
        lines.append(line)
    return lines


def heat_map(moments: Sequence[Moment], width: int, unit: str | None) -> list[Line]:
    """A row for each power of two of seconds, the longest first: the darker, the more of that time's calls."""
    room = max(width - _LABEL - 1, 4)
    parts = [part.log2() for part in joined(moments, room)]
    used = [part for part in parts if len(part.counts)]
    if not used:
        return []
    first = min(part.offset for part in used)
    size = max(part.offset + len(part.counts) for part in used) - first
    shares = np.zeros((size, len(parts)))
    for at, part in enumerate(parts):
        if len(part.counts):
            shares[part.offset - first :][: len(part.counts), at] = part.counts / part.counts.max()
    lines = []
    for row in reversed(range(size)):
        line = Line(f"{duration(used[0].bounds_ns(first + row)[1], unit):>{_LABEL}} ", style="dim")
        for share in shares[row].tolist():
            shade = max(round(share * (len(_SHADES) - 1)), 1) if share > 0 else 0
            line.append(_SHADES[shade], style=_HEAT[shade] or None)
        lines.append(line)
    return lines


def _range(values: Floats) -> tuple[float, float]:
    """The least and the most, not too near to each other."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    middle = (low * high) ** 0.5
    return (low, high) if high > 1.5 * low else (middle / 1.25, middle * 1.25)
