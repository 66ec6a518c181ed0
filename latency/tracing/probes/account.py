"""What the probes take from the target, in a running measurement: the prices that its programs add up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from latency.cpython.sites import SitePlan
from latency.histogram import Floats
from latency.recording import Probes
from latency.target.process import Process
from latency.tracing.counted import wire
from latency.tracing.counted.maps import CallMaps
from latency.tracing.probes.preemptions import Preemptions
from latency.tracing.probes.prices import Prices, newest, prices, steady, stepped_kinds, undisturbed

_FRESH = 64
"""So many new samples are worth a new look."""
_TOGETHER = 16
"""So many hits are compared with the price that was theirs: in one call there are many, and what differs from one to
the next comes out even."""
_SHARE = 0.9
"""Of those, so many were not further from the price than is stated: then a 90th percentile is not either."""
LEAST_ERROR = 0.04
"""Of what is taken off, stated at the least. With prices that fit, medians of plain calls and generators were wrong by
up to that (``benchmarks/truth.py``: 3.4 % of a generator's hundred steps, 0.4 % of a thousand calls): for Python that
goes on slower behind a trap, and for traps that are not as long as the gaps say."""
FOREIGN_ERROR = 0.1
"""While no hit was measured in the target: in pylat's own loop a hit is up to a tenth cheaper."""
_STEP, _STEPS = 0.01, 200


class Account:
    """Keeps the prices of one measurement's programs true, and knows how far they were not.

    Args:
        plan: whose sites are probed.

    Attributes:
        prices: as they are now.
        preemptions: of the target's threads.
    """

    def __init__(self, plan: SitePlan) -> None:
        self.prices = Prices()
        self.preemptions = Preemptions()
        self._stepped = stepped_kinds(plan)
        self._seen = np.zeros(wire.SAMPLE_SETS)
        self._off = np.zeros(_STEPS)  # how many groups of hits differed from their price by so many steps
        self._spread = self._looks = 0.0
        self._samples = -1

    def calibrated(self, maps: CallMaps) -> None:
        """Hits in pylat's own process were measured, with nothing in between: the first prices."""
        self._look(maps)
        maps.samples["count"] = 0
        self._seen[:] = self._off[:] = self._spread = self._looks = 0

    def refresh(self, maps: CallMaps, processes: Iterable[Process] = ()) -> None:
        """Several times a second, while the target runs: these processes."""
        before, self._samples = self._samples, int(maps.samples["count"].sum())
        if before != self._samples:  # else nobody has passed a probe, whom a lost processor could have delayed
            self.preemptions.look(processes)
        if self._samples - int(self._seen.sum()) >= _FRESH:
            self._look(maps)

    def of(self, sum_ns: int, unsure_ns: int, calls: int) -> Probes:
        """What is said of so many calls: the arguments are attributes of ``Probes``."""
        mean_ns = sum_ns / calls if calls else 0.0
        return Probes(sum_ns, self.error_share(mean_ns), self.preemptions.share(mean_ns), unsure_ns)

    def error_share(self, taken_ns: float) -> float:
        """By which share of itself what was taken off may be wrong, of calls from which so much was.

        It is how far most hits were from the price that was theirs: many together, and, in calls that passed a few,
        each by itself.
        """
        return float(self.error_shares(np.array([taken_ns]))[0])

    def error_shares(self, taken_ns: Floats) -> Floats:
        """The same of several kinds of calls."""
        price_ns = float(self.prices.hit_ns[: wire.HIT_RAISE].mean())
        one = self._spread / self._looks if self._looks else 0.0
        of_few = one / np.sqrt(np.maximum(1.0, taken_ns / price_ns)) if price_ns else np.zeros(len(taken_ns))
        shares: Floats = np.maximum(self._of_many(), of_few)
        return shares

    def into(self, numbers: np.ndarray[Any, Any]) -> None:
        """Add to rows of ``totals.NUMBERS`` by how much a call of each may be wrong for what was taken off."""
        taken_ns = numbers["taken_ns"] / np.maximum(numbers["returned"] + numbers["raised"], 1)
        numbers["error_ns"] = np.rint(self.error_shares(taken_ns) * taken_ns)

    def _of_many(self) -> float:
        """Of many hits together."""
        if not self._off.any():
            return FOREIGN_ERROR
        reached = np.cumsum(self._off) / self._off.sum()
        return max(LEAST_ERROR, _STEP * float(np.searchsorted(reached, _SHARE)))

    def _look(self, maps: CallMaps) -> None:
        samples = maps.samples.copy()
        self._compare(samples)
        self.prices = prices(samples, self.prices, self._stepped, self._seen)
        self._seen = samples["count"].astype(float)
        self._spread += self.prices.spread
        self._looks += 1
        self.prices.into(maps.config)

    def _compare(self, samples: np.ndarray[Any, Any]) -> None:
        """Hits since the last look with the price that they were added up at. Traps vary as the programs do."""
        for one in steady(samples):
            kind, counts = divmod(one - wire.PROGRAM_SETS, 2)
            price_ns = self.prices.program_ns[kind, counts]
            fresh = min(int(samples[one]["count"] - self._seen[one]), wire.SAMPLES)
            times = newest(samples[one], int(self._seen[one]))[-fresh:] if fresh >= _TOGETHER else np.zeros(0)
            for first in range(0, len(times) - _TOGETHER + 1, _TOGETHER):
                took_ns = undisturbed(times[first : first + _TOGETHER]).mean() - self.prices.clock_ns
                off = abs(took_ns / price_ns - 1.0) if price_ns else 0.0
                self._off[min(round(off / _STEP), _STEPS - 1)] += 1
