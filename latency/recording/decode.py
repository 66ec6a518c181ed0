"""``pylat/1`` JSON into recordings. A file may be old, foreign, broken or hostile: every value is checked.

Unknown keys are ignored, so that a newer pylat can add some; what the contract names must be there and be right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from math import isfinite
from typing import Any, TypeVar

import numpy as np

from latency.histogram import Histogram
from latency.recording.function import KINDS, Function
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
from latency.recording.slow import MOST_SLOWEST, OUTCOMES, Argument, SlowCall, SlowCalls, Slower, StackFrame
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


class Invalid(ValueError):
    """What is wrong in the JSON, beginning with where: ``functions[3].wall.counts: ...``."""


def run_from_json(value: object) -> Recording:
    """One element of ``runs``.

    Raises:
        Invalid: it is not what ``pylat/1`` promises.
    """
    run = _dict(value)
    return Recording(
        id=_get(run, "id", _text),
        started_at=_get(run, "started_at", _time),
        duration_s=_get(run, "duration_s", _amount),
        target=_get(run, "target", _target),
        options=_get(run, "options", _options),
        functions=_get(run, "functions", _list_of(_function)),
        losses=_get(run, "losses", _losses),
        blind_spots=_get(run, "blind_spots", _list_of(_text)),
        overhead=_get(run, "overhead", _optional(_overhead)),
        began_before=_get(run, "began_before", _count, 0),
        events=_get(run, "events", _counters, {}),
        processes=_get(run, "processes", _list_of(_process), ()),
        watched=_get(run, "watched", _optional(_watched), None),
        slow_calls=_get(run, "slow_calls", _optional(_slow_calls), None),
    )


def _target(value: object) -> TargetInfo:
    target = _dict(value)
    names = ("command", "python", "build_id", "executable", "engine", "offsets", "kernel", "machine")
    texts = {name: _get(target, name, _text) for name in names}
    texts["choice"] = _get(target, "choice", _text, "")
    return TargetInfo(pids=_get(target, "pids", _list_of(_count)), cpus=_get(target, "cpus", _count), **texts)


def _options(value: object) -> Options:
    options = _dict(value)
    return Options(
        func=_get(options, "func", _list_of(_text), ()),
        regex=_get(options, "regex", _bool, False),
        duration_s=_get(options, "duration_s", _optional(_amount), None),
        interval_s=_get(options, "interval_s", _optional(_amount), None),
        engine=_get(options, "engine", _text, "auto"),
        children=_get(options, "children", _bool, False),
        max_overhead_pct=_get(options, "max_overhead_pct", _optional(_amount), None),
        markers=_get(options, "markers", _list_of(_text), ()),
        offcpu=_get(options, "offcpu", _bool, False),
        self_time=_get(options, "self_time", _bool, False),
        slower=_get(options, "slower", _optional_threshold, ""),
        slowest=_get(options, "slowest", _count, 10),
        show_secrets=_get(options, "show_secrets", _bool, False),
        values=_get(options, "values", _bool, True),
    )


def _losses(value: object) -> Losses:
    return Losses.from_dict(_counters(value))


def _overhead(value: object) -> Overhead:
    overhead = _dict(value)
    return Overhead(
        hits=_get(overhead, "hits", _count),
        ns_per_hit=_get(overhead, "ns_per_hit", _amount),
        share_of_cpu=_get(overhead, "share_of_cpu", _amount),
        memory_bytes=_get(overhead, "memory_bytes", _count, 0),
        map_bytes=_get(overhead, "map_bytes", _count, 0),
    )


def _watched(value: object) -> Watched:
    watched = _dict(value)
    share = _get(watched, "share", _amount)
    if share > 1:
        raise Invalid("share: more than 1")
    return Watched(share=share, slices=_get(watched, "slices", _count))


def _process(value: object) -> ProcessCalls:
    process = _dict(value)
    return ProcessCalls(
        pid=_get(process, "pid", _count),
        returned=_get(process, "returned", _count),
        raised=_get(process, "raised", _count),
        ended=_get(process, "ended", _bool),
    )


def _slow_calls(value: object) -> SlowCalls:
    slow = _dict(value)
    limit = _get(slow, "limit", _count)
    if limit > MOST_SLOWEST:
        raise Invalid(f"limit: more than {MOST_SLOWEST}")
    found = SlowCalls(
        slower=_get(slow, "slower", _threshold),
        limit=limit,
        seen=_get(slow, "seen", _count),
        kept=_get(slow, "kept", _list_of(_slow_call, most=limit)),
        lost=_get(slow, "lost", _count),
        unjudged=_get(slow, "unjudged", _count),
    )
    if any(one.duration_ns < other.duration_ns for one, other in zip(found.kept, found.kept[1:], strict=False)):
        raise Invalid("kept: not the longest first")
    return found


def _slow_call(value: object) -> SlowCall:
    call = _dict(value)
    return SlowCall(
        function=_name(call),
        began_at=_get(call, "began_at", _time),
        **{name: _get(call, name, _count) for name in ("duration_ns", "threshold_ns", "pid", "tid")},
        thread=_get(call, "thread", _text),
        outcome=_get(call, "outcome", _one_of(OUTCOMES)),
        exception=_get(call, "exception", _text),
        arguments=_get(call, "arguments", _optional(_list_of(_argument, most=MAX_ARGUMENTS))),
        stack=_get(call, "stack", _list_of(_stack_frame, most=MAX_STACK)),
        stack_whole=_get(call, "stack_whole", _bool),
        active_ns=_get(call, "active_ns", _optional(_count)),
    )


def _stack_frame(value: object) -> StackFrame:
    frame = _dict(value)
    return StackFrame(_name(frame), _get(frame, "at", _count))


def _argument(value: object) -> Argument:
    argument = _dict(value)
    return Argument(_get(argument, "name", _text), _get(argument, "text", _text), _get(argument, "later", _bool))


def _name(entry: dict[str, Any]) -> Function:
    qualname, filename = _get(entry, "qualname", _text), _get(entry, "filename", _text)
    return Function(qualname, filename, _get(entry, "line", _count), _get(entry, "kind", _one_of(KINDS)))


def _function(value: object) -> FunctionLatency:
    entry = _dict(value)
    wall = _get(entry, "wall", _histogram)
    latency = FunctionLatency(
        _name(entry),
        returned=_get(entry, "returned", _count),
        raised=_get(entry, "raised", _count),
        wall=wall,
        active=_get(entry, "active", _optional(_histogram)),
        open=_get(entry, "open", _count),
        abandoned=_get(entry, "abandoned", _count),
        suspensions=_get(entry, "suspensions", _count),
        slices=_get(entry, "slices", lambda slices: _slices(slices, wall), ()),
        oldest_open_ns=_get(entry, "oldest_open_ns", _count, 0),
        split=_get(entry, "split", _split, None),
        self_time=_get(entry, "self", _histogram, None),
        cut=_get(entry, "cut", _count, 0),
        ages=_get(entry, "ages", _optional(_histogram), None),
        probes=_get(entry, "probes", _probes, None),
        code=_get(entry, "code", _text, ""),
    )
    aged = latency.ages.count if latency.ages else 0
    if not latency.cut <= aged <= latency.cut + latency.open:
        raise Invalid("ages: not those of the cut calls and of open ones")
    if _get(entry, "calls", _count) != latency.calls:
        raise Invalid("calls: not returned + raised")
    return latency


def _probes(value: object) -> Probes:
    probes = _dict(value)
    shares = _get(probes, "error_share", _amount), _get(probes, "delayed_share", _amount, 0.0)
    return Probes(_get(probes, "sum_ns", _count), *shares)


def _split(value: object) -> Split:
    split = _dict(value)
    if _get(split, "unit", _text) != "s":
        raise Invalid('unit: not "s"')
    scale = _get(split, "scale", _count)
    if scale > MAX_SCALE:
        raise Invalid(f"scale: more than {MAX_SCALE}")
    offset = split.get("offset")
    rows = {part: _get(split, part, lambda sums: _sums(sums, offset, scale)) for part in PARTS if part != "gc"}
    gc = _get(split, "gc", _optional(lambda sums: _sums(sums, offset, scale)))
    rows["gc"] = [0] * len(rows["running"]) if gc is None else gc
    if len(set(map(len, rows.values()))) > 1:
        raise Invalid("sums_ns: not as many in each part")
    if sum(map(sum, rows.values())) >= _END:
        raise Invalid("sums_ns: more than 2^63 - 1 in all")
    parts_ns = np.array([rows[part] for part in PARTS], np.int64)
    return Split(_get(split, "calls", _count), scale, offset, parts_ns, gc is not None)  # type: ignore[arg-type]


def _sums(value: object, offset: object, scale: int) -> list[int]:
    part = _dict(value)
    _, sums_ns = _buckets(offset, part.get("sums_ns"), scale)
    if _get(part, "sum_ns", _count) != sum(sums_ns):
        raise Invalid("sum_ns: not the sum of sums_ns")
    return sums_ns


def _histogram(value: object) -> Histogram:
    histogram = _dict(value)
    if _get(histogram, "unit", _text) != "s":
        raise Invalid('unit: not "s"')
    scale = _get(histogram, "scale", _count)
    if scale > MAX_SCALE:
        raise Invalid(f"scale: more than {MAX_SCALE}")
    offset, counts = _buckets(histogram.get("offset"), histogram.get("counts"), scale)
    count, least, most = (_get(histogram, name, _count) for name in ("count", "min_ns", "max_ns"))
    if sum(counts) != count:
        raise Invalid("count: not the sum of counts")
    if least > most:
        raise Invalid("min_ns: more than max_ns")
    return Histogram(scale, offset, np.array(counts, np.int64), _get(histogram, "sum_ns", _count), least, most)


def _slices(value: object, whole: Histogram) -> Sequence[Histogram]:
    if not isinstance(value, list) or len(value) > MAX_SLICES:
        raise Invalid(f"not a list of at most {MAX_SLICES}")
    found = []
    for part in value:
        if not isinstance(part, list) or len(part) != 3:
            raise Invalid("not lists of offset, sum and counts")
        offset, counts = _buckets(part[0], part[2], whole.scale)
        found.append(Histogram(whole.scale, offset, np.array(counts, np.int64), _count(part[1]), 0, 0))
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


_REQUIRED: Any = object()


def _get(source: dict[str, Any], key: str, read: Callable[[object], T], default: Any = _REQUIRED) -> T:
    """The value of key, read and checked; a failure says where it was."""
    value = source.get(key, default)
    if value is default and key not in source:
        if default is _REQUIRED:
            raise Invalid(f"{key}: missing")
        found: T = default
        return found
    try:
        return read(value)
    except Invalid as invalid:
        raise _at(key, invalid) from None


def _at(where: str, invalid: Invalid) -> Invalid:
    inner = str(invalid)
    if inner.startswith("["):
        return Invalid(f"{where}{inner}")
    return Invalid(f"{where}{'.' if ':' in inner else ': '}{inner}")


def _list_of(read: Callable[[object], T], *, most: int = _END) -> Callable[[object], tuple[T, ...]]:
    def read_list(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise Invalid("not a list")
        if len(value) > most:
            raise Invalid(f"not a list of at most {most}")
        found = []
        for index, each in enumerate(value):
            try:
                found.append(read(each))
            except Invalid as invalid:
                raise _at(f"[{index}]", invalid) from None
        return tuple(found)

    return read_list


def _optional(read: Callable[[object], T]) -> Callable[[object], T | None]:
    return lambda value: None if value is None else read(value)


def _one_of(known: Sequence[str]) -> Callable[[object], str]:
    def read_one(value: object) -> str:
        if _text(value) not in known:
            raise Invalid("not one of " + ", ".join(known))
        return _text(value)

    return read_one


def _threshold(value: object) -> str:
    try:
        Slower.parse(_text(value))
    except ValueError:
        raise Invalid("not a threshold such as 50ms or p99") from None
    return _text(value)


def _optional_threshold(value: object) -> str:
    return "" if value == "" else _threshold(value)


def _dict(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Invalid("not an object")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Invalid("not text")
    return value


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise Invalid("not true or false")
    return value


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value < _END:
        raise Invalid("not a whole number from 0 to 2^63 - 1")
    return value


def _amount(value: object) -> float:
    if type(value) not in (int, float) or not isfinite(value) or value < 0:  # type: ignore[arg-type, operator]
        raise Invalid("not a finite number from 0")
    return value  # type: ignore[return-value]


def _counters(value: object) -> Mapping[str, int]:
    found = {}
    for name, count in _dict(value).items():
        try:
            found[name] = _count(count)
        except Invalid as invalid:
            # The name is the file's, and the message goes to a terminal.
            raise _at(f"[{name!a:.40}]", invalid) from None
    return found


def _time(value: object) -> datetime:
    try:
        # Before CPython 3.11 fromisoformat knows no Z.
        return datetime.fromisoformat(_text(value).replace("Z", "+00:00")).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise Invalid("not a time such as 2026-11-23T05:00:00Z") from None
