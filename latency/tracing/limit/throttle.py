"""When the probes are in place, and when they are away, so that they cost no more than they may. Pure: no clock of its
own, and nothing is attached here.

Away for part of the time, and not for each second call: a probe whose program does nothing still costs the trap.
How long a slice lasts is settled before it begins, and its beginning is shifted at random. So neither depends on the
calls, and a target that works in beats is not met at the same one each time.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

SHORTEST_S, LONGEST_S = 0.15, 2.0
"""Of a slice. Calls that are longer than a slice are never seen whole."""
AWAY_S = 0.1
"""The least that is worth taking probes away for."""
CYCLE_S = 2.0
"""A slice and what follows it, where that makes no slice too short or too long."""
CREDIT_S = 1.0
"""At the beginning the limit holds for this time ahead: a short burst does not cut anything."""
KEPT_S = 10.0
"""What is left of the limit is kept for so long: hours in which nothing happens allow no minutes without a limit."""
_MEMORY_S = 0.5


@dataclass
class Throttle:
    """Keeps the average cost under a limit: since the beginning, and over any time but for ``KEPT_S`` and a slice.

    Args:
        limit: share of one CPU: 0.05 is 5 %.
        begin_s: when the measurement began; later, since when the limit holds on the average.
        random: where the slices' beginnings and lengths come from.
    """

    limit: float
    begin_s: float
    random: random.Random = field(default_factory=random.Random)
    watching: bool = True
    sliced: bool = False
    _change_s: float = 0.0
    _planned: float = float("inf")
    _at_change: float = 0.0
    _rate: float = 0.0
    _last: tuple[float, float] | None = None

    def step(self, now_s: float, cost_s: float) -> bool:
        """Whether the probes should be in place from now on.

        Args:
            now_s: not before the last call's.
            cost_s: what the probes have cost the target since the beginning, seconds of CPU.
        """
        self.begin_s += max(now_s - self.begin_s - cost_s / self.limit - KEPT_S, 0.0)
        if self.watching:
            self._learn(now_s, cost_s)
            if self._enough(now_s, cost_s):
                self._plan_next(now_s, cost_s)
        elif now_s >= self._change_s:
            self.watching = True
            self._at_change, self._last = cost_s, (now_s, cost_s)
            self._change_s = now_s + self._length_s()
        return self.watching

    def allow(self, limit: float, now_s: float) -> None:
        """Another limit from now on: what was left of the other one, or is owed, is so much time of this one."""
        ratio = self.limit / limit
        self.begin_s = now_s - (now_s - self.begin_s) * ratio
        if not self.watching:
            self._change_s = now_s + max(self._change_s - now_s, 0.0) * ratio
        self.limit = limit

    @property
    def hurries(self) -> bool:
        """Whether it costs more than the limit just now: the sooner ``step`` is called, the better."""
        return self.watching and self._rate > self.limit

    def _learn(self, now_s: float, cost_s: float) -> None:
        """The cost of one second with probes, over the last half second or so."""
        before_s, before = self._last or (self.begin_s, 0.0)
        passed_s = now_s - before_s
        if passed_s > 0:
            weight = min(passed_s / _MEMORY_S, 1.0) if self._last else 1.0
            self._rate += weight * ((cost_s - before) / passed_s - self._rate)
        self._last = now_s, cost_s

    def _enough(self, now_s: float, cost_s: float) -> bool:
        allowed = self.limit * (now_s - self.begin_s)
        if not self.sliced:
            return cost_s > allowed + self.limit * CREDIT_S
        if now_s < self._change_s:
            # Far more calls than were foreseen: not to the end.
            return cost_s - self._at_change > 3 * self._planned and cost_s > allowed
        return cost_s > allowed

    def _plan_next(self, now_s: float, cost_s: float) -> None:
        self.watching, self.sliced = False, True
        length_s = self._length_s()
        self._planned = self._rate * length_s
        # When the next slice has ended, the average is what it may be.
        begin_s = self.begin_s + (cost_s + self._planned) / self.limit - length_s
        away_s = max(begin_s - now_s, AWAY_S)
        self._change_s = now_s + away_s * self.random.uniform(0.75, 1.25)

    def _length_s(self) -> float:
        share = min(self.limit / self._rate, 1.0) if self._rate > 0 else 1.0
        return min(max(share * CYCLE_S, SHORTEST_S), LONGEST_S) * self.random.uniform(0.8, 1.25)


class Keeper:
    """Has something taken away and placed again as a ``Throttle`` says.

    Args:
        limit: share of one CPU.
        pause, resume: take it away, and place it again.
    """

    def __init__(self, limit: float, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._limit = limit
        self._pause, self._resume = pause, resume
        self._throttle: Throttle | None = None

    def begin(self, now_s: float) -> None:
        """It was placed for the first time."""
        self._throttle = Throttle(self._limit, now_s)

    def allow(self, limit: float) -> None:
        """Another limit from now on: share of one CPU."""
        self._limit = limit

    def keep(self, now_s: float, cost_s: float) -> bool:
        """Call it often. Raises what ``pause`` and ``resume`` raise.

        Args:
            now_s, cost_s: as ``Throttle.step`` takes them.

        Returns:
            Whether it ``hurries``.
        """
        if self._throttle is None:
            return False
        if self._throttle.limit != self._limit:
            self._throttle.allow(self._limit, now_s)
        before, watching = self._throttle.watching, self._throttle.step(now_s, cost_s)
        if before and not watching:
            self._pause()
        elif watching and not before:
            self._resume()
        return self._throttle.hurries
