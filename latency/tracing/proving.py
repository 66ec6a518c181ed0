"""Watchpoints are trusted where they have been seen to see what the probes see, on this build and these functions.

For a moment both are in place, and what they take is in the latencies of each other. So nothing of that time is part of
the measurement by watchpoints, which begins anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

from latency.recording import Function
from latency.target.scheduling import threads_of, wait_until_gone_on
from latency.tracing.counted.agreement import Agreement, OpenFrame, Seen
from latency.tracing.counted.opencalls import open_calls
from latency.tracing.counted.reading import Reading
from latency.tracing.kernel import clock as kernel_clock
from latency.tracing.probes.session import Session
from latency.tracing.watch.session import WatchSession

ENOUGH_CALLS = 20
"""After so many there is no longer wait; where they are rare, one call is enough when the time is up."""
LONGEST_S, SHORTEST_TURN_S = 1.0, 0.1
"""In all; and of each turn, where the functions are watched in turns."""
DOUBT_S = 1.0
"""So much longer where they differ when the time is up: a thread that waits for a processor between what the one sees
of an end and what the other does makes them differ for as long as it waits."""
_PAUSE_S = 0.01


@dataclass(frozen=True)
class Verdict:
    """What a comparison showed.

    Attributes:
        calls: that both saw in the same way.
        difference: in what they differ, a line that follows "watch"; ``""`` where they do not.
        why_not: why that proves nothing, or the difference; ``""`` where they agree.
    """

    calls: int
    difference: str = ""
    why_not: str = ""


def proven(
    probes: Session,
    watching: WatchSession,
    *,
    longest_s: float = LONGEST_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Verdict:
    """Start ``watching`` beside ``probes``, which were started before, and compare.

    Raises:
        AttachError, KernelTooOld, TargetGone: the watchpoints cannot be placed.
    """
    watching.start()
    turns = len(watching.turns.groups)
    turn_s = max(longest_s / turns, SHORTEST_TURN_S) if turns > 1 else longest_s
    calls, compared = 0, False
    for turn in range(turns):
        if turn:
            watching.turns.advance()
        agreement = _compared(probes, watching, turn_s, clock, sleep)
        if agreement is None:
            continue
        compared = True
        calls += agreement.calls
        if agreement.difference:
            return Verdict(calls, agreement.difference, f"it {agreement.difference}")
    if not compared:
        return Verdict(0, why_not="calls came too fast for a comparison")
    return Verdict(calls, why_not="" if calls else "no call came while both looked")


def _compared(
    probes: Session,
    watching: WatchSession,
    longest_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Agreement | None:
    """What both see of the functions that are watched now; None where there was no moment to compare at."""
    # A thread may wait for a processor on its way into a call, past the watchpoint that was not there yet, and before
    # the probe.
    followed = watching.program.followed(watching.target.process)
    wait_until_gone_on(((process, tid) for process in followed for tid in threads_of(process)), sleep=sleep)
    agreement = Agreement(kernel_clock.now_ns())
    end = clock() + longest_s
    functions = watching.turns.whole
    compared = False
    while True:
        probes.target.process.check()
        probes.take_events()  # no poll: a limit would take the probes away
        both = _at_one_moment(partial(_seen_by, probes, functions), watching.seen)
        if both is not None:
            compared = True
            agreement.add(*both)
        longest = end + DOUBT_S if agreement.difference else end
        if agreement.calls >= ENOUGH_CALLS or clock() >= longest:
            return agreement if compared else None
        sleep(_PAUSE_S)


def _seen_by(probes: Session, functions: Collection[Function]) -> Seen:
    reading = Reading.take(probes.maps, probes.table, kernel_clock.now_ns())
    these = {name: each for name, each in reading.functions.items() if name in functions}
    ends = {name: (each.returned, each.raised, each.abandoned) for name, each in these.items()}
    slots = {slot for each in these.values() for slot in each.slots}
    calls = [call for call in open_calls(probes.maps) if call.slot in slots]
    return Seen(ends, frozenset(OpenFrame(call.frame, call.start_ns) for call in calls))


def _at_one_moment(one: Callable[[], Seen], other: Callable[[], Seen]) -> tuple[Seen, Seen] | None:
    """What both see while nothing happens; None where something did."""
    before = one(), other()
    after = one(), other()
    return after if before == after else None
