"""What was counted of each function from the start to one moment, as columns: for who asks every second, of thousands.

A recording of ten thousand functions is ten thousand objects; these are a few arrays, of which a view takes what it
shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency.histogram import BUCKET_MIN, BUCKETS, Counts, Histogram
from latency.recording.function import Function
from latency.recording.model import FunctionLatency, Losses, Recording
from latency.recording.slow import SlowCall

NUMBERS = np.dtype(
    [
        (name, np.int64)
        for name in (
            *("returned", "raised", "wall_ns", "busy_ns", "min_ns", "max_ns"),
            *("taken_ns", "error_ns", "self_ns", "off_cpu_ns", "divided_ns"),
        )
    ]
)
"""Of one row, beside its histogram.

wall_ns, busy_ns: sums over its calls, end to end, and of the time that it ran.
taken_ns: what the probes took of them, for which each may be wrong by error_ns.
self_ns, off_cpu_ns, divided_ns: the parts of their time, and the time of which these are known; 0 if not asked for.
"""
_LEAST = {"min_ns"}
_MOST = {"max_ns", "error_ns"}


@dataclass(frozen=True, eq=False)
class Totals:
    """Columns of one measurement.

    Attributes:
        source: tells the measurement from others.
        functions: of each row. Where it is the same list as at an earlier moment, the rows are the same, and those that
            have come since are behind them.
        pids: of each row, the process; 0 where that is not known any longer.
        numbers: shape (rows,), of ``NUMBERS``.
        cells: of the histograms, ascending: row * BUCKETS + counter, int64.
        counts: the calls in each of these cells, int64.
        duration_s: since the start.
        watched_s: of that, in which the probes were in place.
        spent_s: what they have cost the target, seconds of CPU; None where that is not known.
        losses: so far.
        ages: of the functions of which calls were cut, how long these had run.
        slow: slow calls that are kept so far.
        engine, choice: how it is measured, and why so.
        split, own: whether off-CPU and self times were asked for.
    """

    source: str
    functions: Sequence[Function]
    pids: NDArray[np.int64]
    numbers: NDArray[Any]
    cells: NDArray[np.int64]
    counts: NDArray[np.int64]
    duration_s: float
    watched_s: float
    spent_s: float | None = None
    losses: Losses = field(default_factory=Losses)
    ages: Mapping[Function, Histogram] = field(default_factory=dict)
    slow: Sequence[SlowCall] = ()
    engine: str = ""
    choice: str = ""
    split: bool = False
    own: bool = False

    @classmethod
    def of(cls, recording: Recording, source: str = "") -> Totals:
        """The columns of a recording of one process, or of several of which the functions do not say whose they are."""
        functions = recording.functions
        numbers = np.zeros(len(functions), NUMBERS)
        for row, each in zip(numbers, functions, strict=True):
            _into(row, each)
        cells, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for index, each in enumerate(functions):
            used = np.flatnonzero(each.wall.counts)
            cells.append(used + (index * BUCKETS + each.wall.offset - BUCKET_MIN))
            counts.append(each.wall.counts[used])
        pids = recording.target.pids
        watched, overhead = recording.watched, recording.overhead
        return cls(
            source=source or recording.id,
            functions=[each.function for each in functions],
            pids=np.full(len(functions), pids[0] if len(pids) == 1 and len(recording.processes) < 2 else 0, np.int64),
            numbers=numbers,
            cells=np.concatenate(cells),
            counts=np.concatenate(counts),
            duration_s=recording.duration_s,
            watched_s=recording.duration_s * (watched.share if watched else 1.0),
            spent_s=overhead.share_of_cpu * recording.duration_s if overhead else None,
            losses=recording.losses,
            ages={each.function: each.ages for each in functions if each.ages is not None and each.ages.count},
            slow=recording.slow_calls.kept if recording.slow_calls else (),
            engine=recording.target.engine,
            choice=recording.target.choice,
            split=any(each.split is not None for each in functions),
            own=any(each.self_time is not None for each in functions),
        )


def _into(row: Any, latency: FunctionLatency) -> None:
    wall = latency.wall
    row["returned"], row["raised"] = latency.returned, latency.raised
    row["wall_ns"], row["busy_ns"] = wall.sum_ns, (latency.active or wall).sum_ns
    row["min_ns"], row["max_ns"] = wall.min_ns, wall.max_ns
    row["taken_ns"] = latency.probes.sum_ns if latency.probes else 0
    row["error_ns"] = latency.probe_error_ns
    row["self_ns"] = latency.self_time.sum_ns if latency.self_time else 0
    if latency.split:
        parts_ns = latency.split.totals_ns
        row["off_cpu_ns"] = off_cpu_ns(parts_ns)
        row["divided_ns"] = latency.split.wall_ns - parts_ns["suspended"]


def off_cpu_ns(parts_ns: Mapping[str, Any]) -> Any:
    """Of the parts of a call's time (``split.PARTS``) those that it was in and off the CPU."""
    return parts_ns["waiting"] + parts_ns["runnable"]


