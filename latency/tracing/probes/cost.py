"""What probes cost: the words for it. ``calibration.py`` measures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HitCost:
    """Nanoseconds that one hit adds to the target, the trap included.

    Attributes:
        wanted_ns: of a call that is measured; the mean of its entry and its exit.
        unwanted_ns: of a call that the filter rejects.
    """

    wanted_ns: float
    unwanted_ns: float

    def total_ns(self, hits: int, wanted_hits: int) -> float:
        """Of ``hits``, of which so many belong to calls that are measured."""
        return self.wanted_ns * wanted_hits + self.unwanted_ns * max(0, hits - wanted_hits)
