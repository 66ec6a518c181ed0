"""Slow calls one by one, the slowest first: when, how long, in which thread, with what, called from where."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timezone

from latency.recording import HIDDEN, Argument, SlowCall, SlowCalls, Slower, StackFrame
from latency.report.layout import Line, wrap
from latency.report.names import escape
from latency.report.units import count, duration, plural

MOST_FRAMES = 12
"""Frames of one stack that are shown, the innermost first; the recording holds them all."""
_LONGEST_ARGUMENT = 200
_INDENT = "    "
_LATER = "~"


def slow_calls(slow: SlowCalls, unit: str | None, width: int, *, values: bool = True) -> Iterator[Line]:
    """All that are kept, and what is not known of the others.

    Args:
        values: whether their arguments were to be read.
    """
    yield Line(_heading(slow), style="bold")
    if slow.unjudged:
        needed = count(Slower.parse(slow.slower).calls_needed)
        text = f"not judged: {plural(slow.unjudged, 'call')} before their function had {needed} calls to compare with"
        yield from wrap(text, width)
    if slow.lost:
        text = (
            f"not told: {plural(slow.lost, 'slow call')} that came faster than pylat could read them, and may be "
            "slower than these; they are in the histogram: raise --slower"
        )
        yield from wrap(text, width, style="red")
    by_percentile = bool(Slower.parse(slow.slower).quantile)
    last: tuple[StackFrame, ...] = ()
    for call in slow.kept:
        yield Line("")
        yield from _call(call, unit, width, by_percentile=by_percentile, values=values)
        if call.stack and call.stack == last:
            yield Line(f"{_INDENT}called as the one before", style="dim")
        else:
            yield from _stack(call, width)
        last = call.stack
    if slow.kept and (note := _note(slow, values=values)):
        yield Line("")
        yield from wrap(note, width, style="dim")


def _heading(slow: SlowCalls) -> str:
    beyond = f"slower than {slow.slower}"
    if not slow.seen and not slow.kept:
        return f"no call was {beyond}"
    seen = max(slow.seen, len(slow.kept))
    them = "all of them" if len(slow.kept) == seen else f"the slowest {len(slow.kept)}"
    return f"{plural(seen, 'call')} {beyond}, {them}:"


def _note(slow: SlowCalls, *, values: bool) -> str:
    parts = ["arguments as they stood at the end of the call"] if values else []
    if any(argument.later for call in slow.kept for argument in call.arguments or ()):
        parts.append(f"{_LATER}: read in part after it, and may have changed since")
    if any(HIDDEN in argument.text for call in slow.kept for argument in call.arguments or ()):
        parts.append(f"{HIDDEN}: secret by its name, not recorded; --show-secrets shows it")
    if any(call.active_ns is not None for call in slow.kept):
        parts.append("the stack of a generator or coroutine is that of whoever resumed it last")
    return "; ".join(parts)


def _call(call: SlowCall, unit: str | None, width: int, *, by_percentile: bool, values: bool) -> Iterator[Line]:
    outcome = call.outcome
    if outcome == "raised" and call.exception:
        outcome += f" {escape(call.exception, 60)}"
    began = call.began_at.astimezone(timezone.utc)
    parts = [
        duration(call.duration_ns, unit),
        f"{began:%H:%M:%S.%f}Z",
        f"thread {call.tid} ({escape(call.thread, 16)})",
        outcome,
    ]
    if call.active_ns is not None:
        parts.append(f"ran for {duration(call.active_ns, unit)} of it")
    if by_percentile:
        parts.append(f"threshold {duration(call.threshold_ns, unit)}")
    yield from wrap("  ".join(parts), width, style="yellow")
    for line in wrap(_signature(call, values=values), width - len(_INDENT) // 2):
        yield Line("  " + line.plain)


def _stack(call: SlowCall, width: int) -> Iterator[Line]:
    shown = call.stack[:MOST_FRAMES]
    for frame in shown:
        yield _frame(frame, width)
    more = len(call.stack) - len(shown)
    if more:
        yield Line(f"{_INDENT}… and {count(more)} more", style="dim")
    if not call.stack_whole:
        yield Line(f"{_INDENT}… and those beyond them", style="dim")


def _signature(call: SlowCall, *, values: bool) -> str:
    name = escape(call.function.qualname, 100) or "<unknown>"
    if call.arguments is None and not values:
        return f"{name}(…)"
    if call.arguments is None:
        return f"{name}(<arguments unknown>)"
    texts = (f"{escape(each.name, 60)}={_text(each)}" for each in call.arguments)
    return f"{name}({', '.join(texts)})"


def _text(argument: Argument) -> str:
    return escape(argument.text, _LONGEST_ARGUMENT) + (_LATER if argument.later else "")


def _frame(frame: StackFrame, width: int) -> Line:
    function = frame.function
    if not function.qualname and not function.filename:
        return Line(f"{_INDENT}<unknown>", style="dim")
    line = Line(_INDENT + escape(function.qualname, max(width // 2 - len(_INDENT), 8)), style="dim")
    where = f":{frame.line}" if frame.line else f":{function.line} (its first line)"
    room = max(width - line.cell_len - 3 - len(where), 8)
    return line.append(f"  {escape(function.source, room)}{where}")
