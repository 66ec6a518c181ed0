"""The probe effect: what pylat's own probes took of the time of the calls that it measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Probes:
    """What the probes took while the calls of a function ran.

    Attributes:
        sum_ns: of all its finished calls together. It is taken off their latencies.
        error_share: by which share of itself it may be wrong, and the latencies with it.
        delayed_share: of these calls, those that lost the processor to another thread while the probes held them: they
            waited for it, and without pylat they had not. 0 .. 1.
        unsure_ns: of generators and coroutines: what they took beside that, of all calls together, on their threads
            while these were suspended and the thread slept at times. What came behind that sleep held them up, and what
            came before it did not; none of it is taken off.
    """

    sum_ns: int
    error_share: float
    delayed_share: float = 0.0
    unsure_ns: int = 0

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
        together_ns, unsure_ns = self.sum_ns + other.sum_ns, self.unsure_ns + other.unsure_ns
        if not together_ns:
            return Probes(0, max(self.error_share, other.error_share), unsure_ns=unsure_ns)
        mine = self.sum_ns / together_ns
        return Probes(
            together_ns,
            mine * self.error_share + (1 - mine) * other.error_share,
            mine * self.delayed_share + (1 - mine) * other.delayed_share,
            unsure_ns,
        )
