"""``--engine auto``, once more: while probes measure, whether watchpoints have become the better way.

A target that was idle may be busy by now, registers that a debugger held may be free. Nothing is lost by asking: the
probes measure meanwhile, and hand over (``handover.py``).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from latency.tracing.choice import Choice
from latency.tracing.handover import Over, Successor
from latency.tracing.probes.look import Look
from latency.tracing.probes.session import Session
from latency.tracing.watch.session import WatchSession

AGAIN_S = 5.0
"""Between two looks."""


class SecondThoughts:
    """Of one session with probes, while it measures.

    Args:
        choose: from what was seen since the last time.
        make: as ``Successor`` takes it.
    """

    def __init__(self, choose: Callable[[Session, Look], Choice], make: Callable[[], WatchSession]) -> None:
        self._choose = choose
        self._successor = Successor(make)
        self._began_s = time.monotonic()
        self._next_s = self._began_s + AGAIN_S
        self._better: Choice | None = None  # what is being tried

    def step(self, probes: Session) -> tuple[WatchSession, Over] | None:
        """Call it often: what has taken over, once. Its target's ``choice`` says why."""
        if self._successor.given_up or not probes.watched.running:
            return None
        if self._better is None:
            if time.monotonic() >= self._next_s:
                self._look(probes)
            return None
        begun = not self._successor.is_waiting
        taken = self._successor.step(probes)
        if taken is not None:
            watching, over = taken
            since = f"since {time.monotonic() - self._began_s:.0f} s; before, {probes.target.choice}"
            watching.target.choice = f"{self._better.why}; both saw the same {over.calls:,} calls; {since}"
        elif begun and self._successor.is_waiting:  # refused
            engine = probes.target.plan.engine
            probes.target.choice = f"{engine}: watch has become cheaper, but {self._successor.why}"
            self._better = None
        return taken

    def close(self) -> None:
        """Nothing takes over any more."""
        self._successor.close()

    def _look(self, probes: Session) -> None:
        self._next_s = time.monotonic() + AGAIN_S
        look = probes.look(again=True)
        choice = self._choose(probes, look) if look.seconds > 0 else None
        self._better = choice if choice and choice.watch else None
