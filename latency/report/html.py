"""A recording as one HTML page: a table of its functions to sort and search, and of each what its latencies are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import isfinite
from typing import Any

import numpy as np

from latency.histogram import Counts, Histogram, quantiles_of
from latency.recording import PARTS, PERCENTILES, FunctionLatency, Recording, SlowCalls, StackFrame, percentile_name
from latency.recording.parts import Parts
from latency.report import markers, slow, split, words
from latency.report.distribution import MARKED, percentile_heads, rows_of, rows_with_errors
from latency.report.names import escape
from latency.report.page import assemble
from latency.report.summary import HEADS, busy_ns, by_time, cells_of
from latency.report.text import render
from latency.report.units import count, duration, plural
from latency.report.words import Said

_PER_OCTAVE = 4  # rows of a heat map that make one power of two, unless these are too many
_CELLS = 100_000  # of all heat maps of a page, about: of many functions each has fewer
_COLUMNS, _ROWS = (30, 60), (12, 24)
_OVER_TIME = (0.5, 0.9, 0.99)
_STEPS = 128  # of an octave, in which percentiles over time are told: 0.3 % of the value at most
_NAME, _PATH = 160, 240

_Time = Callable[[FunctionLatency], int | None]
_Intervals = Sequence[tuple[float, float] | None]


def render_html(recordings: Iterable[Recording], *, unit: str | None = None, top: int = 20, full: bool = False) -> str:
    """One self-contained page of these runs, with all of their functions.

    Args:
        recordings: live, or from a file; their text is not trusted.
        unit: as for ``text.render``.
        top, full: the same, of what stands there where no script runs.
    """
    runs = list(recordings)
    ordered = [_ordered(run.functions) for run in runs]
    shown = {
        "kind": "report",
        "unit": unit,
        "percentiles": percentile_heads(),
        "marked": [percentile_name(q) for q in MARKED],
        "over_time": [percentile_name(q) for q in _OVER_TIME],
        "steps": _STEPS,
        "parts": [split.NAMES[part] for part in PARTS],
        "runs": [_run(run, functions, unit) for run, functions in zip(runs, ordered, strict=True)],
    }
    cells = _CELLS // max(sum(map(len, ordered)), 1)
    details = [
        [_detail(each, run, cells, unit) for each in functions] for run, functions in zip(runs, ordered, strict=True)
    ]
    plain = "\n".join(render(run, unit=unit, top=top, full=full, width=100) for run in runs)
    subject = words.whom(runs[0]) if len(runs) == 1 else plural(len(runs), "run")
    return assemble(f"pylat: {subject}", shown, details, plain)


def _ordered(functions: Sequence[FunctionLatency]) -> list[FunctionLatency]:
    """The busiest first; of markers those with the largest total, as their tables have them."""
    if all(map(markers.is_marker, functions)):
        return sorted(functions, key=lambda each: (-each.wall.sum_ns, -each.calls, each.function.qualname))
    return by_time(functions)


def _run(recording: Recording, functions: Sequence[FunctionLatency], unit: str | None) -> dict[str, Any]:
    options = recording.options
    asked = ", ".join(escape(pattern, _NAME) for pattern in options.func or options.markers)
    of_markers = bool(functions) and all(map(markers.is_marker, functions))
    times = _columns(functions, of_markers=of_markers)
    heads = [("failed" if of_markers and head == "raised" else head) for head in HEADS]
    note = words.TOTAL if not of_markers else markers.OWN if any(each.active for each in functions) else ""
    return {
        "whom": words.whom(recording),
        "head": [
            words.calls_seen(recording),
            f"ended {words.ended(recording)}",
            asked or "every function",
        ],
        "said": _said([Said(words.engine(recording)), words.lost(recording), *words.remarks(recording)]),
        "duration_s": recording.duration_s,
        "heads": [*heads, *times],
        "note": note,
        "functions": [_function(each, recording, times.values(), unit) for each in functions],
        "slow": _slow(recording.slow_calls, unit, values=options.values) if recording.slow_calls else None,
    }


def _said(sentences: Iterable[Said]) -> list[list[str]]:
    return [[each.text, each.style] for each in sentences]


def _columns(functions: Sequence[FunctionLatency], *, of_markers: bool) -> dict[str, _Time]:
    """The columns that not all recordings have, by head: nanoseconds of all calls of a function; None if not known."""
    found = {split.NAMES[part]: _part(part) for part in split.parts_of(functions)}
    if any(each.self_time is not None for each in functions):
        found["self"] = lambda each: None if each.self_time is None else each.self_time.sum_ns
    if of_markers and any(each.active is not None for each in functions):
        found["own"] = lambda each: None if each.active is None else each.active.sum_ns
    return found


def _part(part: str) -> _Time:
    return lambda each: None if each.split is None else each.split.totals_ns[part]


def _function(
    latency: FunctionLatency, recording: Recording, times: Iterable[_Time], unit: str | None
) -> dict[str, Any]:
    function = latency.function
    line = f":{function.line}" if function.line or function.kind not in markers.KINDS else ""
    found: dict[str, Any] = {
        "name": escape(function.qualname, _NAME),
        "where": escape(function.source, _PATH) + line,
        "cells": _cells(latency, unit),  # the others are their keys in words
        "keys": [*_keys(latency), *(None if (value := time(latency)) is None else _rounded(value) for time in times)],
    }
    if function.kind not in ("function", *markers.KINDS):
        found["kind"] = function.kind.replace("_", " ")
    if said := _said(words.remarks_of(latency, recording.options)):
        found["said"] = said
    return found


def _detail(latency: FunctionLatency, recording: Recording, cells: int, unit: str | None) -> dict[str, Any]:
    """What is shown of a function that is unfolded: of numbers, and of no text from the target.

    Args:
        cells: about how many its heat map may have.
    """
    if markers.is_event(latency):
        return {"facts": [markers.event_line(latency, recording.duration_s)]}
    if not latency.calls:
        return {"facts": [words.calls_in(0, words.watched_s(recording, latency))]}
    intervals = latency.intervals_ns()
    facts = words.numbers(latency, recording, unit)
    if (freed := markers.collected(latency, recording.events)) is not None:
        facts.append(f"collected {count(freed)}")
    found = {
        "facts": facts,
        "tables": _tables(latency, unit, intervals),
        "marks": _marks(latency, intervals),
        "only": "" if latency.ages is None else "calls that ended",
        "plots": _plots(latency, cells),
    }
    if latency.split is not None and latency.split.calls:
        found["split"] = _split(latency, unit)
    if latency.self_time is not None:
        found["own"] = split.of_self(latency, unit)
    return found


def _cells(latency: FunctionLatency, unit: str | None) -> list[str]:
    cells = cells_of(latency, unit)
    if markers.is_event(latency):
        return [cells[0], *(["-"] * (len(cells) - 1))]
    return [*cells[:-1], duration(latency.wall.sum_ns, unit)] if markers.is_marker(latency) else cells


def _keys(latency: FunctionLatency) -> list[float | None]:
    """What the columns are sorted by: the numbers of ``_cells``."""
    if markers.is_event(latency):
        return [latency.calls, *([None] * (len(HEADS) - 1))]
    total_ns = latency.wall.sum_ns if markers.is_marker(latency) else busy_ns(latency)
    values, least = latency.percentiles_ns(_OVER_TIME), latency.at_least_ns(_OVER_TIME)
    known = np.where(np.isnan(values), least, values).tolist()
    longest = [latency.wall.max_ns, total_ns] if latency.calls else [float("nan")] * 2
    return [latency.calls, latency.raised, *map(_rounded, (latency.wall.mean_ns, *known, *longest))]


def _tables(latency: FunctionLatency, unit: str | None, intervals: _Intervals) -> list[list[Any]]:
    """Percentiles: what they are of, values, and errors where they are known."""
    wall = rows_with_errors(latency, unit, intervals)[1:]
    if latency.active is None or markers.is_marker(latency):
        return [["", *wall]]
    return [[words.END_TO_END, *wall], [words.ACTIVE, *rows_of(latency.active, unit)[1:]]]


def _marks(latency: FunctionLatency, intervals: _Intervals) -> list[list[float | None]]:
    """Of each percentile that stands on the histogram: its value, and the ends of its interval."""
    ends = [intervals[PERCENTILES.index(q)] for q in MARKED]
    return [
        [_rounded(value), *(map(_rounded, each) if each else (None, None))]
        for value, each in zip(latency.percentiles_ns(MARKED).tolist(), ends, strict=True)
    ]


def _rounded(value: float) -> float | None:
    """In five digits; None where it is not known."""
    if not isfinite(value):
        return None
    short = float(f"{value:.5g}")
    return int(short) if short.is_integer() else short


def _split(latency: FunctionLatency, unit: str | None) -> dict[str, Any]:
    """Where the time went: a sentence, a table, and the same shares for bars: of calls around each of some
    percentiles, and of all calls."""
    parts = latency.split
    assert parts is not None
    totals = parts.totals_ns
    bars = [(f"at {percentile_name(q)}", parts.shares_at(q, latency.wall)) for q in split.AT]
    if parts.wall_ns:
        bars.append(("all calls", {part: totals[part] / parts.wall_ns for part in PARTS}))
    return {
        "said": split.sentence(latency, unit),
        "rows": split.rows_of(latency, unit),
        "bars": [[name, [round(shares[part], 3) for part in PARTS]] for name, shares in bars if shares],
        "doubts": split.doubts(latency),
    }


def _slow(calls: SlowCalls, unit: str | None, *, values: bool) -> dict[str, Any]:
    """The slow calls; stacks, and the frames that they are made of, once each."""
    frames: dict[StackFrame, int] = {}
    stacks: dict[tuple[StackFrame, ...], int] = {}
    told = [
        {
            "name": slow.name_of(call),
            "parts": slow.headline(call, calls, unit),
            "arguments": slow.arguments(call, values=values),
            "stack": stacks.setdefault(call.stack, len(stacks)),
            "whole": call.stack_whole,
        }
        for call in calls.kept
    ]
    return {
        "heading": slow.heading(calls),
        "said": _said(slow.doubts(calls)),
        "calls": told,
        "note": slow.note(calls, values=values),
        "stacks": [[frames.setdefault(frame, len(frames)) for frame in stack] for stack in stacks],
        "frames": [_frame(frame) for frame in frames],
    }


def _frame(frame: StackFrame) -> list[str]:
    function = frame.function
    if not function.qualname and not function.filename:
        return ["<unknown>", ""]
    return [escape(function.qualname, _NAME), escape(function.source, _PATH) + slow.line_of(frame)]


def _plots(latency: FunctionLatency, cells: int) -> list[Any]:
    """What the plots of a function are drawn from: its histogram, its percentiles over time, its heat map."""
    wall, parts = latency.wall, len(latency.slices)
    histogram = [wall.scale, wall.offset, wall.min_ns, wall.max_ns, wall.counts.tolist()]
    if parts < 2:
        return [histogram]
    together = -(-parts // _within(cells // _ROWS[1], _COLUMNS))
    matrix = _summed(latency, together)
    first, drawn, per_octave = heat(matrix, wall, _within(cells // len(matrix), _ROWS))
    return [
        histogram,
        [parts, together],
        _over_time(matrix, wall),
        [first, per_octave, len(drawn), drawn.ravel().tolist()],
    ]


def _within(value: int, ends: tuple[int, int]) -> int:
    return min(max(value, ends[0]), ends[1])


def _summed(latency: FunctionLatency, together: int) -> Counts:
    """The calls of so many parts of the measurement together, the last perhaps of fewer, in each bucket of ``wall``."""
    parts = latency.slices if isinstance(latency.slices, Parts) else Parts.of(latency.slices, latency.wall)
    found: Counts = np.add.reduceat(parts.matrix, np.arange(0, len(parts), together), axis=0)
    return found


def _over_time(matrix: Counts, wall: Histogram) -> list[list[int]]:
    """The calls of each row of the matrix, and each percentile of these, in steps of the logarithm from one row with
    calls to the next."""
    calls = matrix.sum(axis=1)
    used = matrix[calls > 0] != 0
    low, high = wall.edges_ns()
    ends = low[used.argmax(axis=1)], high[used.shape[1] - 1 - used[:, ::-1].argmax(axis=1)]
    values = quantiles_of(matrix[calls > 0], *ends, _OVER_TIME, offset=wall.offset, scale=wall.scale)
    steps = np.rint(np.log2(values) * _STEPS).astype(np.int64)
    return [calls.tolist(), *np.diff(steps, axis=0, prepend=0).T.tolist()]


def heat(matrix: Counts, wall: Histogram, most_rows: int) -> tuple[int, Counts, int]:
    """How many calls of each part of a measurement took how long.

    Args:
        matrix: shape (parts, buckets of ``wall``).
        most_rows: how many there may be; more only where a power of two is one row.

    Returns:
        (the first row, the calls: shape (rows, parts), n): row r covers (2^((r-1)/n), 2^(r/n)] seconds.
    """
    per_octave = min(_PER_OCTAVE, 1 << wall.scale)
    buckets = np.arange(wall.offset, wall.offset + matrix.shape[1])
    while True:
        rows = -(-buckets // ((1 << wall.scale) // per_octave))
        if rows[-1] - rows[0] < most_rows or per_octave == 1:
            break
        per_octave //= 2
    found = np.zeros((int(rows[-1] - rows[0]) + 1, matrix.shape[0]), np.int64)
    np.add.at(found, rows - rows[0], matrix.T)
    return int(rows[0]), found, per_octave
