"""Whose turn it is, where not all can be watched at once. Pure: no clock of its own, and nothing is attached here.

As with ``throttle.py``: how long a turn lasts is settled before it begins, and lengths and the order within a round are
random. So neither depends on the calls, and a target that works in beats is not met at the same one each time.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

SHORTEST_S, LONGEST_S = 0.15, 0.5
"""Of a turn, about. Calls that are longer than a turn are never seen whole."""
CYCLE_S = 2.0
"""A round, where that makes no turn too short or too long."""


@dataclass
class Rounds:
    """In each round each has one turn.

    Args:
        members: numbers; there is one at least.
        random: where the order and the lengths come from.

    Attributes:
        now: whose turn it is.
    """

    members: list[int]
    random: random.Random = field(default_factory=random.Random)
    now: int = field(init=False)
    _left: list[int] = field(default_factory=list)  # of this round, the last one first
    _end_s: float = float("inf")

    def __post_init__(self) -> None:
        self.now = self.members[0]
        self._left = self._shuffled(self.members[1:])

    def is_over(self, now_s: float) -> bool:
        """Whether the turn is."""
        return bool(self.members) and self.members != [self.now] and now_s >= self._end_s

    def begin(self, now_s: float) -> None:
        """The turn begins now."""
        length_s = min(max(CYCLE_S / max(len(self.members), 1), SHORTEST_S), LONGEST_S)
        self._end_s = now_s + length_s * self.random.uniform(0.75, 1.25)

    def advance(self) -> int:
        """The next one: it is their turn."""
        if not self._left:
            self._left = self._shuffled(self.members)
            if len(self._left) > 1 and self._left[-1] == self.now:  # not twice without a pause
                self._left.insert(0, self._left.pop())
        self.now = self._left.pop()
        return self.now

    def _shuffled(self, members: list[int]) -> list[int]:
        return self.random.sample(members, len(members))

    def keep(self, members: Iterable[int]) -> None:
        """Only these take part from now on."""
        kept = set(members)
        self.members = [each for each in self.members if each in kept]
        self._left = [each for each in self._left if each in kept]
