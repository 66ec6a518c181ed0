"""The budget of the machine: what the agent takes itself is taken off what its measurements may cost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection

from latency.agent.totals import Running

LEAST_PCT = 0.1
"""A limit below which slices say nothing."""
_APART_S = 10.0
_MARGIN = 0.95
"""Slices are planned by the calls of the ones before, and some cost more than was foreseen."""
_LEAST_SHARE = 0.25
"""Of what was granted: a look at many new processes should not blind the agent to all others."""


class Budget:
    """Sees to it that probes and agent together keep within the budget, every ten seconds.

    Args:
        own_s: seconds of CPU that the agent has used.
    """

    def __init__(self, own_s: Callable[[], float] = time.process_time) -> None:
        self._own_s = own_s
        self._last: tuple[float, float] | None = None

    def step(self, now_s: float, running: Collection[Running], machine_pct: float) -> str:
        """Call it often.

        Args:
            running: all measurements that go on.
            machine_pct: of one CPU, for all together; infinite for no limit.

        Returns:
            ``""``, or a line: the agent alone takes too much for the budget to be kept.
        """
        if self._last is None or not running or math.isinf(machine_pct):
            self._last = now_s, self._own_s()
            return ""
        begin_s, before_s = self._last
        if now_s < begin_s + _APART_S:
            return ""
        own_s = self._own_s()
        own_pct = 100 * (own_s - before_s) / (now_s - begin_s)
        self._last = now_s, own_s
        share = _MARGIN * (machine_pct - own_pct) / sum(each.granted_pct for each in running)
        for each in running:
            each.limit_pct = max(LEAST_PCT, each.granted_pct * min(max(share, _LEAST_SHARE), 1.0))
            each.measurement.allow(each.limit_pct)
        if share >= _LEAST_SHARE:
            return ""
        return f"the agent itself takes {own_pct:.1f} % of a CPU: with probes more than the budget of {machine_pct:g} %"
