"""What the probes take from the target, in a running measurement: the prices that its programs add up."""

from __future__ import annotations

from latency.cpython.sites import SitePlan
from latency.tracing.counted.maps import CallMaps
from latency.tracing.probes.prices import Prices, prices, stepped_kinds

_FRESH = 64
"""So many new samples are worth a new look."""


class Account:
    """Keeps the prices of one measurement's programs true.

    Args:
        plan: whose sites are probed.

    Attributes:
        prices: as they are now.
    """

    def __init__(self, plan: SitePlan) -> None:
        self.prices = Prices()
        self._stepped = stepped_kinds(plan)
        self._looked = 0

    def calibrated(self, maps: CallMaps) -> None:
        """Hits in pylat's own process were measured, with nothing in between: the first prices."""
        self._look(maps)
        maps.samples["count"] = 0
        self._looked = 0

    def refresh(self, maps: CallMaps) -> None:
        """Several times a second, while the target runs."""
        if int(maps.samples["count"].sum()) >= self._looked + _FRESH:
            self._look(maps)

    def _look(self, maps: CallMaps) -> None:
        samples = maps.samples.copy()
        self._looked = int(samples["count"].sum())
        self.prices = prices(samples, self.prices, self._stepped)
        self.prices.into(maps.config)
