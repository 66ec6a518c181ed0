"""A program from its first call on, by watchpoints as soon as there is something to watch (``run``, ``bench``).

Its functions do not exist when it begins. So the build's own engine measures until they are there, and are seen to be
called; then it hands over (``handover.py``).
"""

from __future__ import annotations

import copy
import time
from dataclasses import replace

from latency.cpython.interpreter import Stopwatch, Target
from latency.errors import UsageError
from latency.recording import Options, Recording
from latency.recording.combine import in_turn
from latency.recording.totals import Totals
from latency.tracing.handover import Successor
from latency.tracing.passing import Passing
from latency.tracing.probes.session import Session
from latency.tracing.watch.asked import require_watchable
from latency.tracing.watch.session import WatchSession


class HandedOver(Passing[Session | WatchSession]):
    """A ``Measurement``. Where the watchpoints cannot take over, the probes stay, and ``choice`` says why.

    Args:
        target: held before its first instruction, or running.
        attachment: of the probes, as ``Session`` takes it.

    Raises:
        UsageError: nobody can watch with these options.
        TargetError, HostError: as ``Session``.
    """

    def __init__(self, target: Target, options: Options, *, attachment: str = "auto") -> None:
        require_watchable(target, options)
        if options.children:
            raise UsageError("a program that is run is not watched with its children", "take another --engine")
        probing = copy.copy(target)
        probing.plan = target.probes_plan()
        super().__init__(Session(probing, replace(options, engine="auto"), attachment=attachment, late=True))
        self.options = options
        self._probing = probing
        self._successor = Successor(self._watching)
        self._earlier: list[Recording] = []
        self._untold: list[Recording] = []  # of the same, what no interval has told yet
        self._began_s = 0.0

    def start(self) -> None:
        """Start measuring, with the probes. Raises what ``Session.start`` does."""
        self._say("none of the functions was called")
        self.session.start()
        self._began_s = time.monotonic()

    def poll(self) -> str:
        """As ``Measurement`` says; and hand over where that can be."""
        why = self.session.poll()
        probes = self.session
        if not why and isinstance(probes, Session) and probes.maps.counters()["entries"]:
            self._look(probes)
        return why

    def interval(self) -> Recording:
        """As ``Measurement`` says."""
        before, self._untold = self._untold, []
        return self._as_asked([*before, self.session.interval()])

    def so_far(self) -> Recording:
        """As ``Measurement`` says."""
        return self._as_asked([*self._earlier, self.session.so_far()])

    def totals(self) -> list[Totals]:
        """As ``Measurement`` says."""
        return [*map(Totals.of, self._earlier), *self.session.totals()]

    def stop(self) -> Recording:
        """As ``Measurement`` says."""
        return self._as_asked([*self._earlier, self.session.stop()])

    def close(self) -> None:
        """As ``Measurement`` says."""
        self._successor.close()
        super().close()

    # -- inside ----------------------------------------------------------------------------------

    def _look(self, probes: Session) -> None:
        taken = self._successor.step(probes)
        if taken is None:
            self._say(self._successor.why or "the program ended before that")
            return
        self.session, over = taken
        self._earlier.append(over.earlier)
        self._untold.append(over.untold)
        after_s = time.monotonic() - self._began_s
        self.session.target.choice = (
            f"watch from {after_s:.2f} s on, and {probes.engine} before; both saw the same {over.calls:,} calls"
        )

    def _say(self, why: str) -> None:
        self._probing.choice = f"{self._probing.plan.engine}: not handed over to watch: {why}"

    def _as_asked(self, recordings: list[Recording]) -> Recording:
        return replace(in_turn(recordings), options=self.options)

    def _watching(self) -> WatchSession:
        """What would go on, with nothing attached yet. Raises what ``WatchSession`` does."""
        target = copy.copy(self._probing)
        target.stopwatch = Stopwatch()
        target.plan = target.watch_plan()
        return WatchSession(target, self.options)
