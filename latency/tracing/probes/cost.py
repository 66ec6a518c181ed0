"""What probes cost: the words for it. ``calibration.py`` measures."""

from __future__ import annotations

from dataclasses import dataclass

from latency.recording import Overhead


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


def overhead(hits: int, total_ns: float, duration_s: float, memory_bytes: int, map_bytes: int) -> Overhead | None:
    """What these hits cost the target in that time, and what pylat itself takes; None where nothing was hit."""
    if not hits or duration_s <= 0:
        return None
    share = total_ns / 1e9 / duration_s
    return Overhead(hits, total_ns / hits, share, memory_bytes=memory_bytes, map_bytes=map_bytes)
