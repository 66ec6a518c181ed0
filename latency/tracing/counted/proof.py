"""A measurement proves itself on its first calls: beginnings have ends, and ends have beginnings.

Where sites are, and what is where at them, was shown on the file. If a build is not as it seemed, then this is how it
shows: frames begin again that have not ended, or end that have not begun. A few of either are in the order of things;
and a call may run RESUME once more, but not again and again: then these are calls whose ends are not seen.
"""

from __future__ import annotations

from collections.abc import Mapping

FIRST_S = 1.0
LEAST, LEAST_BEFORE = 20, 100
"""Events that say something; ends of calls of before, of which coroutines can have many."""

_ADVICE = "this build may not be as pylat takes it to be; try another --engine, and report pylat check -p PID"


class Proof:
    """Looks at the first calls, until there were enough of them and the first second is over."""

    def __init__(self) -> None:
        self.again = False
        """Whether calls began again and again without an end: then each that began once more is one that was lost."""
        self._next_s = 0.0
        self._over = False

    def is_due(self, seconds: float) -> bool:
        """Whether to look, so long after the start: all the time in the first second, then each second."""
        return not self._over and seconds >= self._next_s

    def look(self, counters: Mapping[str, int], seconds: float) -> str:
        """What speaks against the build's sites, a line; ``""`` for nothing, so far.

        Args:
            counters: what has been counted since the start.
            seconds: how long ago that was.
        """
        entries, ended = counters["entries"], counters["matched"] + counters["abandoned"]
        self._over = seconds >= FIRST_S and entries + ended >= LEAST
        self._next_s = seconds + FIRST_S if seconds >= FIRST_S else 0.0
        self.again = self.again or _begins_again(counters, entries)
        against = _against(counters, entries, ended)
        self._over = self._over or bool(against)
        return f"{against}: {_ADVICE}" if against else ""


def _begins_again(counters: Mapping[str, int], entries: int) -> bool:
    return counters["duplicates"] >= LEAST and counters["duplicates"] > 2 * entries


def _against(counters: Mapping[str, int], entries: int, ended: int) -> str:
    unended, unbegun, before = (counters[name] for name in ("unmatched_entry", "unmatched_return", "began_before"))
    if _begins_again(counters, entries):
        times = entries + counters["duplicates"]
        return f"{entries:,} calls began {times:,} times, and did not end in between, as far as pylat sees"
    if unended >= LEAST and 2 * unended > entries:
        return f"{unended:,} of the first {entries:,} calls did not end, as far as pylat sees"
    if unbegun >= LEAST and unbegun > ended:
        return (
            f"{unbegun:,} of the first {unbegun + ended:,} ends are of calls that did not begin, as far as pylat sees"
        )
    if before >= LEAST_BEFORE and not entries:
        return f"{before:,} calls ended and none began, as far as pylat sees"
    return ""
