"""What a measurement in slices knows beside its statistics: when it watched, and the calls that a slice's end cut."""

from __future__ import annotations

from collections.abc import Iterable
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
    """

    watched_ns: int
    slices: int
    ages: dict[Function, Histogram]
    unnamed: int

    def since(self, earlier: WatchedUntil) -> WatchedUntil:
        """What came after an earlier moment."""
        none = Histogram.empty()
        ages = {name: each.subtract(earlier.ages.get(name, none)) for name, each in self.ages.items()}
        # The one that lasts until now had begun before.
        slices = self.slices - earlier.slices + 1
        return WatchedUntil(self.watched_ns - earlier.watched_ns, slices, ages, self.unnamed - earlier.unnamed)

    def share(self, duration_s: float) -> Watched:
        """Of so long a measurement."""
        return Watched(min(self.watched_ns / 1e9 / duration_s, 1.0) if duration_s > 0 else 1.0, self.slices)


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

    def begin(self, at_ns: int) -> None:
        """A slice begins."""
        self._began_ns = at_ns
        self._slices += 1

    def end(self, at_ns: int, cut: Iterable[tuple[Function | None, list[int]]]) -> None:
        """It ends.

        Args:
            cut: the calls that are open, by function: since when. None stands for one whose name is not known.
        """
        self.sliced = True
        self._watched_ns += max(at_ns - self._began_ns, 0)
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
        return WatchedUntil(self._watched_ns + running_ns, self._slices, dict(self._ages), self._unnamed)


def ages(starts_ns: Iterable[int], at_ns: int) -> Histogram:
    """How old calls are that began then. One that began a moment after ``at_ns`` is new."""
    return Histogram.from_values([max(at_ns - start_ns, 0) for start_ns in starts_ns])