def added(rows: int, parts: Sequence[tuple[NDArray[Any], NDArray[np.integer]]]) -> NDArray[Any]:
    """Rows of ``NUMBERS`` together.

    Args:
        rows: how many there will be.
        parts: pairs of numbers, and the row that each of them belongs to.
    """
    if len(parts) == 1 and len(parts[0][0]) == rows and _in_place(parts[0][1]):
        alone: NDArray[Any] = parts[0][0].copy()
        return alone
    found = np.zeros(rows, NUMBERS)
    for name in NUMBERS.names or ():
        column: Counts = np.zeros(rows, np.int64)
        for numbers, into in parts:
            if name in _LEAST:
                _least(column, into, numbers[name])
            elif name in _MOST:
                np.maximum.at(column, into, numbers[name])
            else:
                np.add.at(column, into, numbers[name])
        found[name] = column
    return found


def _least(column: Counts, into: NDArray[np.integer], values: Counts) -> None:
    """The least but for 0, which is none."""
    none = np.iinfo(np.int64).max
    column[column == 0] = none
    np.minimum.at(column, into, np.where(values > 0, values, none))
    column[column == none] = 0


def gathered(
    parts: Sequence[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.integer]]],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(cells, counts) of histograms together, ascending, each cell once.

    Args:
        parts: cells, counts, and the row that each row of these belongs to; -1 for none. Where there is only one, and
            its rows stay as they are, these very arrays are returned: of ten thousand functions they are megabytes.
    """
    if len(parts) == 1 and _in_place(parts[0][2]):
        return parts[0][:2]
    cells, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for cell, count, into in parts:
        row, counter = np.divmod(cell, BUCKETS)
        row = into[row] if len(row) else row
        kept = np.flatnonzero(row >= 0)
        cells.append((row[kept] * BUCKETS + counter[kept]).astype(np.int64))
        counts.append(count[kept])
    return merged(np.concatenate(cells), np.concatenate(counts))


def _in_place(into: NDArray[np.integer]) -> bool:
    return bool((into == np.arange(len(into))).all())


def merged(cells: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ascending, each cell once: counts of one cell are added."""
    if len(cells) > 1 and not (np.diff(cells) > 0).all():
        order = cells.argsort(kind="stable")
        cells, counts = cells[order], counts[order]
        first = np.flatnonzero(np.concatenate([[True], np.diff(cells) > 0]))
        cells, counts = cells[first], np.add.reduceat(counts, first)
    return cells, counts


def grown(
    cells: NDArray[np.int64],
    counts: NDArray[np.int64],
    earlier_cells: NDArray[np.int64],
    earlier_counts: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The cells that have more calls than at an earlier moment, and how many more."""
    if not len(earlier_cells):
        return cells, counts
    at = np.minimum(earlier_cells.searchsorted(cells), len(earlier_cells) - 1)
    more = counts - np.where(earlier_cells[at] == cells, earlier_counts[at], 0)
    kept = more > 0
    return cells[kept], more[kept]
