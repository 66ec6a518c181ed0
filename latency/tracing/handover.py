"""From probes to watchpoints while both measure, with no call lost or seen twice.

Both look at the same calls for a moment, as always (``proving.py``). Then, at a moment at which nothing happens, what
the probes have counted until then stays, and what the watchpoints have counted is of after that. Calls that are open
then are put into the watchpoints' table (``watch/handing.py``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

from latency.errors import PylatError, UsageError
from latency.recording import Function, Recording
from latency.target.scheduling import wait_until_gone_on
from latency.tracing.counted.opencalls import OpenCall, by_slot, open_calls
from latency.tracing.counted.reading import Reading
from latency.tracing.kernel import clock
from latency.tracing.probes.session import Session
from latency.tracing.proving import proven
from latency.tracing.watch.handing import Handing, OpenedCall
from latency.tracing.watch.session import WatchSession

FIRST_S, _LONGEST_S = 0.1, 60.0
"""Between two attempts, each of which waits twice as long as the one before."""
_LONGEST_TRIED_S = 1.0  # to find a moment at which nothing happens


class Over(NamedTuple):
    """The probes are closed, and the watchpoints go on.

    Attributes:
        earlier: what the probes have seen.
        untold: what of that no interval has told yet.
        calls: that both saw in the same way before.
    """

    earlier: Recording
    untold: Recording
    calls: int


class Refused(NamedTuple):
    """The probes stay. ``never``: it need not be tried again."""

    why: str
    never: bool = False


class Successor:
    """What takes over from probes as soon as it can: made ready beside them, tried, and made anew.

    Args:
        make: the session that would watch, with nothing attached yet; in another thread.

    Attributes:
        why: why it has not yet; ``""`` before the first attempt has ended.
        given_up: it never will.
    """

    def __init__(self, make: Callable[[], WatchSession]) -> None:
        self.why = ""
        self.given_up = False
        self._make = make
        self._ready: Future[WatchSession] | None = None
        self._pause_s, self._next_s = FIRST_S, 0.0
        self._disturbed = 0

    @property
    def is_waiting(self) -> bool:
        """No attempt is under way."""
        return self._ready is None

    def step(self, probes: Session) -> tuple[WatchSession, Over] | None:
        """Call it often: what has taken over, once."""
        if self.given_up:
            return None
        if self._ready is None:
            if time.monotonic() >= self._next_s:
                pool = ThreadPoolExecutor(1)
                self._ready = pool.submit(self._make)
                pool.shutdown(wait=False)
            return None
        if not self._ready.done():
            return None
        ready, self._ready = self._ready, None
        try:
            return self._tried(probes, ready.result())
        except UsageError as error:  # they are of a kind that cannot be watched
            self._refused(str(error), never=True)
        except PylatError as error:  # of the watchpoints; or the target has just ended, as the next poll says
            self._refused(str(error))
        return None

    def close(self) -> None:
        """Nothing takes over any more."""
        self.given_up = True
        if self._ready:
            self._ready.add_done_callback(close_when_ready)

    def _tried(self, probes: Session, watching: WatchSession) -> tuple[WatchSession, Over] | None:
        outcome: Over | Refused | None = None
        try:
            outcome = hand_over(probes, watching)
        finally:
            if not isinstance(outcome, Over):
                self._say_what_was_disturbed(probes, watching)
                watching.close()
        if isinstance(outcome, Refused):
            self._refused(outcome.why, never=outcome.never)
            return None
        return watching, outcome

    def _say_what_was_disturbed(self, probes: Session, watching: WatchSession) -> None:
        """What the watchpoints took is in the latencies of the calls that hit them, and the probes go on."""
        if calls := watching.maps.counters()["entries"]:
            before = _both_looked(self._disturbed)
            self._disturbed += calls
            probes.unseen[:] = [*(line for line in probes.unseen if line != before), _both_looked(self._disturbed)]

    def _refused(self, why: str, *, never: bool = False) -> None:
        self.why, self.given_up = why, never
        self._next_s = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_S)


def close_when_ready(ready: Future[WatchSession]) -> None:
    """Of a session that is not needed any more."""
    if not ready.exception():
        ready.result().close()


def hand_over(probes: Session, watching: WatchSession) -> Over | Refused:
    """Let ``watching``, which was not started, go on from ``probes``, which measure.

    Raises:
        AttachError, KernelTooOld, TargetGone: the watchpoints cannot be placed; the probes stay.
    """
    if len(watching.turns.groups) > 1:
        return Refused("they are more than the processor watches at once", never=True)
    if watching.missing:
        return Refused(f"no function matches {', '.join(watching.missing)} yet")
    known = {live.function for live in watching.functions}
    if not _reading_of(probes).functions.keys() <= known:
        return Refused("a function is gone, or was defined anew")
    verdict = proven(probes, watching)
    if verdict.why_not:
        return Refused(verdict.why_not, never=bool(verdict.difference))
    handing = Handing(watching)
    end_s = time.monotonic() + _LONGEST_TRIED_S
    while time.monotonic() < end_s:
        moment = _moment(probes, handing)
        if moment and handing.is_same(moment.watch, moment.frames, _opened(probes, moment.opens)):
            return _go_on(probes, watching, handing, moment.probes, verdict.calls)
    return Refused("calls came too fast to be handed over")


def _go_on(probes: Session, watching: WatchSession, handing: Handing, until: Reading, calls: int) -> Over:
    watching.unseen.append(_not_taken_off(calls, handing.number))
    handing.go_on()
    untold, earlier = probes.interval(until), probes.stop(until)
    probes.close()
    # The other one sees these to their end.
    events = {**earlier.events, "entries": earlier.events["entries"] - handing.number}
    return Over(replace(earlier, events=events), untold, calls)


@dataclass(frozen=True)
class _Moment:
    """What both have counted, and the calls that are open: of the probes, and the frames of those of the other."""

    probes: Reading
    opens: set[OpenCall]
    watch: Reading
    frames: set[int]

    def is_as(self, other: _Moment) -> bool:
        """Whether nothing has happened in between."""
        ends = [[_ends(reading) for reading in (each.probes, each.watch)] for each in (self, other)]
        # A call can begin and end after a reading's functions were read and before its counters were.
        entries = [[reading.counters["entries"] for reading in (each.probes, each.watch)] for each in (self, other)]
        return (
            ends[0] == ends[1] and entries[0] == entries[1] and (self.opens, self.frames) == (other.opens, other.frames)
        )


def _moment(probes: Session, handing: Handing) -> _Moment | None:
    """While nothing happens; None where something did.

    In between each thread has run, or sleeps: one that waits for a processor may have told the one of an end, and not
    the other yet.
    """
    before = _look(probes, handing)
    process = probes.target.process
    wait_until_gone_on((process, tid) for tid in process.threads())
    after = _look(probes, handing)
    return after if before.is_as(after) else None


def _look(probes: Session, handing: Handing) -> _Moment:
    probes.take_events()
    # First all of the one, and then of the other: what is the same twice was so at one time.
    theirs = _reading_of(probes), _wanted(probes)
    return _Moment(*theirs, handing.reading(), handing.frames())


def _reading_of(probes: Session) -> Reading:
    return Reading.take(probes.maps, probes.table, clock.now_ns())


def _wanted(probes: Session) -> set[OpenCall]:
    rows, table = probes.maps.statistics, probes.table
    return {call for call in open_calls(probes.maps) if table.owner(call.slot, rows[call.slot].copy())[1]}


def _opened(probes: Session, calls: Iterable[OpenCall]) -> dict[int, OpenedCall]:
    """By frame."""
    codes, maps = probes.maps.statistics["code"], probes.maps
    starts_ns = {call: by_slot([call], maps)[call.slot].starts_ns[0] for call in calls}
    return {call.frame: OpenedCall(int(codes[call.slot]), start_ns, call.tid) for call, start_ns in starts_ns.items()}


def _ends(reading: Reading) -> dict[Function, tuple[int, int, int]]:
    return {name: (each.returned, each.raised, each.abandoned) for name, each in reading.functions.items()}


def _both_looked(calls: int) -> str:
    return f"what watchpoints took of {calls:,} calls, which both looked at for a moment"


def _not_taken_off(calls: int, opens: int) -> str:
    return (
        f"what the watchpoints took of the last {calls:,} calls before they were trusted, and the probes of the "
        f"{opens:,} that were open then"
    )
