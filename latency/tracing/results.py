"""From readings of the statistics to ``FunctionLatency``, the recording's own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from latency.histogram import Histogram
from latency.recording import Function, FunctionLatency
from latency.tracing import wire
from latency.tracing.opencalls import OpenCalls
from latency.tracing.reading import Reading, Slices
from latency.tracing.table import FunctionTable


@dataclass
class _Slots:
    """The slots of one function: several code objects can be one function (a closure's, a reloaded module's)."""

    wall: list[int] = field(default_factory=list)
    active: list[int] = field(default_factory=list)


def latencies(
    reading: Reading,
    table: FunctionTable,
    *,
    opens: Mapping[int, OpenCalls],
    slices: Slices | None = None,
    earlier: Reading | None = None,
    empty: bool = True,
) -> tuple[tuple[FunctionLatency, ...], int]:
    """(what was seen of each wanted function, how many calls were of functions whose name is not known).

    Args:
        opens: the open calls by slot.
        slices: for error bars.
        earlier: count only what came after this reading.
        empty: keep functions without a call.
    """
    slots: dict[Function, _Slots] = {}
    rows = {int(slot): row for slot, row in zip(reading.slots, reading.statistics, strict=True)}
    before = {int(slot): row for slot, row in zip(earlier.slots, earlier.statistics, strict=True)} if earlier else {}
    unnamed = 0
    for slot, row in rows.items():
        dead = bool(row["flags"] & wire.DEAD)
        function, wanted = table.function_of(slot, int(row["code"]), int(row["space"]), dead=dead)
        if not wanted:
            continue
        active = bool(row["flags"] & wire.ACTIVE)
        if function is None:
            unnamed += 0 if active else int(row["returned"]) + int(row["raised"])
            continue
        of = slots.setdefault(function, _Slots())
        (of.active if active else of.wall).append(slot)

    def histogram(numbers: list[int]) -> Histogram:
        total = Histogram.empty()
        for number in numbers:
            now = _histogram(rows[number])
            total += now.subtract(_histogram(before[number])) if number in before else now
        return total

    def total(numbers: list[int], name: str) -> int:
        return sum(int(rows[n][name]) - (int(before[n][name]) if n in before else 0) for n in numbers)

    found = []
    for function, of in slots.items():
        of_open = [opens[slot] for slot in of.wall if slot in opens]
        latency = FunctionLatency(
            function=function,
            returned=total(of.wall, "returned"),
            raised=total(of.wall, "raised"),
            wall=histogram(of.wall),
            active=histogram(of.active) if of.active else None,
            open=sum(each.count for each in of_open),
            abandoned=total(of.wall, "abandoned"),
            suspensions=total(of.wall, "suspensions"),
            slices=slices.of(of.wall) if slices else (),
            oldest_open_ns=max((reading.at_ns - each.oldest_ns for each in of_open), default=0),
        )
        if empty or latency.calls or latency.open or latency.abandoned:
            found.append(latency)
    return tuple(found), unnamed


def calls_by_space(reading: Reading, table: FunctionTable) -> dict[int, tuple[int, int]]:
    """(returned, raised) calls of wanted functions in each address space."""
    found: dict[int, tuple[int, int]] = {}
    for slot, row in zip(reading.slots, reading.statistics, strict=True):
        space = int(row["space"])
        _, wanted = table.function_of(int(slot), int(row["code"]), space, dead=bool(row["flags"] & wire.DEAD))
        if wanted and not row["flags"] & wire.ACTIVE:
            returned, raised = found.get(space, (0, 0))
            found[space] = returned + int(row["returned"]), raised + int(row["raised"])
    return found


def _histogram(row: np.void) -> Histogram:
    return Histogram.from_array(row["counts"], int(row["sum_ns"]), int(row["min_ns"]), int(row["max_ns"]))
