"""What a measurement in slices knows beside its statistics: when it watched, and the calls that a slice's end cut."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from latency.histogram import Histogram
from latency.recording import Function, Watched


@dataclass(frozen=True)
class WatchedUntil:
    """All of it until one moment.

    Attributes:
        watched_ns: time in which the probes were in place.
        slices: how many have begun.
        ages: of the cut calls of each function.
        unnamed: cut calls of functions whose name is not known.
        each: where not each slice is of all functions, of those that had one: for how long, and in how many.
        running: those of the slice that lasts until then.
    """

    watched_ns: int
    slices: int
    ages: dict[Function, Histogram]
    unnamed: int
    each: dict[Function, tuple[float, int]] | None = None
    running: frozenset[Function] = frozenset()

    def since(self, earlier: WatchedUntil) -> WatchedUntil:
        """What came after an earlier moment."""
        none = Histogram.empty()
        ages = {name: each.subtract(earlier.ages.get(name, none)) for name, each in self.ages.items()}
        # The one that lasts until now had begun before.
        slices = self.slices - earlier.slices + 1
        each = None if self.each is None else {name: self._since(earlier, name) for name in self.each}
        unnamed = self.unnamed - earlier.unnamed
        return WatchedUntil(self.watched_ns - earlier.watched_ns, slices, ages, unnamed, each, self.running)

    def _since(self, earlier: WatchedUntil, function: Function) -> tuple[float, int]:
        now, before = (it.get(function, (0.0, 0)) for it in (self.each or {}, earlier.each or {}))
        return now[0] - before[0], now[1] - before[1] + (function in earlier.running)

    def share(self, duration_s: float) -> Watched:
        """Of so long a measurement."""
        return Watched(_share(self.watched_ns, duration_s), self.slices)

    def share_of(self, function: Function, duration_s: float) -> Watched | None:
        """The same of one function; None where all are watched in each slice."""
        if self.each is None:
            return None
        watched_ns, slices = self.each.get(function, (0.0, 0))
        return Watched(_share(watched_ns, duration_s), slices)


@dataclass
class SlicesWatched:
    """The slices of one measurement, as they come. Times: CLOCK_MONOTONIC, nanoseconds.

    Attributes:
        sliced: one has ended.
    """

    sliced: bool = False
    _began_ns: int = 0
    _watched_ns: int = 0
    _slices: int = 0
    _unnamed: int = 0
    _ages: dict[Function, Histogram] = field(default_factory=dict)
    _of: Mapping[Function, float] | None = None
    _each: dict[Function, tuple[float, int]] = field(default_factory=dict)

    @property
    def running(self) -> bool:
        """Whether a slice lasts."""
        return bool(self._began_ns)

    def of(self, functions: Mapping[Function, float]) -> None:
        """Say of which functions the next slices are; else they are of all.

        Args:
            functions: of each, for which share of its code objects, 0 .. 1.
        """
        self.sliced = True
        self._of = functions

    def begin(self, at_ns: int) -> None:
        """A slice begins."""
        self._began_ns = at_ns
        self._slices += 1
        for function in self._of or ():
            watched_ns, slices = self._each.get(function, (0.0, 0))
            self._each[function] = watched_ns, slices + 1

    def restart(self, at_ns: int) -> None:
        """The slice that lasts began only then, and is the first."""
        self._began_ns, self._watched_ns, self._slices = at_ns, 0, 1

    def end(self, at_ns: int, cut: Iterable[tuple[Function | None, list[int]]]) -> None:
        """It ends.

        Args:
            cut: the calls that are open, by function: since when. None stands for one whose name is not known.
        """
        self.sliced = True
        self._watched_ns += max(at_ns - self._began_ns, 0)
        self._each = self._each_until(at_ns)
        self._began_ns = 0
        for function, starts_ns in cut:
            if function is None:
                self._unnamed += len(starts_ns)
                continue
            found = ages(starts_ns, at_ns)
            self._ages[function] = self._ages[function] + found if function in self._ages else found

    def until(self, at_ns: int) -> WatchedUntil:
        """What is known at this moment."""
        running_ns = max(at_ns - self._began_ns, 0) if self._began_ns else 0
        each = None if self._of is None else self._each_until(at_ns)
        running = frozenset(self._of or ()) if self._began_ns else frozenset()
        return WatchedUntil(self._watched_ns + running_ns, self._slices, dict(self._ages), self._unnamed, each, running)

    def _each_until(self, at_ns: int) -> dict[Function, tuple[float, int]]:
        running_ns = max(at_ns - self._began_ns, 0) if self._began_ns else 0
        now = {name: (self._each[name], share) for name, share in (self._of or {}).items()}
        return {**self._each, **{name: (it[0] + share * running_ns, it[1]) for name, (it, share) in now.items()}}


def _share(watched_ns: float, duration_s: float) -> float:
    return min(watched_ns / 1e9 / duration_s, 1.0) if duration_s > 0 else 1.0


def ages(starts_ns: Iterable[int], at_ns: int) -> Histogram:
    """How old calls are that began then. One that began a moment after ``at_ns`` is new."""
    return Histogram.from_values([max(at_ns - start_ns, 0) for start_ns in starts_ns])
