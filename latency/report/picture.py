"""A comparison as one small HTML file with pictures and no script: distributions, and how much each quantile moved."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, log, log2, log10

import numpy as np

from latency.histogram import Floats, Histogram
from latency.report.compare import Compared, Comparison
from latency.report.compare_text import interval, judged_by, outcome, remarks, shift, verdicts
from latency.report.names import escape
from latency.report.statistics import welch
from latency.report.units import duration, plural

QUANTILES = (0.01, 0.025, *(round(0.05 * step, 2) for step in range(1, 20)), 0.975, 0.99)
_WIDTH, _HEIGHT = 420, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 18, 12, 34

_STYLE = """
:root{--ink:#1c1c1c;--soft:#767676;--line:#d9d9d9;--back:#fff;--base:#3366cc;--head:#cc5500}
@media(prefers-color-scheme:dark){:root{--ink:#e8e8e8;--soft:#9a9a9a;--line:#444;--back:#161616;--base:#7aa2f7;
--head:#ff9e64}}
body{font:14px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:900px;margin:2em auto;
padding:0 1em}
h2{font-size:1.05em;margin:2em 0 .3em;overflow-wrap:anywhere}h2 small{color:var(--soft);font-weight:400}
table{border-collapse:collapse}td,th{padding:.1em .9em .1em 0;text-align:right}
td:last-child,th:last-child{text-align:left}
figure{display:inline-block;margin:.5em 0}figcaption{color:var(--soft)}
svg text{font-size:11px;fill:var(--soft)}svg .grid{stroke:var(--line)}svg .zero{stroke:var(--soft)}
svg .base,svg .head{fill:none;stroke-width:1.8}svg .base{stroke:var(--base)}svg .head{stroke:var(--head)}
svg .band{fill:var(--head);opacity:.2}svg .limit{stroke:var(--soft);stroke-dasharray:4 3}
.key-base{color:var(--base)}.key-head{color:var(--head)}
"""


def render_html(comparison: Comparison, *, top: int = 6) -> str:
    """One self-contained file.

    Args:
        top: how many functions are drawn, those that most need it first.
    """
    body = [
        f"<h1>pylat: {html.escape(verdicts(comparison))}</h1>",
        f"<p><b class=key-base>base</b> {plural(len(comparison.base.runs), 'run')}, "
        f"<b class=key-head>head</b> {plural(len(comparison.head.runs), 'run')}; {_text(judged_by(comparison))}</p>",
    ]
    for each in comparison.functions[:top]:
        body += _function(comparison, each)
    if len(comparison.functions) > top:
        body.append(f"<p>… and {plural(len(comparison.functions) - top, 'function')} more</p>")
    marks = "".join(f"<li>{_text(mark)}</li>" for mark in remarks(comparison))
    if marks:
        body.append(f"<ul>{marks}</ul>")
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>pylat compare</title><style>{_STYLE}</style>'
    return head + "\n".join(body) + "\n"


def _text(value: str, limit: int = 400) -> str:
    return html.escape(escape(value, limit))


def _function(comparison: Comparison, each: Compared) -> Iterator[str]:
    place = f"{_text(each.function.source, 120)}:{each.function.line}"
    yield f"<h2><code>{_text(each.function.qualname, 120)}</code> <small>{place}</small></h2>"
    yield "<table><tr><th><th>base<th>head<th>change<th>95 % of it<th>verdict"
    for change in each.changes:
        cells = (change.statistic, duration(change.base_ns), duration(change.head_ns), shift(change.shift))
        yield "<tr>" + "".join(
            f"<td>{html.escape(cell)}" for cell in (*cells, interval(change.interval), outcome(change))
        )
    yield "</table>"
    base, head = (side.histograms(at) for side, at in zip((comparison.base, comparison.head), each.index, strict=True))
    yield _figure("share of calls that took at most so long, all runs together", _distributions(base, head))
    limits = {gate.ratio for change in each.changes if (gate := change.gate) and gate.ratio is not None}
    yield _figure("how much each quantile moved, with its 95 % interval between runs", _shifts(base, head, limits))


def _figure(caption: str, parts: Iterator[str]) -> str:
    box = f"0 0 {_WIDTH} {_HEIGHT}"
    label = html.escape(caption)
    drawing = f'<svg viewBox="{box}" width="{_WIDTH}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    return f"<figure>{drawing}<figcaption>{label}</figcaption></figure>"


@dataclass(frozen=True)
class _Axes:
    """From what is drawn to where: x and y each from their least to their most."""

    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        right = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return _LEFT + right * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    def path(self, xs: Sequence[float], ys: Sequence[float]) -> str:
        points = (self.at(x, y) for x, y in zip(xs, ys, strict=True))
        return "M" + "L".join(f"{right:.1f} {down:.1f}" for right, down in points)

    def across(self, y: float, name: str, style: str = "grid") -> str:
        right, down = self.at(self.x[0], y)
        line = f'<path class="{style}" d="M{right:.1f} {down:.1f}H{_WIDTH - _RIGHT}"/>'
        return f'{line}<text x="{right - 6:.1f}" y="{down + 4:.1f}" text-anchor="end">{html.escape(name)}</text>'

    def upright(self, x: float, name: str) -> str:
        right, down = self.at(x, self.y[0])
        line = f'<path class="grid" d="M{right:.1f} {down:.1f}V{_TOP}"/>'
        return f'{line}<text x="{right:.1f}" y="{down + 16:.1f}" text-anchor="middle">{html.escape(name)}</text>'


def _distributions(base: Sequence[Histogram], head: Sequence[Histogram]) -> Iterator[str]:
    pooled = [runs[0].merge(*runs[1:]) for runs in (base, head)]
    # Beyond the last thousandth the curve is flat, and the longest call would squeeze the rest.
    low = min(max(part.quantile(0.0005), 1.0) for part in pooled)
    high = max(part.quantile(0.999) for part in pooled)
    axes = _Axes((log(low), log(max(high, low * 1.05))), (0.0, 1.0))
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        yield axes.across(share, f"{100 * share:.0f} %")
    for tick in _ticks(low, max(high, low * 1.05)):
        yield axes.upright(log(tick), duration(tick))
    places = np.exp(np.linspace(*axes.x, 80))
    for part, style in zip(pooled, ("base", "head"), strict=True):
        shares = [part.rank_below(value) for value in places.tolist()]
        yield f'<path class="{style}" d="{axes.path(np.log(places).tolist(), shares)}"/>'


def _ticks(low: float, high: float) -> list[float]:
    """Round durations in between, at most about six."""
    decades = log10(high / low)
    steps = (1.0,) if decades > 3 else (1.0, 3.0) if decades > 1.5 else (1.0, 2.0, 5.0)
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    found = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
    return found[:: -(-len(found) // 6) or 1] if len(found) > 1 else [low, high]


def _shifts(base: Sequence[Histogram], head: Sequence[Histogram], limits: set[float]) -> Iterator[str]:
    tables = [np.array([run.quantiles(QUANTILES) for run in runs]) for runs in (base, head)]
    test = welch(*(np.maximum(table, 1.0) for table in tables))
    half = np.where(np.isnan(test.half), 0.0, test.half)
    low, high = test.shift - half, test.shift + half
    reach = 1.15 * max(float(np.abs(test.shift).max()), min(float(np.abs([low, high]).max()), log(4)), log(1.05))
    axes = _Axes((0.0, 1.0), (-reach, reach))
    for tick in _even_ticks(reach):
        yield axes.across(log(1 + tick), f"{100 * tick:+.3g} %" if tick else "0", "grid" if tick else "zero")
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        yield axes.upright(share, f"p{100 * share:.0f}")
    for limit in sorted(limits):
        for edge in (log(1 + limit), -log(1 + limit)):
            if abs(edge) < reach:
                (left, down), (right, _) = axes.at(0.0, edge), axes.at(1.0, edge)
                yield f'<path class="limit" d="M{left:.1f} {down:.1f}H{right:.1f}"/>'
    if half.any():
        around = axes.path([*QUANTILES, *QUANTILES[::-1]], _within([*high, *low[::-1]], reach))
        yield f'<path class="band" d="{around}Z"/>'
    yield f'<path class="head" d="{axes.path(QUANTILES, _within(test.shift, reach))}"/>'


def _within(values: Sequence[float] | Floats, reach: float) -> list[float]:
    return [min(max(float(value), -reach), reach) for value in values]


def _even_ticks(reach: float) -> list[float]:
    """Round changes, as shares, from -reach to reach in logarithms; always 0."""
    up = float(np.expm1(reach))
    step = 10.0 ** floor(log10(up))
    step = step / 2 if up / step < 2 else step * (1 if up / step < 4 else 2)
    ticks = [step * index for index in range(-10, 11)]
    return [tick for tick in ticks if tick > -1 and abs(log2(1 + tick)) * log(2) <= reach]
