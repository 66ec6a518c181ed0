"""When garbage is collected: not while a scrape is answered.

What is known of a thousand functions lasts as long as their measurement. To look through it takes longer than a scrape
may, and is of no use until a measurement has ended; what that has made hangs in circles, and holds maps of megabytes.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable
from math import inf
from weakref import WeakSet

from latency.agent.totals import Running

_APART_S = 10.0
"""So long at least between two looks through everything, however often a measurement ends."""


class Garbage:
    """What there is after a beginning is frozen: collections look at what came since."""

    def __init__(self) -> None:
        self._known: WeakSet[Running] = WeakSet()
        self._count = self._begun = 0
        self._whole_s = -inf

    def step(self, running: Iterable[Running], begun: int, now_s: float) -> None:
        """In a quiet moment: nothing is about to begin.

        Args:
            running: all measurements that go on.
            begun: processes whose measurement has begun, ever.
        """
        now = list(running)
        is_whole = sum(each in self._known for each in now) < self._count
        if is_whole and now_s < self._whole_s + _APART_S:
            return
        if is_whole:
            self._whole_s = now_s
            gc.unfreeze()
        elif begun == self._begun:
            return
        self._known, self._count, self._begun = WeakSet(now), len(now), begun
        gc.collect()
        gc.freeze()
