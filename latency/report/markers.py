"""USDT markers in tables: pairs by their time, single ones by how often they fired."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from latency.recording import FunctionLatency, Recording
from latency.report.layout import GAP, Line, wrap
from latency.report.names import escape
from latency.report.units import count, duration, number, plural

KINDS = ("marker", "event")
_NAME_CELLS = 40
"""Names may be so wide; numbers that then do not fit beside them are left out, the least telling first."""
_SPARE = ("p50", "mean", "p99", "failed")

REMEDY = {
    "unmatched_return": "an end whose beginning was not seen; are START and DONE really a pair?",
    "unmatched_entry": "a beginning whose key began again before it ended; is the key that of one request?",
    "too_deep": "more pairs were open on one thread than pylat keeps; are START and DONE really a pair?",
    "table_full": "more names, threads or open pairs than the tables hold",
    "unnamed": "a name that was not in memory when the marker fired, and not to be found afterwards",
    "read_fault": "an argument that was not readable at that moment, paged out perhaps; measure again",
}
"""What ``recording.REMEDY`` says of functions, where it is otherwise for markers."""

OWN = "own: without those that it imported in turn, which total includes"

_Cell = Callable[[FunctionLatency], str]


def is_marker(latency: FunctionLatency) -> bool:
    """Whether it is of markers, and not of a function."""
    return latency.function.kind in KINDS


def is_event(latency: FunctionLatency) -> bool:
    """Whether it is of a single marker, which has no latency."""
    return latency.function.kind == "event"


def collected(latency: FunctionLatency, events: Mapping[str, int]) -> int | None:
    """Of a pause of the garbage collector: how many objects it freed."""
    return events.get(f"{latency.function.qualname} collected")


def tables(recording: Recording, unit: str | None, width: int, top: int) -> Iterator[Line]:
    """A table for each thing that was asked for."""
    groups: dict[tuple[str, str], list[FunctionLatency]] = {}
    for each in recording.functions:
        groups.setdefault(_group(each), []).append(each)
    for at, ((name, _), members) in enumerate(groups.items()):
        if at:
            yield Line("")
        calls = sum(each.calls for each in members)
        failed = sum(each.raised for each in members)
        text = f"{count(calls)} in {number(recording.duration_s)} s" + (f", {count(failed)} failed" if failed else "")
        yield Line(escape(name, width - len(text) - len(GAP)), style="bold cyan").append(GAP + text, style="")
        columns = _events(recording) if is_event(members[0]) else _times(members, recording.events, unit)
        yield from _table(members, columns, width, top)
        if any(each.active for each in members):
            yield from wrap(OWN, width, style="dim")


def full_ones(recording: Recording) -> list[FunctionLatency]:
    """Those that are worth a histogram: pairs that fired, but not one for each of many modules."""
    return [each for each in recording.functions if each.function.kind == "marker" and not each.active and each.calls]


def _group(latency: FunctionLatency) -> tuple[str, str]:
    """All lines together, all modules, all events of one marker, all pairs of one file."""
    function = latency.function
    return function.qualname if function.line else function.filename, function.kind


def _label(latency: FunctionLatency) -> str:
    function = latency.function
    return f"{function.filename}:{function.line}" if function.line else function.qualname


def _times(members: Sequence[FunctionLatency], events: Mapping[str, int], unit: str | None) -> list[tuple[str, _Cell]]:
    columns: list[tuple[str, _Cell]] = [("calls", lambda each: count(each.calls))]
    if any(each.raised for each in members):
        columns.append(("failed", lambda each: count(each.raised)))
    if any(each.open for each in members):
        columns.append(("open", lambda each: count(each.open)))
    columns += [
        ("mean", lambda each: duration(each.wall.mean_ns, unit)),
        ("p50", lambda each: duration(each.wall.quantile(0.5), unit)),
        ("p99", lambda each: duration(each.wall.quantile(0.99), unit)),
        ("max", lambda each: duration(each.wall.max_ns, unit)),
    ]
    if any(each.active for each in members):
        columns.append(("own", lambda each: duration(each.active.sum_ns if each.active else 0, unit)))
    columns.append(("total", lambda each: duration(each.wall.sum_ns, unit)))
    if any(collected(each, events) is not None for each in members):
        columns.append(("collected", lambda each: count(collected(each, events) or 0)))
    if all(each.calls == 1 for each in members):
        columns = [column for column in columns if column[0] not in ("mean", "p50", "p99", "max")]
    return columns


def _events(recording: Recording) -> list[tuple[str, _Cell]]:
    seconds = recording.duration_s
    return [
        ("count", lambda each: count(each.calls)),
        ("per second", lambda each: number(each.calls / seconds) if seconds > 0 else "-"),
    ]


def _table(
    members: Sequence[FunctionLatency], columns: list[tuple[str, _Cell]], width: int, top: int
) -> Iterator[Line]:
    ordered = sorted(members, key=lambda each: (-each.wall.sum_ns, -each.calls, _label(each)))
    shown = ordered[:top]
    cells = {head: [head, *(cell(each) for each in shown)] for head, cell in columns}
    wide = {head: max(map(len, column)) + 2 for head, column in cells.items()}
    needed = min(max((len(_label(each)) for each in shown), default=0), _NAME_CELLS) + 2
    for spare in _SPARE:
        if sum(wide.values()) + needed <= width:
            break
        wide.pop(spare, None)
    left = width - sum(wide.values()) - 2
    for row, each in enumerate([None, *shown]):
        line = Line("".join(cells[head][row].rjust(cells_wide) for head, cells_wide in wide.items()))
        line.stylize("" if each else "bold")
        yield line.append("  " + escape(_label(each), left), style="cyan") if each else line
    if len(ordered) > len(shown):
        yield Line(f"… and {len(ordered) - len(shown):,} more", style="dim")


def event_line(latency: FunctionLatency, duration_s: float) -> str:
    """What there is to say of a single marker alone."""
    rate = f"  ({number(latency.calls / duration_s)}/s)" if duration_s > 0 else ""
    return f"{plural(latency.calls, 'time')}{rate}"
