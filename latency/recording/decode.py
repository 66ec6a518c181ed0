"""``pylat/1`` JSON into recordings. A file may be old, foreign, broken or hostile: every value is checked.

Unknown keys are ignored, so that a newer pylat can add some; what the contract names must be there and be right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from latency.histogram import Histogram
from latency.recording.checked import (
    Invalid,
    amount,
    boolean,
    count,
    counters,
    list_of,
    mapping,
    member,
    moment,
    one_of,
    optional,
    text,
)
from latency.recording.function import KINDS, Function, Owners
from latency.recording.model import (
    FunctionLatency,
    Losses,
    Options,
    Overhead,
    ProcessCalls,
    Recording,
    TargetInfo,
    Watched,
)
from latency.recording.parts import Parts
from latency.recording.probes import Probes
from latency.recording.slow import MOMENTS, MOST_SLOWEST, OUTCOMES, Argument, SlowCall, SlowCalls, Slower, StackFrame
from latency.recording.split import PARTS, Split

MAX_BUCKETS = 4096
MAX_SCALE = 8
MAX_SLICES = 1000
MAX_STACK = 1000
MAX_ARGUMENTS = 1000
# Bucket indices run to 2^64 seconds, and as far below one.
MAX_OCTAVES = 64

_END = 1 << 63

T = TypeVar("T")


def run_from_json(value: object) -> Recording:
    """One element of ``runs``.

    Raises:
        Invalid: it is not what ``pylat/1`` promises.
    """
    run = mapping(value)
    return Recording(
        id=member(run, "id", text),
        started_at=member(run, "started_at", moment),
        duration_s=member(run, "duration_s", amount),
        target=member(run, "target", _target),
        options=member(run, "options", _options),
        functions=member(run, "functions", list_of(_function)),
        losses=member(run, "losses", _losses),
        blind_spots=member(run, "blind_spots", list_of(text)),
        overhead=member(run, "overhead", optional(_overhead)),
        began_before=member(run, "began_before", count, 0),
        events=member(run, "events", counters, {}),
        processes=member(run, "processes", list_of(_process), ()),
        watched=member(run, "watched", optional(_watched), None),
        slow_calls=member(run, "slow_calls", optional(_slow_calls), None),
    )


def _target(value: object) -> TargetInfo:
    target = mapping(value)
    names = ("command", "python", "build_id", "executable", "engine", "offsets", "kernel", "machine")
    texts = {name: member(target, name, text) for name in names}
    texts["choice"] = member(target, "choice", text, "")
    return TargetInfo(pids=member(target, "pids", list_of(count)), cpus=member(target, "cpus", count), **texts)


def _options(value: object) -> Options:
    options = mapping(value)
    return Options(
        func=member(options, "func", list_of(text), ()),
        regex=member(options, "regex", boolean, False),
        duration_s=member(options, "duration_s", optional(amount), None),
        interval_s=member(options, "interval_s", optional(amount), None),
        engine=member(options, "engine", text, "auto"),
        children=member(options, "children", boolean, False),
        max_overhead_pct=member(options, "max_overhead_pct", optional(amount), None),
        markers=member(options, "markers", list_of(text), ()),
        offcpu=member(options, "offcpu", boolean, False),
        self_time=member(options, "self_time", boolean, False),
        slower=member(options, "slower", _optional_threshold, ""),
        slowest=member(options, "slowest", count, 10),
        show_secrets=member(options, "show_secrets", boolean, False),
        values=member(options, "values", boolean, True),
    )


def _losses(value: object) -> Losses:
    return Losses.from_dict(counters(value))


def _overhead(value: object) -> Overhead:
    overhead = mapping(value)
    return Overhead(
        hits=member(overhead, "hits", count),
        ns_per_hit=member(overhead, "ns_per_hit", amount),
        share_of_cpu=member(overhead, "share_of_cpu", amount),
        memory_bytes=member(overhead, "memory_bytes", count, 0),
        map_bytes=member(overhead, "map_bytes", count, 0),
    )


def _watched(value: object) -> Watched:
    watched = mapping(value)
    share = member(watched, "share", amount)
    if share > 1:
        raise Invalid("share: more than 1")
    return Watched(share=share, slices=member(watched, "slices", count))


def _process(value: object) -> ProcessCalls:
    process = mapping(value)
    return ProcessCalls(
        pid=member(process, "pid", count),
        returned=member(process, "returned", count),
        raised=member(process, "raised", count),
        ended=member(process, "ended", boolean),
    )


def _slow_calls(value: object) -> SlowCalls:
    slow = mapping(value)
    limit = member(slow, "limit", count)
    if limit > MOST_SLOWEST:
        raise Invalid(f"limit: more than {MOST_SLOWEST}")
    found = SlowCalls(
        slower=member(slow, "slower", _threshold),
        limit=limit,
        seen=member(slow, "seen", count),
        kept=member(slow, "kept", list_of(_slow_call, most=limit)),
        lost=member(slow, "lost", count),
        unjudged=member(slow, "unjudged", count),
    )
    if any(one.duration_ns < other.duration_ns for one, other in zip(found.kept, found.kept[1:], strict=False)):
        raise Invalid("kept: not the longest first")
    return found


def _slow_call(value: object) -> SlowCall:
    call = mapping(value)
    return SlowCall(
        function=_name(call),
        began_at=member(call, "began_at", moment),
        **{name: member(call, name, count) for name in ("duration_ns", "threshold_ns", "pid", "tid")},
        **{name: member(call, name, count, 0) for name in ("host_pid", "host_tid")},
        thread=member(call, "thread", text),
        outcome=member(call, "outcome", one_of(OUTCOMES)),
        exception=member(call, "exception", text),
        arguments=member(call, "arguments", optional(list_of(_argument, most=MAX_ARGUMENTS))),
        arguments_at=member(call, "arguments_at", one_of(MOMENTS), "end"),
        stack=member(call, "stack", list_of(_stack_frame, most=MAX_STACK)),
        stack_whole=member(call, "stack_whole", boolean),
        active_ns=member(call, "active_ns", optional(count)),
    )


def _stack_frame(value: object) -> StackFrame:
    frame = mapping(value)
    return StackFrame(_name(frame), member(frame, "at", count))


def _argument(value: object) -> Argument:
    argument = mapping(value)
    return Argument(member(argument, "name", text), member(argument, "text", text), member(argument, "later", boolean))


def _name(entry: dict[str, Any]) -> Function:
    qualname, filename = member(entry, "qualname", text), member(entry, "filename", text)
    line, kind = member(entry, "line", count), member(entry, "kind", one_of(KINDS))
    return Function(qualname, filename, line, kind, member(entry, "module", text, ""))


def _function(value: object) -> FunctionLatency:
    entry = mapping(value)
    wall = member(entry, "wall", _histogram)
    latency = FunctionLatency(
        _name(entry),
        returned=member(entry, "returned", count),
        raised=member(entry, "raised", count),
        wall=wall,
        active=member(entry, "active", optional(_histogram)),
        open=member(entry, "open", count),
        abandoned=member(entry, "abandoned", count),
        suspensions=member(entry, "suspensions", count),
        slices=member(entry, "slices", lambda slices: _slices(slices, wall), ()),
        oldest_open_ns=member(entry, "oldest_open_ns", count, 0),
        split=member(entry, "split", _split, None),
        self_time=member(entry, "self", _histogram, None),
        cut=member(entry, "cut", count, 0),
        ages=member(entry, "ages", optional(_histogram), None),
        probes=member(entry, "probes", _probes, None),
        code=member(entry, "code", text, ""),
        owners=member(entry, "owners", _owners, None),
        watched=member(entry, "watched", _watched, None),
    )
    aged = latency.ages.count if latency.ages else 0
    if not latency.cut <= aged <= latency.cut + latency.open:
        raise Invalid("ages: not those of the cut calls and of open ones")
    if member(entry, "calls", count) != latency.calls:
        raise Invalid("calls: not returned + raised")
    return latency


def _probes(value: object) -> Probes:
    probes = mapping(value)
    shares = member(probes, "error_share", amount), member(probes, "delayed_share", amount, 0.0)
    return Probes(member(probes, "sum_ns", count), *shares, member(probes, "unsure_ns", count, 0))


def _owners(value: object) -> Owners:
    owners = mapping(value)
    return Owners(member(owners, "count", count), member(owners, "names", list_of(text, most=Owners.MOST_NAMES)))


def _split(value: object) -> Split:
    split = mapping(value)
    if member(split, "unit", text) != "s":
        raise Invalid('unit: not "s"')
    scale = member(split, "scale", count)
    if scale > MAX_SCALE:
        raise Invalid(f"scale: more than {MAX_SCALE}")
    offset = split.get("offset")
    rows = {part: member(split, part, lambda sums: _sums(sums, offset, scale)) for part in PARTS if part != "gc"}
    gc = member(split, "gc", optional(lambda sums: _sums(sums, offset, scale)))
    rows["gc"] = [0] * len(rows["running"]) if gc is None else gc
    if len(set(map(len, rows.values()))) > 1:
        raise Invalid("sums_ns: not as many in each part")
    if sum(map(sum, rows.values())) >= _END:
        raise Invalid("sums_ns: more than 2^63 - 1 in all")
    parts_ns = np.array([rows[part] for part in PARTS], np.int64)
    return Split(member(split, "calls", count), scale, offset, parts_ns, gc is not None)  # type: ignore[arg-type]


def _sums(value: object, offset: object, scale: int) -> list[int]:
    part = mapping(value)
    _, sums_ns = _buckets(offset, part.get("sums_ns"), scale)
    if member(part, "sum_ns", count) != sum(sums_ns):
        raise Invalid("sum_ns: not the sum of sums_ns")
    return sums_ns


def _histogram(value: object) -> Histogram:
    histogram = mapping(value)
    if member(histogram, "unit", text) != "s":
        raise Invalid('unit: not "s"')
    scale = member(histogram, "scale", count)
    if scale > MAX_SCALE:
        raise Invalid(f"scale: more than {MAX_SCALE}")
    offset, counts = _buckets(histogram.get("offset"), histogram.get("counts"), scale)
    calls, least, most = (member(histogram, name, count) for name in ("count", "min_ns", "max_ns"))
    if sum(counts) != calls:
        raise Invalid("count: not the sum of counts")
    if least > most:
        raise Invalid("min_ns: more than max_ns")
    return Histogram(scale, offset, np.array(counts, np.int64), member(histogram, "sum_ns", count), least, most)


def _slices(value: object, whole: Histogram) -> Sequence[Histogram]:
    if not isinstance(value, list) or len(value) > MAX_SLICES:
        raise Invalid(f"not a list of at most {MAX_SLICES}")
    found = []
    for part in value:
        if not isinstance(part, list) or len(part) != 3:
            raise Invalid("not lists of offset, sum and counts")
        offset, counts = _buckets(part[0], part[2], whole.scale)
        found.append(Histogram(whole.scale, offset, np.array(counts, np.int64), count(part[1]), 0, 0))
    try:
        return Parts.of(found, whole) if found else ()
    except ValueError:
        raise Invalid("calls in buckets that the whole has not") from None


def _buckets(offset: object, counts: object, scale: int) -> tuple[int, list[int]]:
    if not isinstance(counts, list) or len(counts) > MAX_BUCKETS:
        raise Invalid(f"counts: not a list of at most {MAX_BUCKETS}")
    # By exact type, at the speed of C: a bool is an int, and numpy would take a text too.
    if counts and (set(map(type, counts)) != {int} or min(counts) < 0 or sum(counts) >= _END):
        raise Invalid("counts: not whole numbers from 0, with a sum below 2^63")
    limit = MAX_OCTAVES << scale
    if type(offset) is not int or not -limit <= offset <= limit - len(counts):
        raise Invalid("offset: not a whole number with all buckets within 2^-64 and 2^64 seconds")
    return offset, counts


def _threshold(value: object) -> str:
    try:
        Slower.parse(text(value))
    except ValueError:
        raise Invalid("not a threshold such as 50ms or p99") from None
    return text(value)


def _optional_threshold(value: object) -> str:
    return "" if value == "" else _threshold(value)
