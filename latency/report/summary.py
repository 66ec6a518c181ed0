"""Many functions in one table, the busiest first."""

from __future__ import annotations

from collections.abc import Sequence

from latency.recording import FunctionLatency
from latency.report.layout import Line, wrap
from latency.report.names import escape
from latency.report.units import count, duration, estimate, plural

HEADS = ("calls", "raised", "mean", "p50", "p90", "p99", "max", "total")
_OWNERS = 3
_SHOWN = (0.5, 0.9, 0.99)


def busy_ns(latency: FunctionLatency) -> int:
    """Time inside the function, what it called included; of a generator or coroutine without its waits."""
    return (latency.active or latency.wall).sum_ns


def by_time(functions: Sequence[FunctionLatency]) -> list[FunctionLatency]:
    """The busiest first; then those with most calls, then by name."""
    return sorted(functions, key=lambda each: (-busy_ns(each), -each.calls, each.function.qualname))


def place(latency: FunctionLatency, width: int) -> Line:
    """``handle_request  app/views.py:88``, both parts in at most width cells, the end of a path kept."""
    function = latency.function
    kind = "" if function.kind == "function" else function.kind.replace("_", " ") + " "
    is_marker = function.kind in ("marker", "event")  # its name can be two names, and it has no line
    name = escape(function.qualname, max(width * (3 if is_marker else 2) // 4 - len(kind), 8))
    line = Line(kind, style="").append(name, style="bold cyan")
    number = f":{function.line}" if function.line or not is_marker else ""
    where = escape(function.source, max(width - line.cell_len - 2 - len(number), 8))
    return line.append(f"  {where}{number}", style="dim")


def shared(latency: FunctionLatency) -> str:
    """``shared by 3 functions, whose calls nothing tells apart: Api.get, …``; ``""`` where it is one's alone."""
    owners = latency.owners
    if owners is None:
        return ""
    names = ", ".join(escape(name, 40) for name in owners.names[:_OWNERS])
    more = ", …" if owners.count > min(len(owners.names), _OWNERS) else ""
    return f"shared by {plural(owners.count, 'function')}, whose calls nothing tells apart: {names}{more}"


def summary(functions: Sequence[FunctionLatency], unit: str | None, width: int, top: int) -> list[Line]:
    """Two lines for each of the first ``top``: what it is, and its numbers."""
    shown = by_time(functions)[:top]
    rows = [cells_of(each, unit) for each in shown]
    wide = [max(map(len, column)) for column in zip(HEADS, *rows, strict=True)]
    # In a forced unit the numbers may need more than the line has: the least telling columns go first.
    kept = [*range(len(HEADS))]
    for spare in (4, 1, 6, 2):
        if sum(wide[column] + 2 for column in kept) > width:
            kept.remove(spare)
    lines = [_numbers(HEADS, wide, kept, "bold")]
    for latency, cells in zip(shown, rows, strict=True):
        lines += [place(latency, width), _numbers(cells, wide, kept, "")]
        if of_many := shared(latency):
            lines += wrap(of_many, width, style="dim")
    if len(functions) > len(shown):
        lines.append(Line(f"… and {len(functions) - len(shown):,} more", style="dim"))
    return lines


def _numbers(cells: Sequence[str], wide: Sequence[int], kept: Sequence[int], style: str) -> Line:
    return Line("".join(cells[column].rjust(wide[column] + 2) for column in kept), style=style)


def cells_of(latency: FunctionLatency, unit: str | None) -> list[str]:
    """Its numbers, as ``HEADS`` names them."""
    longest = [latency.wall.max_ns, busy_ns(latency)] if latency.calls else [float("nan")] * 2
    values, least = (each(_SHOWN).tolist() for each in (latency.percentiles_ns, latency.at_least_ns))
    percentiles = [estimate(*pair, unit, latency.probe_error_ns) for pair in zip(values, least, strict=True)]
    mean, *ends = (duration(ns, unit) for ns in (latency.wall.mean_ns, *longest))
    return [count(latency.calls), count(latency.raised), mean, *percentiles, *ends]
