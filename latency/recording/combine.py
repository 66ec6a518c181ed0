"""Several processes measured at the same time, or one in several ways one after the other, as one recording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from latency.errors import RecordingError
from latency.histogram import Histogram
from latency.recording.function import Function
from latency.recording.model import (
    FunctionLatency,
    Losses,
    Overhead,
    ProcessCalls,
    Recording,
    Watched,
)
from latency.recording.slow import all_slow


def combined(recordings: Sequence[Recording]) -> Recording:
    """All calls of these processes together; one recording is returned as it is.

    Functions are the same if name, file, line and kind are. The first recording says what the target is, with the PIDs
    of all; the duration is the longest. What it cost is added up; the share watched is the mean of their times.

    Raises:
        RecordingError: there is none.
    """
    if not recordings:
        raise RecordingError("no recordings to combine", "give one or more")
    first = recordings[0]
    if len(recordings) == 1:
        return first
    functions: dict[Function, FunctionLatency] = {}
    for recording in recordings:
        for each in recording.functions:
            known = functions.get(each.function)
            if known is None or not _adds_nothing(each, known):
                functions[each.function] = _together(known, each) if known else each
    codes, watched = _codes(recordings), _watched_each(recordings)
    return replace(
        first,
        target=replace(first.target, pids=tuple(pid for recording in recordings for pid in recording.target.pids)),
        duration_s=max(recording.duration_s for recording in recordings),
        functions=tuple(
            _said(each, codes.get(each.function, ""), watched.get(each.function))
            for each in sorted(functions.values(), key=lambda each: each.wall.sum_ns, reverse=True)
        ),
        losses=sum((recording.losses for recording in recordings), Losses()),
        blind_spots=tuple(dict.fromkeys(spot for recording in recordings for spot in recording.blind_spots)),
        processes=_processes(recordings),
        overhead=_overhead(recordings),
        watched=_watched(recordings),
        began_before=sum(recording.began_before for recording in recordings),
        events=dict(sum((Counter(recording.events) for recording in recordings), Counter())),
        slow_calls=all_slow([recording.slow_calls for recording in recordings]),
    )


def _said(each: FunctionLatency, code: str, watched: Watched | None) -> FunctionLatency:
    return each if (each.code, each.watched) == (code, watched) else replace(each, code=code, watched=watched)


def _codes(recordings: Sequence[Recording]) -> dict[Function, str]:
    """The digest of each function's code, where all that know it agree."""
    found: dict[Function, set[str]] = {}
    for each in (each for recording in recordings for each in recording.functions):
        if each.code:
            found.setdefault(each.function, set()).add(each.code)
    return {function: codes.pop() for function, codes in found.items() if len(codes) == 1}


def _overhead(recordings: Sequence[Recording]) -> Overhead | None:
    known = [(each.overhead, each.duration_s) for each in recordings if each.overhead is not None]
    if not known:
        return None
    hits = sum(overhead.hits for overhead, _ in known)
    longest_s = max(recording.duration_s for recording in recordings)
    cpu_s = sum(overhead.share_of_cpu * duration_s for overhead, duration_s in known)
    total_ns = sum(overhead.hits * overhead.ns_per_hit for overhead, _ in known)
    return Overhead(
        hits=hits,
        ns_per_hit=total_ns / hits if hits else 0.0,
        share_of_cpu=cpu_s / longest_s if longest_s else 0.0,
        # One pylat measures them all, and has maps for each.
        memory_bytes=max(overhead.memory_bytes for overhead, _ in known),
        map_bytes=sum(overhead.map_bytes for overhead, _ in known),
    )


def _watched(recordings: Sequence[Recording]) -> Watched | None:
    in_slices = [each.watched for each in recordings if each.watched is not None]
    total_s = sum(each.duration_s for each in recordings)
    if not in_slices or not total_s:
        return in_slices[0] if in_slices else None
    watched_s = sum(each.duration_s * (each.watched.share if each.watched else 1.0) for each in recordings)
    return Watched(share=min(watched_s / total_s, 1.0), slices=sum(each.slices for each in in_slices))


