"""The probe effect: what pylat's own probes took of the time of the calls that it measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Probes:
    """What the probes took while the calls of a function ran.

    Attributes:
        sum_ns: of all its finished calls together. It is taken off their latencies.
        error_share: by which share of itself it may be wrong, and the latencies with it.
    """

    sum_ns: int
    error_share: float

    def share(self, net_ns: int) -> float:
        """Of the elapsed time of the calls; ``net_ns`` is what is left of that. 0 .. 1."""
        return self.sum_ns / (self.sum_ns + net_ns) if self.sum_ns else 0.0

    def mean_ns(self, calls: int) -> float:
        """Of one call."""
        return self.sum_ns / calls if calls else 0.0

    def error_ns(self, calls: int) -> float:
        """By which a call's latency may be wrong, on the average."""
        return self.error_share * self.mean_ns(calls)

    def __add__(self, other: Probes) -> Probes:
        together_ns = self.sum_ns + other.sum_ns
        error_ns = self.sum_ns * self.error_share + other.sum_ns * other.error_share
        return Probes(together_ns, error_ns / together_ns if together_ns else max(self.error_share, other.error_share))
