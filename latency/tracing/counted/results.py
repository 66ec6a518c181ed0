"""From readings of the statistics to ``FunctionLatency``, the recording's own words."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from latency.histogram import Histogram
from latency.recording import Function, FunctionLatency, Probes, Watched
from latency.tracing.counted.codes import About
from latency.tracing.counted.opencalls import OpenCalls
from latency.tracing.counted.reading import Counted, Reading
from latency.tracing.counted.slices import Slices
from latency.tracing.limit.watched import ages

_NONE = Histogram.empty()


def latencies(
    reading: Reading,
    *,
    opens: Mapping[int, OpenCalls],
    slices: Slices | None = None,
    earlier: Reading | None = None,
    empty: bool = True,
    cut: Mapping[Function, Histogram] | None = None,
    about: Callable[[Function], About] = lambda _: About(),
    taken_off: Callable[[int, int, int], Probes] | None = None,
    watched: Callable[[Function], Watched | None] = lambda _: None,
) -> tuple[FunctionLatency, ...]:
    """What was seen of each wanted function, the busiest first.

    Args:
        opens: the open calls by slot.
        slices: for error bars.
        earlier: count only what came after this reading.
        empty: keep functions without a call.
        about: what is known of the code of a function.
        taken_off: what is said of what the probes took: from its sum, from the sum of what they took while calls were
            suspended and may have held them up (both ns), and from the number of calls. None: nothing was taken off.
        watched: for which part of the time a function was, where that is not the same for all.
        cut: in a measurement in slices, the ages of the calls that the slices' ends cut.
    """
    found = []
    nothing = taken_off(0, 0, 0) if taken_off else None
    # One whose calls were all cut may have nothing in the statistics.
    everything = {**dict.fromkeys(cut or (), Counted()), **reading.functions}
    for function, counted in everything.items():
        before = earlier.functions.get(function, Counted()) if earlier else Counted()
        divided = counted.divided.since(before.divided)
        of_open = [opens[slot] for slot in counted.slots if slot in opens]
        same = counted is before  # it has not been read again, since nothing has changed
        wall = _NONE if same else counted.wall.subtract(before.wall)
        cut_ages = _NONE if cut is None else cut.get(function, _NONE)
        open_ages = (ages(each.starts_ns, reading.at_ns) for each in of_open)
        latency = FunctionLatency(
            function=function,
            returned=counted.returned - before.returned,
            raised=counted.raised - before.raised,
            wall=wall,
            active=None if counted.active is None else counted.active.subtract(before.active or _NONE),
            open=sum(each.count for each in of_open),
            abandoned=counted.abandoned - before.abandoned,
            suspensions=counted.suspensions - before.suspensions,
            slices=slices.of(counted, wall) if slices else (),
            split=divided.split,
            self_time=divided.self_time,
            oldest_open_ns=max((each.oldest_ns(reading.at_ns) for each in of_open), default=0),
            cut=cut_ages.count,
            ages=None if cut is None else cut_ages.merge(*open_ages),
            code=about(function).code,
            owners=about(function).owners,
            probes=nothing
            if same or taken_off is None
            else taken_off(counted.taken_ns - before.taken_ns, counted.unsure_ns - before.unsure_ns, wall.count),
            watched=watched(function),
        )
        if empty or latency.calls or latency.open or latency.abandoned or latency.cut:
            found.append(latency)
    return tuple(sorted(found, key=lambda each: each.wall.sum_ns, reverse=True))
