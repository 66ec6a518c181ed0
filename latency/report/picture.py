"""A comparison as one HTML page: what was judged, and of each function its distributions and how much each quantile
moved."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np

from latency.histogram import Floats
from latency.report.compare import ORDER, Change, Compared, Comparison
from latency.report.compare_text import interval, judged_by, outcome, remarks, render_text, shift, verdicts
from latency.report.names import escape
from latency.report.page import assemble
from latency.report.statistics import Verdict, welch
from latency.report.units import count, duration, plural

QUANTILES = (0.01, 0.025, *(round(0.05 * step, 2) for step in range(1, 20)), 0.975, 0.99)
MOST_DRAWN = 500
"""Functions that are drawn; a page of more would be large, and slow to make."""
# Beyond the last thousandth the curve is flat, and the longest call would squeeze the rest.
_SHARES = (0.0005, *(round(0.02 * step, 2) for step in range(1, 50)), 0.99, 0.995, 0.999)
_HEADS = ("statistic", "base", "head", "change", "95 % of it", "verdict")
_STYLES = {Verdict.SLOWER: "red", Verdict.INCONCLUSIVE: "yellow", Verdict.FASTER: "green"}
_NAME, _PATH, _LINE = 160, 240, 400
_LARGEST = 700.0  # logarithm of about the largest float


def render_html(comparison: Comparison, *, top: int = 20) -> str:
    """One self-contained page, with all functions that both sides have.

    Args:
        comparison: its names are not trusted.
        top: functions that are shown where no script runs.
    """
    functions = comparison.functions
    base, head = (len(side.runs) for side in (comparison.base, comparison.head))
    more = len(functions) - MOST_DRAWN
    shown = {
        "kind": "compare",
        "verdicts": verdicts(comparison),
        "head": [f"base {plural(base, 'run')}", f"head {plural(head, 'run')}", escape(judged_by(comparison), _LINE)],
        "said": [[escape(mark, _LINE), "yellow" if mark.startswith("warning") else ""] for mark in remarks(comparison)],
        "heads": _HEADS,
        "quantiles": QUANTILES,
        "shares": _SHARES,
        "note": f"without pictures: the last {count(more)}" if more > 0 else "",
        "functions": [_function(each) for each in functions],
    }
    details = [_detail(comparison, each, drawn=at < MOST_DRAWN) for at, each in enumerate(functions)]
    title = f"pylat compare: {verdicts(comparison)}"
    return assemble(title, shown, details, render_text(comparison, width=100, top=top))


def _function(each: Compared) -> dict[str, Any]:
    number = f":{each.function.line}" if each.function.line else ""  # markers have none
    worst = min(each.changes, key=lambda change: (ORDER[change.verdict], -abs(change.shift)))
    return {
        "name": escape(each.function.qualname, _NAME),
        "where": escape(each.function.source, _PATH) + number,
        "cells": _cells(worst),
        "keys": _keys(worst),
        "style": _STYLES.get(each.verdict, ""),
    }


def _detail(comparison: Comparison, each: Compared, *, drawn: bool) -> dict[str, Any]:
    """What is shown of a function that is unfolded: of numbers, and of no text from a target."""
    limits = {gate.ratio for change in each.changes if (gate := change.gate) and gate.ratio is not None}
    found: dict[str, Any] = {"rows": list(map(_cells, each.changes)), "limits": sorted(limits)}
    return found | {"curves": _curves(comparison, each)} if drawn else found


def _cells(change: Change) -> list[str]:
    values = duration(change.base_ns), duration(change.head_ns), shift(change.shift)
    return [change.statistic, *values, interval(change.interval), outcome(change)]


def _keys(change: Change) -> list[float | str | None]:
    """What the columns are sorted by; the verdicts from the worst on."""
    low = change.interval[0] if change.interval else float("nan")
    values = [_rounded(value) for value in (change.base_ns, change.head_ns, change.shift, low)]
    return [change.statistic, *values, -ORDER[change.verdict]]


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if isfinite(value) else None


def _curves(comparison: Comparison, each: Compared) -> dict[str, list[float]]:
    """What the pictures are drawn from: the durations at ``_SHARES`` of all calls of base and of head; and of each of
    ``QUANTILES`` by how much its logarithm moved, and half of the interval of that between runs."""
    base, head = (side.histograms(at) for side, at in zip((comparison.base, comparison.head), each.index, strict=True))
    pooled = [runs[0].merge(*runs[1:]).quantiles(_SHARES) for runs in (base, head)]
    tables = [np.array([run.quantiles(QUANTILES) for run in runs]) for runs in (base, head)]
    test = welch(*(np.maximum(table, 1.0) for table in tables))
    half = np.nan_to_num(test.half, nan=0.0, posinf=_LARGEST)
    of_base, of_head = (_short(np.maximum(curve, 1.0)) for curve in pooled)
    return {"base": of_base, "head": of_head, "shift": _short(test.shift), "half": _short(half)}


def _short(values: Floats) -> list[float]:
    return [float(f"{value:.4g}") for value in values.tolist()]
