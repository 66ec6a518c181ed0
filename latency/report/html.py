"""A recording as one small HTML file without a script: the report, and for the busiest functions a latency heat map."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator

import numpy as np

from latency.histogram import Counts
from latency.recording import FunctionLatency, Recording
from latency.recording.parts import Parts
from latency.report.names import escape
from latency.report.summary import by_time
from latency.report.text import render
from latency.report.units import duration

MAPS = 5
"""Functions that get a heat map, those with the most time first."""
_PER_OCTAVE = 4  # rows that make one power of two, unless the grid is coarser
_WIDTH, _ROW = 600, 9
_LEFT, _TOP, _BOTTOM = 64, 6, 24
_NAME_LENGTH = 120

_STYLE = """
:root{--ink:#1c1c1c;--soft:#767676;--line:#d9d9d9;--back:#fff;--heat:#c40}
@media(prefers-color-scheme:dark){:root{--ink:#e8e8e8;--soft:#9a9a9a;--line:#444;--back:#161616;--heat:#fb7}}
body{font:14px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:900px;margin:2em auto;
padding:0 1em}
pre{font:13px/1.35 ui-monospace,monospace;overflow-x:auto}figure{margin:1.5em 0}figcaption{color:var(--soft)}
svg text{font-size:11px;fill:var(--soft)}svg rect{fill:var(--heat)}svg path{stroke:var(--line)}
"""


def render_html(recordings: Iterable[Recording], *, unit: str | None = None, top: int = 20, full: bool = False) -> str:
    """One self-contained page of these runs.

    Args:
        recordings: live, or from a file; their text is not trusted.
        unit, top, full: as for ``text.render``.
    """
    body = []
    for recording in recordings:
        body.append(f"<pre>{html.escape(render(recording, unit=unit, top=top, full=full, width=100))}</pre>")
        busiest = [each for each in by_time(recording.functions) if len(each.slices) > 1 and each.calls]
        body += [_figure(each, recording.duration_s) for each in busiest[:MAPS]]
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>pylat</title><style>{_STYLE}</style>'
    return head + "\n".join(body) + "\n"


def _figure(latency: FunctionLatency, duration_s: float) -> str:
    name = html.escape(escape(latency.function.qualname, _NAME_LENGTH))
    first, cells, per_octave = heat(latency)
    height = _TOP + _ROW * cells.shape[0] + _BOTTOM
    drawing = "".join(_drawing(first, cells, per_octave, duration_s))
    label = f"latency of {name} over the time of the measurement; the darker, the more calls"
    return (
        f'<figure><svg viewBox="0 0 {_LEFT + _WIDTH} {height}" width="{_LEFT + _WIDTH}" role="img" '
        f'aria-label="{label}">{drawing}</svg><figcaption>{label}</figcaption></figure>'
    )


def heat(latency: FunctionLatency) -> tuple[int, Counts, int]:
    """How many calls of each part of the measurement took how long.

    Returns:
        (the first row, the calls: shape (rows, parts), n): row r covers (2^((r-1)/n), 2^(r/n)] seconds.
    """
    parts = latency.slices if isinstance(latency.slices, Parts) else Parts.of(latency.slices, latency.wall)
    matrix, wall = parts.matrix, latency.wall
    per_octave = min(_PER_OCTAVE, 1 << wall.scale)
    rows = -(-np.arange(wall.offset, wall.offset + matrix.shape[1]) // ((1 << wall.scale) // per_octave))
    found = np.zeros((int(rows[-1] - rows[0]) + 1, matrix.shape[0]), np.int64)
    np.add.at(found, rows - rows[0], matrix.T)
    return int(rows[0]), found, per_octave


def _drawing(first: int, cells: Counts, per_octave: int, duration_s: float) -> Iterator[str]:
    rows, parts = cells.shape
    wide = _WIDTH / parts
    # Each column for itself would hide how busy it was; the square root shows the few beside the many.
    shades = np.sqrt(cells / max(int(cells.max()), 1))
    for row, part in zip(*np.nonzero(cells), strict=True):
        left, down = _LEFT + part * wide, _TOP + (rows - 1 - row) * _ROW
        yield (
            f'<rect x="{left:.1f}" y="{down}" width="{wide:.1f}" height="{_ROW}" '
            f'fill-opacity="{max(shades[row, part], 0.06):.2f}"><title>{cells[row, part]:,}</title></rect>'
        )
    for row in range(rows):
        if (first + row) % per_octave == 0:
            down = _TOP + (rows - 1 - row) * _ROW
            value_ns = 1e9 * 2.0 ** ((first + row) / per_octave)
            yield f'<path d="M{_LEFT} {down}H{_LEFT + _WIDTH}" stroke-width=".5"/>'
            yield f'<text x="{_LEFT - 6}" y="{down + 4}" text-anchor="end">{html.escape(duration(value_ns))}</text>'
    down = _TOP + rows * _ROW + 16
    for share in (0.0, 0.5, 1.0):
        anchor = {0.0: "start", 0.5: "middle", 1.0: "end"}[share]
        right, at_s = _LEFT + share * _WIDTH, share * duration_s
        yield f'<text x="{right:.0f}" y="{down}" text-anchor="{anchor}">{at_s:.3g} s</text>'
