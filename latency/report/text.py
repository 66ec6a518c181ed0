"""A recording as text: 80 columns that read well in a CI log, and with colour on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from latency.recording import FunctionLatency, Recording
from latency.report import markers, words
from latency.report.distribution import log2_rows, percentiles, percentiles_with_errors
from latency.report.layout import Line, flow, to_text, wrap
from latency.report.names import escape
from latency.report.slow import slow_calls
from latency.report.split import divided, table_of_parts
from latency.report.summary import by_time, place, summary
from latency.report.units import plural

FULL = 5
"""Up to so many functions that were asked for are shown in full, and not in a table only."""
MIN_WIDTH = 60


def render(
    recording: Recording,
    *,
    unit: str | None = None,
    width: int = 80,
    color: bool = False,
    top: int = 20,
    timestamp: bool = False,
    full: bool = False,
) -> str:
    """The report of one run.

    Args:
        recording: live, or from a file; its text is not trusted.
        unit: ``"us"``, ``"ms"``, or None for the unit that reads best.
        width: the terminal cells of a line, at least ``MIN_WIDTH``; no line is longer.
        color: with ANSI styles, for a terminal.
        top: how many functions a table shows.
        timestamp: begin with the time at which the measurement ended.
        full: show the histogram of each function of the table, and not only of a few that were asked for.
    """
    width = max(width, MIN_WIDTH)
    return to_text(_lines(recording, unit, width, top, timestamp, full), width=width, color=color)


def _lines(recording: Recording, unit: str | None, width: int, top: int, timestamp: bool, full: bool) -> Iterator[Line]:
    functions = recording.functions
    if timestamp:
        yield Line(words.ended(recording), style="dim")
    asked = escape(", ".join(recording.options.markers), width // 2) or plural(len(functions), "function")
    subject = place(functions[0], width) if len(functions) == 1 else Line(asked)
    whom, duration = words.whom(recording), words.seconds(recording.duration_s)
    yield from flow([Line("pylat", style="bold"), whom, subject, duration], width)
    if len(functions) == 1 and markers.is_event(functions[0]):
        yield Line(markers.event_line(functions[0], recording.duration_s))
    elif len(functions) == 1:
        yield from _function(functions[0], recording, unit, width)
    elif functions and all(map(markers.is_marker, functions)):
        yield Line("")
        yield from markers.tables(recording, unit, width, top)
        yield from _in_full(markers.full_ones(recording), recording, unit, width, top, full)
    else:
        yield Line(words.calls_seen(recording))
        if functions:
            yield Line("")
            yield from summary(functions, unit, width, top)
            yield from wrap(words.TOTAL, width, style="dim")
            yield from table_of_parts(functions, unit, width, top)
        yield from _in_full(functions, recording, unit, width, top, full)
    if recording.slow_calls:
        yield Line("")
        yield from slow_calls(recording.slow_calls, unit, width, values=recording.options.values)
    yield Line("")
    yield from _footer(recording, width)


def _in_full(
    functions: Sequence[FunctionLatency], recording: Recording, unit: str | None, width: int, top: int, full: bool
) -> Iterator[Line]:
    asked = recording.options.func or recording.options.markers
    if full or (asked and len(functions) <= FULL):
        for each in by_time(functions)[:top]:
            yield Line("")
            yield place(each, width)
            yield from _function(each, recording, unit, width)


def _function(latency: FunctionLatency, recording: Recording, unit: str | None, width: int) -> Iterator[Line]:
    wall, active = latency.wall, latency.active
    if latency.calls:
        yield from flow(words.numbers(latency, recording, unit), width)
    else:
        yield Line(words.calls_in(0, words.watched_s(recording, latency)), style="yellow")
    for said in words.remarks_of(latency, recording.options):
        yield from wrap(said.text, width, style=said.style)
    if not latency.calls:
        return
    yield Line("")
    if active is None:
        yield from percentiles_with_errors(latency, unit, width)
    else:
        yield Line(words.END_TO_END)
        yield from percentiles_with_errors(latency, unit, width)
        yield Line(words.ACTIVE)
        yield from percentiles(active, unit, width)
    yield from divided(latency, unit, width)
    yield Line("")
    yield from log2_rows(wall, unit, width)


def _footer(recording: Recording, width: int) -> Iterator[Line]:
    lost = words.lost(recording)
    yield from flow([words.engine(recording), Line(lost.text, style=lost.style)], width)
    for said in words.remarks(recording):
        yield from wrap(said.text, width, style=said.style)
