"""Functions that match and are not watched: what was defined while the watch engine looked at others."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from latency.cpython.functions import LiveFunction, live_functions
from latency.cpython.interpreter import Target
from latency.cpython.patterns import Matcher
from latency.cpython.watch_points import WatchPoints
from latency.errors import PylatError

_NAMED = 3  # at most, in a line


class Definitions:
    """Looks for them in the target's heap: when a watched function is freed, and at the end.

    Args:
        points: what is watched, by slot.

    Attributes:
        freed: a bit for each slot whose code object is gone.
    """

    def __init__(self, target: Target, matcher: Matcher, points: Sequence[WatchPoints]) -> None:
        self.freed = 0
        self._target, self._matcher, self._points = target, matcher, points
        self._later: set[LiveFunction] = set()
        self._untold = False

    @property
    def unwatched(self) -> int:
        """How many were found. How many calls they had is not known."""
        return len(self._later)

    def are_freed(self, freed: int) -> None:
        """Bits of slots whose code objects are gone by now."""
        if freed & ~self.freed:
            self.freed |= freed
            self.look()
            self._untold = True

    def look(self) -> None:
        """Search the heap: half a second to a second for each GB. Nothing where the target has ended."""
        target = self._target
        watched = {
            points.live.address: points.live.function
            for slot, points in enumerate(self._points)
            if not self.freed >> slot & 1
        }
        with suppress(PylatError):
            for live in live_functions(target.process, target.build, target.offsets):
                if self._matcher.matches(live) and watched.get(live.address) != live.function:
                    self._later.add(live)

    def take_line(self) -> str:
        """Once, when a function was freed that was defined anew: a line; else ``""``."""
        told, self._untold = self._untold and bool(self._later), False
        return self.lines()[0] if told else ""

    def lines(self) -> list[str]:
        """What is not seen, for the report."""
        names = sorted({live.function.qualname for live in self._later})
        gone = sorted({points.live.function.qualname for at, points in enumerate(self._points) if self.freed >> at & 1})
        lines = []
        if names:
            listed = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
            lines.append(f"calls of {listed} that was defined while pylat watched: take the engine {self._other}")
        if further := [name for name in gone if name not in names]:
            lines.append(f"{', '.join(further)} was freed: nothing after that")
        return lines

    @property
    def _other(self) -> str:
        return "handlers" if "code.code_adaptive" in self._target.offsets else "eval"
