"""Whether two engines that look at the same calls see the same: how many ended in which way, and which frames are open.
Pure.

What each counted cannot be compared as it is: the one that began to look later has not seen the calls begin that were
open then. So those that are open from before are told apart by the time at which they began, and the comparison begins
anew whenever one of them ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from latency.recording import Function

Ends = tuple[int, int, int]
"""Calls that returned, that raised, and that were abandoned."""
_NONE: Ends = (0, 0, 0)


class OpenFrame(NamedTuple):
    """A call that has not ended: the address of its frame, and when it began (CLOCK_MONOTONIC)."""

    frame: int
    start_ns: int


@dataclass(frozen=True)
class Seen:
    """What one engine has seen at one moment. ``ends``: since it looks, by function."""

    ends: Mapping[Function, Ends]
    opens: frozenset[OpenFrame]


class Agreement:
    """Takes what both see, moment by moment.

    Args:
        since_ns: from when on both look (CLOCK_MONOTONIC).

    Attributes:
        calls: how many ended between two moments at which both saw the same, and in the same way for both.
        difference: in which way they differ, a line that follows "watch"; ``""`` where they do not.
    """

    def __init__(self, since_ns: int) -> None:
        self.calls = 0
        self.difference = ""
        self._since_ns = since_ns
        self._first: tuple[Seen, Seen] | None = None
        self._before: frozenset[OpenFrame] = frozenset()

    def add(self, probes: Seen, watch: Seen) -> None:
        """Both at one moment."""
        opens = [sorted(at.frame for at in seen.opens if at.start_ns >= self._since_ns) for seen in (probes, watch)]
        before = frozenset(at for at in probes.opens | watch.opens if at.start_ns < self._since_ns)
        same = opens[0] == opens[1]
        if self._first is None or before != self._before or self._has_fallen(probes, watch):
            self.difference = "" if same else f"has {len(opens[1]):,} open calls, and not {len(opens[0]):,}"
            self._first, self._before = ((probes, watch), before) if same else (None, self._before)
            return
        theirs, mine = (_since(now, first) for now, first in zip((probes, watch), self._first, strict=True))
        if same and theirs == mine:
            self.calls, self.difference = sum(map(sum, mine.values())), ""
        elif theirs != mine:
            self.difference = f"saw {_words(mine)}, and not {_words(theirs)}"
        else:
            self.difference = f"has {len(opens[1]):,} open calls, and not {len(opens[0]):,}"

    def _has_fallen(self, *now: Seen) -> bool:
        """Whether fewer calls have ended in some way than at the first moment.

        Then a call lay between its end and what tells of it, for as long as its thread waited for a processor: its
        frame had ended, so that it was taken for abandoned, and it has returned since. That is no moment to begin at.
        """
        assert self._first
        return any(
            count < before
            for seen, first in zip(now, self._first, strict=True)
            for function, ends in seen.ends.items()
            for count, before in zip(ends, first.ends.get(function, _NONE), strict=True)
        )


def _since(now: Seen, first: Seen) -> dict[Function, Ends]:
    """What came meanwhile; functions without an end are left out."""
    grown = {}
    for function, ends in now.ends.items():
        before = first.ends.get(function, _NONE)
        more = (ends[0] - before[0], ends[1] - before[1], ends[2] - before[2])
        if more != _NONE:
            grown[function] = more
    return grown


def _words(ends: Mapping[Function, Ends]) -> str:
    if not ends:
        return "no call end"
    returned, raised, abandoned = (sum(each[at] for each in ends.values()) for at in range(3))
    names = ", ".join(sorted({function.qualname for function in ends}))
    return f"{returned:,} returned, {raised:,} raised, {abandoned:,} abandoned of {names}"
