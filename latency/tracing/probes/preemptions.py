"""How often the target loses its processors. A call that the probes make longer is met by that more often."""

from __future__ import annotations

from collections.abc import Iterable

from latency.target.process import Process
from latency.target.scheduling import Scheduled, scheduled

_MOST = 16
"""Of so many processes, so many threads each: enough for a rate."""


class Preemptions:
    """Added up from look to look, as threads and processes end.

    Attributes:
        ran_ns, count: of all threads that were looked at, meanwhile.
    """

    def __init__(self) -> None:
        self.ran_ns = self.count = 0
        self._last: dict[tuple[int, int], Scheduled] = {}

    def look(self, processes: Iterable[Process]) -> None:
        """At these, now."""
        now: dict[tuple[int, int], Scheduled] = {}
        for process in list(processes)[:_MOST]:
            now.update({(process.pid, tid): each for tid, each in scheduled(process, _MOST).items()})
        self.take(now)

    def take(self, now: dict[tuple[int, int], Scheduled]) -> None:
        """What the kernel has counted by now, by PID and TID."""
        for thread in now.keys() & self._last.keys():
            self.ran_ns += now[thread].ran_ns - self._last[thread].ran_ns
            self.count += now[thread].preempted - self._last[thread].preempted
        self._last = now

    def share(self, of_ns: float) -> float:
        """Of stretches of so much time on a processor, those in which it is lost, at the most. 0 .. 1.

        It is that many where threads take turns after equal times; where they come by chance, some are met twice.
        """
        return min(1.0, of_ns * self.count / self.ran_ns) if self.ran_ns else 0.0
