"""A trace as lines of text: one for each event, indented by the depth of its call."""

from __future__ import annotations

from datetime import datetime

from latency.recording import trace as told
from latency.recording.trace import TraceEvent, Value
from latency.report.names import escape
from latency.report.units import count, duration

HEADER = f"{'time':15} {'thread':>8}  → starts  ↳ goes on  ← returns  ✗ raises  ⇠ suspended  ⌫ freed"
LATER = "~ behind a value: part of it was read after the event, and may have changed since"
_MARKS = {
    told.STARTED: "→",
    told.RESUMED: "↳",
    told.RETURNED: "←",
    told.RAISED: "✗",
    told.YIELDED: "⇠",
    told.ABANDONED: "⌫",
}
_DEEPEST = 60  # levels that are indented
_LONGEST_NAME, _LONGEST_FILE = 80, 60
_LONGEST_ARGUMENT = 200  # so that the first ones of a call are not out of sight for one of them
_UNNAMED = "<unnamed>"


def line(event: TraceEvent, *, unit: str | None = None) -> str:
    """One event as one line, without its end."""
    when = clock(event.time_ns)
    if event.kind == told.LOST:
        noun = "event" if event.lost == 1 else "events"
        return f"{when} {'':>8}  … {count(event.lost)} {noun} lost here"
    function = event.function
    name = escape(function.qualname, _LONGEST_NAME) if function else _UNNAMED
    where = f"{escape(function.source, _LONGEST_FILE)}:{function.line}" if function else ""
    text = f"{when} {event.tid:>8}  {'  ' * min(event.depth, _DEEPEST)}{_MARKS[event.kind]} {name}"
    if event.kind == told.STARTED:
        if event.arguments is not None:
            text += f"({', '.join(argument(each) for each in event.arguments)})"
    elif event.kind == told.RETURNED and event.value:
        text += f" = {value(event.value)}"
    elif event.kind == told.RAISED:
        text += f" {value(event.value) if event.value else escape(event.exception)}"
    if event.latency_ns is not None:
        text += f"  {duration(event.latency_ns, unit)}"
        if event.active_ns:
            text += f" (ran {duration(event.active_ns, unit)})"
    return f"{text}  {where}"


def argument(each: Value) -> str:
    """``id=7``."""
    text = value(each, _LONGEST_ARGUMENT)
    return f"{escape(each.name)}={text}" if each.name else text


def value(each: Value, limit: int | None = None) -> str:
    """The text of a value, marked where part of it was read later; in at most so many cells."""
    return escape(each.text, limit) + ("~" if each.later else "")


def clock(time_ns: int) -> str:
    """``12:00:01.123456``, local time."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000).strftime("%H:%M:%S") + f".{time_ns // 1000 % 1_000_000:06}"
