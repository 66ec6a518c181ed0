"""One function, opened: its numbers, its course over time, its histogram, its slow calls and who called it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from latency.histogram import Histogram
from latency.live.drawing import LINES, heat_map, percentiles_over_time
from latency.live.ledger import Columns, Moment
from latency.recording import Function, FunctionLatency, Options, Probes, SlowCall, SlowCalls, StackFrame
from latency.report.distribution import log2_rows, percentiles, percentiles_with_errors
from latency.report.layout import Line, flow, wrap
from latency.report.names import escape
from latency.report.slow import each_call
from latency.report.summary import place
from latency.report.units import count, duration, number, percent

_HEIGHT = 6
_MOST_CALLERS = 8


def detail(
    function: Function,
    whole: Columns,
    last: Columns,
    course: Sequence[Moment],
    slow: Sequence[SlowCall],
    options: Options,
    width: int,
    unit: str | None,
) -> Iterator[Line]:
    """What is known of it.

    Args:
        whole, last: since the start, and of the last interval.
        course: its intervals.
        slow: the slow calls that are kept, of all functions.
    """
    latency, recent = latency_of(whole, function), latency_of(last, function)
    yield place(latency, width)
    yield from _numbers("since the start", latency, whole, unit, width)
    yield from percentiles_with_errors(latency, unit, width)
    yield Line("")
    yield from _numbers("the last interval", recent, last, unit, width)
    if recent.calls:
        yield from percentiles(recent.wall, unit, width)
    over_time = percentiles_over_time(course, width, _HEIGHT, unit)
    if over_time:
        yield Line("")
        heading = Line(f"percentiles over {_span(course)}", style="bold")
        for name, (_, style) in LINES.items():
            heading.append("  ").append(name, style=style)
        yield heading
        yield from over_time
        yield Line("")
        yield Line("heat map: each column one time, each row a power of two of the latency", style="bold")
        yield from heat_map(course, width, unit)
    yield Line("")
    yield from log2_rows(latency.wall, unit, width)
    yield Line("")
    yield from _slow(function, slow, options, unit, width)


def latency_of(columns: Columns, function: Function) -> FunctionLatency:
    """What the columns say of a function; nothing where it is not among them."""
    row = next((row for row, each in enumerate(columns.functions) if each == function), None)
    if row is None:
        return FunctionLatency(function, 0, 0, Histogram.empty())
    numbers = columns.numbers[row]
    calls, taken_ns = int(columns.calls[row]), int(numbers["taken_ns"])
    each_ns = taken_ns / calls if calls else 0.0
    return FunctionLatency(
        function,
        int(numbers["returned"]),
        int(numbers["raised"]),
        columns.histogram(row),
        ages=columns.ages.get(function),
        probes=Probes(taken_ns, int(numbers["error_ns"]) / each_ns if each_ns else 0.0),
    )


def _numbers(what: str, latency: FunctionLatency, columns: Columns, unit: str | None, width: int) -> list[Line]:
    seconds = columns.seconds
    if not latency.calls:
        return [Line(f"{what}: no call", style="yellow")]
    pieces: list[Line | str] = [
        Line(what, style="bold"),
        f"calls {count(latency.calls)}" + (f"  ({number(latency.calls / seconds)}/s)" if seconds else ""),
        Line(f"raised {count(latency.raised)}", style="red" if latency.raised else ""),
    ]
    if latency.wall.sum_ns:
        pieces += [f"mean {duration(latency.wall.mean_ns, unit)}", f"total {duration(latency.wall.sum_ns, unit)}"]
    if latency.probe_share:
        pieces.append(f"probes took {percent(latency.probe_share)}, taken off")
    return flow(pieces, width)


def _span(course: Sequence[Moment]) -> str:
    return f"the last {sum(each.seconds for each in course):,.0f} s"


def _slow(
    function: Function, slow: Sequence[SlowCall], options: Options, unit: str | None, width: int
) -> Iterator[Line]:
    if not options.slower:
        yield from wrap(
            "slow calls: none are told; press l to have those beyond p99 told from now on", width, style="dim"
        )
        return
    mine = sorted((call for call in slow if call.function == function), key=lambda call: call.began_at, reverse=True)
    yield Line(
        f"slow calls, beyond {options.slower}: the newest first of the {options.slowest} slowest of all functions",
        style="bold",
    )
    if not mine:
        yield Line("none yet", style="dim")
        return
    yield from _callers(mine, width)
    told = SlowCalls(options.slower, options.slowest, len(mine), tuple(mine))
    yield from each_call(told, unit, width, values=options.values)


def _callers(calls: Sequence[SlowCall], width: int) -> Iterator[Line]:
    """Who stood right above these calls."""
    seen: Counter[StackFrame] = Counter(call.stack[0] for call in calls if call.stack)
    if not seen:
        return
    yield Line(f"callers seen, of {count(len(calls))} slow calls", style="bold")
    for frame, calls_of_it in seen.most_common(_MOST_CALLERS):
        where = f"{frame.function.source}:{frame.line or frame.function.line}"
        name = escape(frame.function.qualname, max(width // 2, 8)) or "<unknown>"
        yield Line(f"{count(calls_of_it):>6}  {name}  ").append(
            escape(where, max(width - len(name) - 10, 8)), style="dim"
        )
