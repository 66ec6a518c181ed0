"""Several processes measured at the same time, as one recording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from latency.recording.model import Function, FunctionLatency, Losses, ProcessCalls, Recording
from latency.recording.slow import all_slow


def combined(recordings: Sequence[Recording]) -> Recording:
    """All calls of these processes together; one recording is returned as it is.

    Functions are the same if name, file, line and kind are. The first recording says what the target is, with the PIDs
    of all; the duration is the longest.
    """
    first = recordings[0]
    if len(recordings) == 1:
        return first
    functions: dict[Function, FunctionLatency] = {}
    for recording in recordings:
        for each in recording.functions:
            known = functions.get(each.function)
            functions[each.function] = _together(known, each) if known else each
    return replace(
        first,
        target=replace(first.target, pids=tuple(pid for recording in recordings for pid in recording.target.pids)),
        duration_s=max(recording.duration_s for recording in recordings),
        functions=tuple(sorted(functions.values(), key=lambda each: each.wall.sum_ns, reverse=True)),
        losses=sum((recording.losses for recording in recordings), Losses()),
        blind_spots=tuple(dict.fromkeys(spot for recording in recordings for spot in recording.blind_spots)),
        processes=_processes(recordings),
        began_before=sum(recording.began_before for recording in recordings),
        events=dict(sum((Counter(recording.events) for recording in recordings), Counter())),
        slow_calls=all_slow([recording.slow_calls for recording in recordings]),
    )


def _processes(recordings: Sequence[Recording]) -> tuple[ProcessCalls, ...]:
    """Each process with its calls; a recording of one process says them of its functions."""
    found: dict[int, ProcessCalls] = {}
    for recording in recordings:
        for each in recording.processes or (_alone(recording),):
            known = found.get(each.pid, ProcessCalls(each.pid))
            found[each.pid] = replace(each, returned=known.returned + each.returned, raised=known.raised + each.raised)
    return tuple(found.values())


def _alone(recording: Recording) -> ProcessCalls:
    return ProcessCalls(
        pid=recording.target.pids[0],
        returned=sum(each.returned for each in recording.functions),
        raised=sum(each.raised for each in recording.functions),
    )


def _together(one: FunctionLatency, other: FunctionLatency) -> FunctionLatency:
    slices = tuple(a + b for a, b in zip(one.slices, other.slices, strict=False))
    return replace(
        one,
        returned=one.returned + other.returned,
        raised=one.raised + other.raised,
        wall=one.wall + other.wall,
        active=one.active + other.active if one.active and other.active else one.active or other.active,
        open=one.open + other.open,
        abandoned=one.abandoned + other.abandoned,
        suspensions=one.suspensions + other.suspensions,
        slices=slices if len(one.slices) == len(other.slices) else (),
        oldest_open_ns=max(one.oldest_open_ns, other.oldest_open_ns),
    )
