"""A trace as JSON: one object for each event, one on a line."""

from __future__ import annotations

import json
from typing import Any

from latency.recording import trace as told
from latency.recording.trace import TraceEvent, Value


def line(event: TraceEvent) -> str:
    """One event as one line, without its end. ASCII only: what a target calls its functions is escaped."""
    return json.dumps(to_json(event), separators=(",", ":"))


def to_json(event: TraceEvent) -> dict[str, Any]:
    """One event. Times in nanoseconds, ``time_ns`` since the epoch."""
    if event.kind == told.LOST:
        return {"event": event.kind, "time_ns": event.time_ns, "lost": event.lost}
    function = event.function
    found: dict[str, Any] = {
        "event": event.kind,
        "time_ns": event.time_ns,
        "pid": event.pid,
        "tid": event.tid,
        **of_host(event.pid, event.tid, event.host_pid, event.host_tid),
        "depth": event.depth,
        "function": function.qualname if function else None,
        "file": function.filename if function else None,
        "line": function.line if function else None,
        "frame": f"{event.frame:#x}",
    }
    if event.latency_ns is not None:
        found["latency_ns"] = event.latency_ns
    if event.active_ns:
        found["active_ns"] = event.active_ns
    if event.arguments is not None:
        found["args"] = [{"name": each.name, **value(each)} for each in event.arguments]
    if event.kind == told.RAISED:
        found["exception"] = {"type": event.exception, **(value(event.value) if event.value else {})}
    elif event.value is not None:
        found["value"] = value(event.value)
    return found


def of_host(pid: int, tid: int, host_pid: int, host_tid: int) -> dict[str, int]:
    """The kernel's numbers, where these are known and others."""
    return {} if not host_tid or (pid, tid) == (host_pid, host_tid) else {"host_pid": host_pid, "host_tid": host_tid}


def value(each: Value) -> dict[str, str]:
    """A value: its text, and ``"read": "later"`` where part of it was read after the event."""
    return {"value": each.text, "read": "later"} if each.later else {"value": each.text}


def end(*, events: int, calls: int, lost: int, losses: dict[str, int]) -> str:
    """The last line: how many events and finished calls were told, and what was lost."""
    return json.dumps(
        {"event": "end", "events": events, "calls": calls, "lost": lost, "losses": losses}, separators=(",", ":")
    )
