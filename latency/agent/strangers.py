"""Followed processes that replaced their program: of the same build of CPython they are still measured, else they are
processes like others, which a rule may mean."""

from __future__ import annotations

from collections.abc import Iterator, Set

from latency.cpython.interpreter import Target
from latency.errors import NoSuchProcess, PylatError, TargetGone
from latency.tracing.measurement import Measurement

_TRIES_S = (0.3, 1.0, 2.0)
"""So long after an exec it is looked: a process may take its time to load its interpreter."""
_MOST_WAITING = 100  # of a program that starts others all the time, the rest is taken for other programs at once


class Strangers:
    """Who is none of its measurement any more: ``pid in strangers``."""

    def __init__(self) -> None:
        self._known: set[int] = set()
        self._waiting: dict[int, tuple[float, int, Measurement]] = {}

    def __contains__(self, pid: int) -> bool:
        return pid in self._known

    def among(self, pids: Set[int]) -> None:
        """Forget all but these."""
        self._known &= pids

    def take(self, measurement: Measurement, now_s: float) -> None:
        """Those that a measurement has told of."""
        while measurement.strangers:
            self._waiting[measurement.strangers.pop()] = now_s, 0, measurement

    def found(self, now_s: float) -> Iterator[tuple[Measurement, int]]:
        """Those of which it is known by now, and whose they were."""
        for number, (pid, (since_s, tries, measurement)) in enumerate(list(self._waiting.items())):
            if number < _MOST_WAITING and now_s - since_s < _TRIES_S[tries]:
                continue
            del self._waiting[pid]
            try:
                if Target(pid).build.device_inode == measurement.target.build.device_inode:
                    continue
            except (NoSuchProcess, TargetGone):
                continue
            except PylatError:
                if number < _MOST_WAITING and tries + 1 < len(_TRIES_S):
                    self._waiting[pid] = since_s, tries + 1, measurement
                    continue
            self._known.add(pid)
            yield measurement, pid
