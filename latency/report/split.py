"""Where the time of calls went: on a CPU or off it, in garbage collections, suspended; and in a function itself."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from latency.recording import PARTS, FunctionLatency, percentile_name
from latency.report.layout import Line, table, wrap
from latency.report.summary import by_time, place
from latency.report.units import duration, percent, plural

NAMES = {
    "running": "running",
    "waiting": "waiting",
    "runnable": "for a CPU",
    "gc": "gc",
    "suspended": "suspended",
}
"""Of the parts, as they stand in a table."""
NO_GC = "gc: not told apart in this build, which has no marker for it; it is in running"
_RARE = ("gc", "suspended")
"""Said only where there is some."""
AT = (0.5, 0.9, 0.99)
"""The quantiles at which the parts are told."""
_SAID = 0.99
"""The quantile that is put into words."""
_WORDS = {**NAMES, "runnable": "waiting for a CPU", "gc": "collecting garbage"}


def divided(latency: FunctionLatency, unit: str | None, width: int) -> list[Line]:
    """The parts of the calls' time at some percentiles and in all, and the self time; nothing if not asked for."""
    lines: list[Line] = []
    if latency.split is not None and latency.split.calls:
        said = sentence(latency, unit)
        lines += [Line(""), *(wrap(said, width) if said else []), *table(rows_of(latency, unit), width)]
        for doubt in doubts(latency):
            lines += wrap(doubt, width, style="dim" if doubt == NO_GC else "")
    if latency.self_time is not None:
        lines += [Line(""), *(line for said in of_self(latency, unit) for line in wrap(said, width))]
    return lines


def doubts(latency: FunctionLatency) -> list[str]:
    """What is not known of the parts."""
    split = latency.split
    if split is None:
        return []
    said = [] if split.gc_known else [NO_GC]
    if split.calls < latency.calls:
        said.append(f"of {plural(latency.calls - split.calls, 'call')} the parts are not known")
    return said


def table_of_parts(functions: Sequence[FunctionLatency], unit: str | None, width: int, top: int) -> list[Line]:
    """The same of many functions: what all calls of each took, by part; nothing if not asked for."""
    shown = [each for each in by_time(functions) if each.split is not None or each.self_time is not None]
    shown = sorted(shown, key=lambda each: each.self_time.sum_ns if each.self_time else 0, reverse=True)[:top]
    if not shown:
        return []
    parts = parts_of(shown)
    heads = [NAMES[part] for part in parts]
    heads += ["self"] if any(each.self_time is not None for each in shown) else []
    rows = [[*(_total(each, part, unit) for part in parts), *_self_cell(each, unit, heads)] for each in shown]
    wide = [max(map(len, column)) + 2 for column in zip(heads, *rows, strict=True)]
    lines = [Line(""), Line("where the time went, of all calls"), _row(heads, wide, "bold")]
    for each, row in zip(shown, rows, strict=True):
        lines += [place(each, width), _row(row, wide)]
    if any(each.split is not None and not each.split.gc_known for each in shown):
        lines += wrap(NO_GC, width, style="dim")
    return lines


def parts_of(functions: Sequence[FunctionLatency]) -> list[str]:
    """The parts that a table of these has; none if not asked for."""
    splits = [each.split for each in functions if each.split is not None]
    return [part for part in PARTS if splits and (part not in _RARE or any(it.totals_ns[part] for it in splits))]


def _row(cells: Sequence[str], wide: Sequence[int], style: str = "") -> Line:
    return Line("".join(cell.rjust(room) for cell, room in zip(cells, wide, strict=True)), style=style)


def _total(latency: FunctionLatency, part: str, unit: str | None) -> str:
    return "-" if latency.split is None else duration(latency.split.totals_ns[part], unit)


def _self_cell(latency: FunctionLatency, unit: str | None, heads: Sequence[str]) -> list[str]:
    if "self" not in heads:
        return []
    return ["-" if latency.self_time is None else duration(latency.self_time.sum_ns, unit)]


def sentence(latency: FunctionLatency, unit: str | None) -> str:
    """``p99 is 30.2 ms, of which 28.9 ms waiting, 1.1 ms running``: the larger parts first, the negligible ones not;
    ``""`` where the percentile is not known."""
    assert latency.split is not None
    shares = latency.split.shares_at(_SAID, latency.wall)
    value = float(latency.percentiles_ns((_SAID,))[0])
    if not isfinite(value):
        return ""
    said = f"{percentile_name(_SAID)} is {duration(value, unit)}"
    if shares is None:
        return f"{said}, and where it went is not known"
    larger = sorted((part for part in PARTS if shares[part] >= 0.01), key=lambda part: -shares[part])
    return f"{said}, of which " + ", ".join(f"{duration(shares[part] * value, unit)} {_WORDS[part]}" for part in larger)


def rows_of(latency: FunctionLatency, unit: str | None) -> list[list[str]]:
    """A head, and a row for each part of which there is any: at some percentiles, in all, and its share of that."""
    assert latency.split is not None
    split = latency.split
    around = [split.shares_at(q, latency.wall) for q in AT]
    values = latency.percentiles_ns(AT).tolist()
    totals, wall_ns = split.totals_ns, split.wall_ns
    rows = [["", *(f"at {percentile_name(q)}" for q in AT), "total", "share"]]
    for part in PARTS:
        if not totals[part] and part in _RARE:
            continue
        at = [
            float("nan") if shares is None else shares[part] * value
            for shares, value in zip(around, values, strict=True)
        ]
        share = percent(totals[part] / wall_ns) if wall_ns else "-"
        rows.append([NAMES[part], *(duration(ns, unit) for ns in at), duration(totals[part], unit), share])
    return rows


def of_self(latency: FunctionLatency, unit: str | None) -> list[str]:
    """Its own time, outside of other measured calls, in sentences."""
    own = latency.self_time
    assert own is not None
    active_ns = (latency.active or latency.wall).sum_ns
    said = []
    if own.count:
        at = ", ".join(
            f"{percentile_name(q)} {duration(value, unit)}"
            for q, value in zip(AT, own.quantiles(AT).tolist(), strict=True)
        )
        whole = f" = {percent(own.sum_ns / active_ns)}" if active_ns and own.count == latency.calls else ""
        said.append(f"self, outside of other measured calls: total {duration(own.sum_ns, unit)}{whole}, {at}")
    missing = latency.calls - own.count
    if missing:
        why = "greenlets, recursion beyond the table, or callees of whom it was not known yet whether they are wanted"
        said.append(f"of {plural(missing, 'call')} the self time is not known: {why}")
    return said