def _watched_each(recordings: Sequence[Recording]) -> dict[Function, Watched]:
    """The same of each function, where that is not the same for all."""
    found: dict[Function, list[Recording]] = {}
    for recording in recordings:
        for each in recording.functions:
            found.setdefault(each.function, []).append(recording)
    told = {each.function for recording in recordings for each in recording.functions if each.watched}
    of_one = {name: [_of_one(recording, name) for recording in found[name]] for name in told}
    return {name: watched for name, these in of_one.items() if (watched := _watched(these))}


def _of_one(recording: Recording, function: Function) -> Recording:
    watched = next(each.watched for each in recording.functions if each.function == function)
    return replace(recording, watched=watched or recording.watched)


def _processes(recordings: Sequence[Recording]) -> tuple[ProcessCalls, ...]:
    """Each process with its calls; a recording of one process says them of its functions."""
    found: dict[int, ProcessCalls] = {}
    for recording in recordings:
        for each in recording.processes or _alone(recording):
            known = found.get(each.pid, ProcessCalls(each.pid))
            found[each.pid] = replace(each, returned=known.returned + each.returned, raised=known.raised + each.raised)
    return tuple(found.values())


def _alone(recording: Recording) -> tuple[ProcessCalls, ...]:
    """What a recording of one process says of it; () where a file does not say which that is."""
    returned = sum(each.returned for each in recording.functions)
    raised = sum(each.raised for each in recording.functions)
    return tuple(ProcessCalls(pid, returned, raised) for pid in recording.target.pids[:1])


def _adds_nothing(each: FunctionLatency, known: FunctionLatency) -> bool:
    """Whether a function was not called, of which no more is known than before: most are not, from one scrape to the
    next, and what stays the same object need not be put into words again."""
    return (
        not (each.returned or each.raised or each.open or each.abandoned or each.suspensions or each.cut)
        and not len(each.wall.counts)
        and not (each.slices or known.slices)
        and each.owners == known.owners
        and all(
            mine is None or (theirs is not None and not mine.count)
            for mine, theirs in (
                (each.active, known.active),
                (each.self_time, known.self_time),
                (each.ages, known.ages),
            )
        )
        and (each.split is None or (known.split is not None and not any(each.split.totals_ns.values())))
        and (each.probes is None or (known.probes is not None and not each.probes.sum_ns + each.probes.unsure_ns))
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
        split=one.split + other.split if one.split and other.split else one.split or other.split,
        self_time=one.self_time + other.self_time
        if one.self_time and other.self_time
        else one.self_time or other.self_time,
        cut=one.cut + other.cut,
        ages=_ages(one.ages, other.ages),
        owners=max((it for it in (one.owners, other.owners) if it), key=lambda it: it.count, default=None),
        probes=one.probes + other.probes if one.probes and other.probes else one.probes or other.probes,
    )


def _ages(one: Histogram | None, other: Histogram | None) -> Histogram | None:
    if one is None or other is None:
        return one or other
    return one + other


def in_turn(recordings: Sequence[Recording]) -> Recording:
    """All calls of one target that was measured in several ways, one after the other.

    The last recording says how. Calls that were open when an earlier one ended were not seen to end: they are cut, or
    lost (``unmatched_entry``).

    Raises:
        RecordingError: there is none.
    """
    if len(recordings) < 2:
        return combined(recordings)
    *earlier, last = recordings
    whole = combined([*map(_left, earlier), last])
    duration_s = sum(recording.duration_s for recording in recordings)
    overhead = whole.overhead
    if overhead is not None and duration_s:
        cpu_s = sum(each.overhead.share_of_cpu * each.duration_s for each in recordings if each.overhead)
        overhead = replace(overhead, share_of_cpu=cpu_s / duration_s)
    return replace(
        whole,
        target=last.target,
        duration_s=duration_s,
        overhead=overhead,
        processes=whole.processes if any(each.processes for each in recordings) else (),
    )


def _left(recording: Recording) -> Recording:
    """Its open calls, of which no end was seen: cut, where ages are kept, and else lost."""
    if not any(each.open or each.oldest_open_ns for each in recording.functions):
        return recording
    lost = sum(each.open for each in recording.functions if each.ages is None)
    functions = tuple(
        replace(each, open=0, oldest_open_ns=0, cut=each.cut + (each.open if each.ages is not None else 0))
        for each in recording.functions
    )
    return replace(recording, functions=functions, losses=recording.losses + Losses(unmatched_entry=lost))
