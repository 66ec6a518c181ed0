"""A recording as ``pylat/1`` JSON: plain dicts, lists, numbers and text."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timezone
from math import isfinite
from typing import Any

from latency.histogram import Histogram
from latency.recording.function import Function
from latency.recording.model import PERCENTILES, FunctionLatency, Recording, percentile_name
from latency.recording.parts import Parts
from latency.recording.slow import SlowCall, SlowCalls
from latency.recording.split import PARTS, Split

SCHEMA = "pylat/1"
"""The format and its version, as a file says it."""

Json = dict[str, Any]


def to_json(recording: Recording) -> Json:
    """One run, as it stands in ``runs``."""
    overhead = recording.overhead
    return {
        "id": recording.id,
        "started_at": _time(recording.started_at),
        "duration_s": recording.duration_s,
        "target": asdict(recording.target),
        "options": {key: value for key, value in asdict(recording.options).items() if value is not None},
        "functions": [_function(each) for each in recording.functions],
        "losses": recording.losses.as_dict(),
        "blind_spots": list(recording.blind_spots),
        "overhead": None if overhead is None else asdict(overhead),
        "began_before": recording.began_before,
        "events": dict(recording.events),
        "watched": None if recording.watched is None else asdict(recording.watched),
        "processes": [{**asdict(each), "calls": each.calls} for each in recording.processes],
        **({} if recording.slow_calls is None else {"slow_calls": _slow_calls(recording.slow_calls)}),
    }


def _time(at: datetime) -> str:
    return at.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _slow_calls(slow: SlowCalls) -> Json:
    return {
        "slower": slow.slower,
        "limit": slow.limit,
        "seen": slow.seen,
        "lost": slow.lost,
        "unjudged": slow.unjudged,
        "kept": [slow_call_to_json(each) for each in slow.kept],
    }


def slow_call_to_json(call: SlowCall) -> Json:
    arguments = call.arguments
    return {
        **_named(call.function),
        "began_at": _time(call.began_at),
        **{name: getattr(call, name) for name in ("duration_ns", "active_ns", "threshold_ns", "pid", "tid", "thread")},
        **{name: getattr(call, name) for name in ("host_pid", "host_tid", "outcome", "exception", "stack_whole")},
        "arguments": None if arguments is None else [asdict(each) for each in arguments],
        "arguments_at": call.arguments_at,
        "stack": [{**_named(frame.function), "at": frame.line} for frame in call.stack],
    }


def _named(function: Function) -> Json:
    named: Json = {name: getattr(function, name) for name in ("qualname", "filename", "line", "kind")}
    return {**named, "module": function.module} if function.module else named


def _function(latency: FunctionLatency) -> Json:
    names = [percentile_name(q) for q in PERCENTILES]
    percentiles = zip(names, latency.percentiles_ns().tolist(), strict=True)
    encoded: Json = {
        **_named(latency.function),
        "calls": latency.calls,
        "returned": latency.returned,
        "raised": latency.raised,
        "open": latency.open,
        "abandoned": latency.abandoned,
        "suspensions": latency.suspensions,
        "oldest_open_ns": latency.oldest_open_ns,
        "wall": _histogram(latency.wall),
        "active": None if latency.active is None else _histogram(latency.active),
        # JSON has no nan: no calls, no percentiles.
        "percentiles_ns": {name: round(value, 1) for name, value in percentiles if isfinite(value)},
    }
    if latency.code:
        encoded["code"] = latency.code
    if latency.owners is not None:
        encoded["owners"] = {"count": latency.owners.count, "names": list(latency.owners.names)}
    if latency.probes is not None:
        encoded["probes"] = {
            "sum_ns": latency.probes.sum_ns,
            "mean_ns": round(latency.probes.mean_ns(latency.calls), 1),
            "share": latency.probe_share,
            "error_ns": round(latency.probe_error_ns, 1),
            "error_share": latency.probes.error_share,
            "delayed_share": latency.probes.delayed_share,
            "unsure_ns": latency.probes.unsure_ns,
        }
    if latency.watched is not None:
        encoded["watched"] = asdict(latency.watched)
    if latency.ages is not None:
        bounds = zip(names, latency.at_least_ns().tolist(), strict=True)
        encoded["at_least_ns"] = {name: round(value, 1) for name, value in bounds if isfinite(value)}
        encoded["cut"] = latency.cut
        encoded["ages"] = _histogram(latency.ages)
    if latency.slices:
        intervals = zip(names, latency.intervals_ns(), strict=True)
        encoded["intervals_ns"] = {name: [round(end, 1) for end in ends] for name, ends in intervals if ends}
        parts = latency.slices
        encoded["slices"] = (parts if isinstance(parts, Parts) else Parts.of(parts, latency.wall)).rows()
    if latency.split is not None:
        encoded["split"] = _split(latency.split)
    if latency.self_time is not None:
        encoded["self"] = _histogram(latency.self_time)
    return encoded


def _split(split: Split) -> Json:
    encoded: Json = {"calls": split.calls, "unit": "s", "scale": split.scale, "offset": split.offset}
    for part, sums_ns in zip(PARTS, split.parts_ns.tolist(), strict=True):
        encoded[part] = {"sum_ns": sum(sums_ns), "sums_ns": sums_ns}
    return encoded if split.gc_known else {**encoded, "gc": None}


def _histogram(histogram: Histogram) -> Json:
    return {
        "unit": "s",
        "scale": histogram.scale,
        "offset": histogram.offset,
        "counts": histogram.counts.tolist(),
        "count": histogram.count,
        "sum_ns": histogram.sum_ns,
        "min_ns": histogram.min_ns,
        "max_ns": histogram.max_ns,
    }
