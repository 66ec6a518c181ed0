"""From readings of the statistics to ``FunctionLatency``, the recording's own words."""

from __future__ import annotations

from collections.abc import Mapping

from latency.histogram import Histogram
from latency.recording import FunctionLatency
from latency.tracing.opencalls import OpenCalls
from latency.tracing.reading import Counted, Reading, Slices


def latencies(
    reading: Reading,
    *,
    opens: Mapping[int, OpenCalls],
    slices: Slices | None = None,
    earlier: Reading | None = None,
    empty: bool = True,
) -> tuple[FunctionLatency, ...]:
    """What was seen of each wanted function, the busiest first.

    Args:
        opens: the open calls by slot.
        slices: for error bars.
        earlier: count only what came after this reading.
        empty: keep functions without a call.
    """
    found = []
    for function, counted in reading.functions.items():
        before = earlier.functions.get(function, Counted()) if earlier else Counted()
        divided = counted.divided.since(before.divided)
        of_open = [opens[slot] for slot in counted.slots if slot in opens]
        wall = counted.wall.subtract(before.wall)
        latency = FunctionLatency(
            function=function,
            returned=counted.returned - before.returned,
            raised=counted.raised - before.raised,
            wall=wall,
            active=None if counted.active is None else counted.active.subtract(before.active or Histogram.empty()),
            open=sum(each.count for each in of_open),
            abandoned=counted.abandoned - before.abandoned,
            suspensions=counted.suspensions - before.suspensions,
            slices=slices.of(counted, wall) if slices else (),
            split=divided.split,
            self_time=divided.self_time,
            oldest_open_ns=max((reading.at_ns - each.oldest_ns for each in of_open), default=0),
        )
        if empty or latency.calls or latency.open or latency.abandoned:
            found.append(latency)
    return tuple(sorted(found, key=lambda each: each.wall.sum_ns, reverse=True))
