"""What to say where a function was not called in what was measured: who may have called it, and how to see that."""

from __future__ import annotations

from collections.abc import Iterator

from latency.report.names import escape
from latency.tracing.loop import Outcome

_MOST_NAMED = 4
_LONGEST_NAME = 60


def nothing_called(outcome: Outcome) -> bool:
    """Whether no call at all was seen, of what was asked for."""
    functions = outcome.recording.functions
    return not any(it.calls or it.open or it.abandoned or it.cut for it in functions)


def bystanders(outcome: Outcome) -> Iterator[str]:
    """Of the children that ran Python, where a function that was asked for was not called: a line."""
    functions = outcome.recording.functions
    idle = any(not (it.calls or it.open or it.abandoned or it.cut) for it in functions)
    pythons = outcome.bystanders
    if not pythons or not (idle or outcome.missing or not functions):
        return
    named = [f"{pid} ({escape(name, _LONGEST_NAME)})" for pid, name in sorted(pythons.items())[:_MOST_NAMED]]
    more = ", …" if len(pythons) > _MOST_NAMED else ""
    whose = (
        "a child process ran Python and was"
        if len(pythons) == 1
        else f"{len(pythons):,} child processes ran Python and were"
    )
    yield f"{whose} not measured: {', '.join(named)}{more}; add --children"
