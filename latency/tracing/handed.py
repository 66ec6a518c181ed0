"""A program from its first call on, by watchpoints as soon as there is something to watch (``run``, ``bench``).

Its functions do not exist when it begins. So the build's own engine measures until they are there, and are seen to be
called; then it hands over (``handover.py``).
"""

from __future__ import annotations

import copy
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from latency.cpython.interpreter import Stopwatch, Target
from latency.errors import NoFunctionMatches, PylatError, UsageError
from latency.recording import Options, Recording
from latency.recording.combine import in_turn
from latency.tracing.handover import Refused, hand_over
from latency.tracing.passing import Passing
from latency.tracing.probes.session import Session
from latency.tracing.watch.session import WatchSession, require_watchable

_FIRST_S, _LONGEST_S = 0.1, 10.0
"""Between two attempts, each of which waits twice as long as the one before."""


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
        self._why = "none of the functions was called"
        self._earlier: list[Recording] = []
        self._untold: list[Recording] = []  # of the same, what no interval has told yet
        self._ready: Future[WatchSession] | None = None
        self._pause_s, self._next_s, self._given_up = _FIRST_S, 0.0, False
        self._began_s = time.monotonic()
        self._tell()

    def start(self) -> None:
        """Start measuring, with the probes. Raises what ``Session.start`` does."""
        self.session.start()
        self._began_s = time.monotonic()

    def poll(self) -> str:
        """As ``Measurement`` says; and hand over where that can be."""
        why = self.session.poll()
        probes = self.session
        if why or self._given_up or not isinstance(probes, Session):
            return why
        try:
            self._advance(probes)
        except PylatError as error:  # of the watchpoints; or it has just ended, as the next poll says
            self._later(str(error))
        return ""

    def interval(self) -> Recording:
        """As ``Measurement`` says."""
        before, self._untold = self._untold, []
        return self._as_asked([*before, self.session.interval()])

    def stop(self) -> Recording:
        """As ``Measurement`` says."""
        return self._as_asked([*self._earlier, self.session.stop()])

    def close(self) -> None:
        """As ``Measurement`` says."""
        if self._ready:
            self._ready.add_done_callback(_close)
        super().close()

    # -- inside ----------------------------------------------------------------------------------

    def _as_asked(self, recordings: list[Recording]) -> Recording:
        return replace(in_turn(recordings), options=self.options)

    def _tell(self) -> None:
        self._probing.choice = f"{self._probing.plan.engine}: not handed over to watch: {self._why}"

    def _later(self, why: str, *, never: bool = False) -> None:
        """Not now, and the reason."""
        self._why, self._given_up = why, never
        self._next_s = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_S)
        self._tell()

    def _advance(self, probes: Session) -> None:
        """The next step: make the watchpoints ready, in another thread; then hand over."""
        if self._ready is None:
            if time.monotonic() >= self._next_s and probes.maps.counters()["entries"]:
                pool = ThreadPoolExecutor(1)
                self._ready = pool.submit(self._watching)
                pool.shutdown(wait=False)
            return
        if not self._ready.done():
            return
        ready, self._ready = self._ready, None
        try:
            watching = ready.result()
        except NoFunctionMatches as error:
            self._later(str(error))
            return
        except UsageError as error:  # they are of a kind that cannot be watched
            self._later(str(error), never=True)
            return
        try:
            outcome = hand_over(probes, watching)
            if isinstance(outcome, Refused):
                self._later(outcome.why, never=outcome.never)
                return
            self.session = watching
        finally:
            if self.session is not watching:
                watching.close()
        self._earlier.append(outcome.earlier)
        self._untold.append(outcome.untold)
        after_s = time.monotonic() - self._began_s
        watching.target.choice = (
            f"watch from {after_s:.2f} s on, and {probes.engine} before; both saw the same {outcome.calls:,} calls"
        )

    def _watching(self) -> WatchSession:
        """What would go on, with nothing attached yet. Raises what ``WatchSession`` does."""
        target = copy.copy(self._probing)
        target.stopwatch = Stopwatch()
        target.plan = target.watch_plan()
        return WatchSession(target, self.options)


def _close(ready: Future[WatchSession]) -> None:
    if not ready.exception():
        ready.result().close()
