"""Slow calls, one by one: what was asked for, and the slowest of those that were found."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil

from latency.recording.function import Function

HIDDEN = "<hidden>"
"""Stands for a value whose name says that it is secret."""
SLOWEST = 10
"""How many are kept unless something else is asked for."""
MOST_SLOWEST = 10_000
OUTCOMES = ("returned", "raised")
MOMENTS = ("end", "entry")
"""At which the arguments of a call were taken."""

_UNITS_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9}
_LONGEST_NS = 10**18
_BEYOND = 10  # calls beyond a percentile without which it is no more than the slowest call so far


@dataclass(frozen=True)
class Slower:
    """Which calls are slow.

    Attributes:
        threshold_ns: those that take longer; 0 where the quantile decides.
        quantile: or those beyond this one of their function, 0 .. 1.
    """

    threshold_ns: int = 0
    quantile: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Slower:
        """``50ms``, ``1.5s``, ``p99``, ``p99.9``. Raises ValueError."""
        if match := re.fullmatch(r"p(\d{1,2}(?:\.\d{1,3})?)", text, re.ASCII):
            if percent := float(match[1]):
                return cls(quantile=percent / 100)
        elif match := re.fullmatch(r"(\d{1,10}(?:\.\d{1,9})?) ?(ns|us|µs|μs|ms|s)", text, re.ASCII):
            threshold_ns = round(float(match[1]) * _UNITS_NS[match[2]])
            if 0 < threshold_ns < _LONGEST_NS:
                return cls(threshold_ns=threshold_ns)
        raise ValueError(f"{text!r} is no threshold: give a duration with its unit (50ms) or a percentile (p99)")

    @property
    def calls_needed(self) -> int:
        """Calls of a function before its percentile is used: so many that ten are beyond it. 0 for a duration."""
        return ceil(round(_BEYOND / (1 - self.quantile), 6)) if self.quantile else 0


@dataclass(frozen=True, slots=True)
class StackFrame:
    """One frame above a call.

    Attributes:
        function: what it runs; its name is empty where that is not known.
        line: at which the call stands; 0 where that is not known.
    """

    function: Function
    line: int = 0


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a call.

    Attributes:
        name: its name.
        text: what it held at the end of the call, or at its entry (``SlowCall.arguments_at``).
        later: some of that was read only afterwards, and may have changed in between.
    """

    name: str
    text: str
    later: bool = False


@dataclass(frozen=True)
class SlowCall:
    """One slow call. All text comes from the target.

    Attributes:
        function: whose call it is.
        began_at: UTC; of a generator or coroutine: its first start.
        duration_ns: from entry to end, as in the histogram.
        threshold_ns: what it was compared with.
        pid: its process, as the target itself numbers it.
        tid, thread: the thread in which it ended, numbered likewise, and that thread's name.
        host_pid, host_tid: the kernel's own numbers of these: others where the target is in a PID namespace. 0: not
            known.
        outcome: one of ``OUTCOMES``.
        exception: the name of the type of what it raised; ``""`` otherwise, and where it is not known.
        arguments: None where they could not be read.
        arguments_at: when they were taken, one of ``MOMENTS``.
        stack: of its callers, the innermost first; of a generator or coroutine those that resumed it last.
        stack_whole: whether the last of them has no caller.
        active_ns: of a generator or coroutine, the time that it ran, where that is known; else None.
    """

    function: Function
    began_at: datetime
    duration_ns: int
    threshold_ns: int
    pid: int
    tid: int
    thread: str
    outcome: str = "returned"
    exception: str = ""
    arguments: tuple[Argument, ...] | None = None
    stack: tuple[StackFrame, ...] = ()
    stack_whole: bool = True
    active_ns: int | None = None
    host_pid: int = 0
    host_tid: int = 0
    arguments_at: str = "end"


@dataclass(frozen=True)
class SlowCalls:
    """The slow calls of one measurement.

    Attributes:
        slower: what was asked for, as ``Slower.parse`` reads it.
        limit: how many of them are kept.
        seen: how many there were.
        kept: the slowest, the longest first.
        lost: how many were seen and could not be told: they may be slower than those that are kept.
        unjudged: calls that ended before their function had enough calls for a percentile.
    """

    slower: str
    limit: int
    seen: int = 0
    kept: tuple[SlowCall, ...] = ()
    lost: int = 0
    unjudged: int = 0


def slowest(calls: Iterable[SlowCall], limit: int) -> tuple[SlowCall, ...]:
    """The slowest of them, the longest first."""
    return tuple(sorted(calls, key=lambda call: (-call.duration_ns, call.began_at))[:limit])


def all_slow(parts: Sequence[SlowCalls | None]) -> SlowCalls | None:
    """The slow calls of several processes together; None if they were not asked for."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    limit = max(part.limit for part in known)
    return replace(
        known[0],
        limit=limit,
        seen=sum(part.seen for part in known),
        kept=slowest((call for part in known for call in part.kept), limit),
        lost=sum(part.lost for part in known),
        unjudged=sum(part.unjudged for part in known),
    )
