"""The listener of the measuring loop: takes what each measurement has counted, in the loop's own thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from latency.live.ledger import Ledger
from latency.recording.totals import Totals
from latency.tracing.loop import Outcome, Standing


class Feed:
    """Fills a ledger.

    Attributes:
        told: is called when there is something new to see, in the loop's thread.
        ledger: what is seen by now; whoever reads it holds ``lock``.
        ended: for each process that did not last, ``"exited"`` or ``"exec"``.
        stopped: the PIDs of those that a signal has stopped.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.told: Callable[[], None] = lambda: None
        self.lock = Lock()
        self.ended: dict[int, str] = {}
        self.stopped: list[int] = []
        self._clock = clock
        self.ledger = Ledger(clock())
        self._earlier: list[Totals] = []  # of measurements that are over
        self._gone: dict[int, str] = {}  # who ended meanwhile

    def listen(self, standing: Standing) -> None:
        """See ``loop.measure``."""
        running = [part for each in standing.running for part in each.totals()]
        with self.lock:
            self.ledger.take([*self._earlier, *standing.counted, *running], self._clock())
            self.ended = {**self._gone, **standing.ended}
            self.stopped = [it.target.process.pid for it in standing.running if it.target.process.is_stopped]
        self.told()

    def over(self, outcome: Outcome) -> None:
        """A measurement has ended; what it saw counts on."""
        self._earlier += [Totals.of(each) for each in outcome.processes]
        with self.lock:
            self.ledger.begin_anew(self._earlier, self._clock())
            self._gone.update(outcome.ended)
            self.ended = dict(self._gone)
        self.told()
