"""Functions that match and are not watched: what was defined while the watch engine looked at others."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from latency.cpython.functions import LiveFunction, live_functions
from latency.cpython.interpreter import Target
from latency.cpython.patterns import Matcher
from latency.cpython.watch_points import WatchPoints
from latency.errors import PylatError

AGAIN_S = 5.0
"""Between two looks while the target runs, or longer: they take no more than ``LOOKING`` of a CPU, of pylat's own."""
LOOKING = 0.002
_NAMED = 3  # at most, in a line


class Definitions:
    """Looks for them in the target's heap: when a watched function is freed, at the end, and now and then if asked to.

    Args:
        points: what is watched, by slot.
        clock: monotonic, in seconds.

    Attributes:
        freed: a bit for each slot whose code object is gone.
    """

    def __init__(
        self,
        target: Target,
        matcher: Matcher,
        points: Sequence[WatchPoints],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.freed = 0
        self._target, self._matcher, self._points = target, matcher, points
        self._later: set[LiveFunction] = set()
        self._untold = False
        self._clock = clock
        self._next_s = clock() + AGAIN_S
        self._pool = ThreadPoolExecutor(1)
        self._looking: Future[tuple[set[LiveFunction], float]] | None = None

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
        self._later |= self._found()[0]

    def look_again(self) -> None:
        """Call it often, while the target runs: where it is time to, a thread searches meanwhile."""
        if self._looking is None:
            if self._clock() >= self._next_s:
                self._looking = self._pool.submit(self._found)
        elif self._looking.done():
            (found, took_s), self._looking = self._looking.result(), None
            self._untold |= not found <= self._later
            self._later |= found
            self._next_s = self._clock() + max(AGAIN_S, took_s / LOOKING)

    def close(self) -> None:
        """Nobody reads from the target any more."""
        self._pool.shutdown()

    def _found(self) -> tuple[set[LiveFunction], float]:
        """(those that there are now, how long it took to search in seconds)."""
        target, began_s = self._target, self._clock()
        watched = {
            points.live.address: points.live.function
            for slot, points in enumerate(self._points)
            if not self.freed >> slot & 1
        }
        found = set()
        with suppress(PylatError):
            for live in live_functions(target.process, target.build, target.offsets):
                if self._matcher.matches(live) and watched.get(live.address) != live.function:
                    found.add(live)
        return found, self._clock() - began_s

    def take_line(self) -> str:
        """Once, when a function was found that was defined later: a line; else ``""``."""
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
