"""Slow calls one by one, the slowest first: when, how long, in which thread, with what, called from where."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timezone

from latency.recording import HIDDEN, Argument, SlowCall, SlowCalls, Slower, StackFrame
from latency.report.layout import Line, wrap
from latency.report.names import escape
from latency.report.units import count, duration, plural
from latency.report.words import Said

MOST_FRAMES = 12
"""Frames of one stack that are shown, the innermost first; the recording holds them all."""
_LONGEST_ARGUMENT = 200
_INDENT = "    "
_LATER = "~"
_AT_ENTRY = "arguments at entry"


def slow_calls(slow: SlowCalls, unit: str | None, width: int, *, values: bool = True) -> Iterator[Line]:
    """All that are kept, and what is not known of the others.

    Args:
        values: whether their arguments were to be read.
    """
    yield Line(heading(slow), style="bold")
    for said in doubts(slow):
        yield from wrap(said.text, width, style=said.style)
    yield from each_call(slow, unit, width, values=values)


def each_call(slow: SlowCalls, unit: str | None, width: int, *, values: bool = True) -> Iterator[Line]:
    """Those that are kept, in their order, and what their marks mean."""
    last: tuple[StackFrame, ...] = ()
    for call in slow.kept:
        yield Line("")
        yield from wrap("  ".join(headline(call, slow, unit)), width, style="yellow")
        for line in wrap(_signature(call, values=values), width - len(_INDENT) // 2):
            yield Line("  " + line.plain)
        if call.stack and call.stack == last:
            yield Line(f"{_INDENT}called as the one before", style="dim")
        else:
            yield from _stack(call, width)
        last = call.stack
    if slow.kept and (said_below := note(slow, values=values)):
        yield Line("")
        yield from wrap(said_below, width, style="dim")


def heading(slow: SlowCalls) -> str:
    """``12 calls slower than 50ms, the slowest 10:``."""
    beyond = f"slower than {slow.slower}"
    if not slow.seen and not slow.kept:
        return f"no call was {beyond}"
    seen = max(slow.seen, len(slow.kept))
    them = "all of them" if len(slow.kept) == seen else f"the slowest {len(slow.kept)}"
    return f"{plural(seen, 'call')} {beyond}, {them}:"


def doubts(slow: SlowCalls) -> Iterator[Said]:
    """What is not known of calls that are not among the kept ones."""
    if slow.unjudged:
        needed = count(Slower.parse(slow.slower).calls_needed)
        before = plural(slow.unjudged, "call")
        yield Said(f"not judged: {before} before their function had {needed} calls to compare with")
    if slow.lost:
        yield Said(
            f"not told: {plural(slow.lost, 'slow call')} that came faster than pylat could read them, and may be "
            "slower than these; they are in the histogram: raise --slower",
            "red",
        )


def note(slow: SlowCalls, *, values: bool) -> str:
    """What the marks of the kept calls mean."""
    parts = []
    if values:
        at_entry = any(call.arguments and call.arguments_at == "entry" for call in slow.kept)
        at_end = "arguments as they stood at the end of the call"
        parts = [f"{at_end}, or, where it says so, at its entry" if at_entry else at_end]
    if any(argument.later for call in slow.kept for argument in call.arguments or ()):
        parts.append(f"{_LATER}: read in part after it, and may have changed since")
    if any(HIDDEN in argument.text for call in slow.kept for argument in call.arguments or ()):
        parts.append(f"{HIDDEN}: secret by its name, not recorded; --show-secrets shows it")
    if any(call.function.kind != "function" or call.active_ns is not None for call in slow.kept):
        parts.append("the stack of a generator or coroutine is that of whoever resumed it last")
    return "; ".join(parts)


def headline(call: SlowCall, slow: SlowCalls, unit: str | None) -> list[str]:
    """How long, when, in which thread, with what outcome; and of what else is known of the call."""
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
    if Slower.parse(slow.slower).quantile:
        parts.append(f"threshold {duration(call.threshold_ns, unit)}")
    if call.arguments and call.arguments_at == "entry":
        parts.append(_AT_ENTRY)
    return parts


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
    return f"{name_of(call)}({', '.join(arguments(call, values=values))})"


def name_of(call: SlowCall) -> str:
    """Of its function."""
    return escape(call.function.qualname, 100) or "<unknown>"


def arguments(call: SlowCall, *, values: bool) -> list[str]:
    """``name=value`` of each; where they are not known, or were not to be read, a word for that."""
    if call.arguments is None:
        return ["<arguments unknown>" if values else "…"]
    return [f"{escape(each.name, 60)}={_text(each)}" for each in call.arguments]


def _text(argument: Argument) -> str:
    return escape(argument.text, _LONGEST_ARGUMENT) + (_LATER if argument.later else "")


def _frame(frame: StackFrame, width: int) -> Line:
    function = frame.function
    if not function.qualname and not function.filename:
        return Line(f"{_INDENT}<unknown>", style="dim")
    line = Line(_INDENT + escape(function.qualname, max(width // 2 - len(_INDENT), 8)), style="dim")
    where = line_of(frame)
    room = max(width - line.cell_len - 3 - len(where), 8)
    return line.append(f"  {escape(function.source, room)}{where}")


def line_of(frame: StackFrame) -> str:
    """``:88``, at which the call stands."""
    return f":{frame.line}" if frame.line else f":{frame.function.line} (its first line)"
