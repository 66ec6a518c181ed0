"""A process that a rule means, and how its measurement begins."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, replace

from latency.agent.config import Rule
from latency.agent.processes import Seen
from latency.agent.totals import Running
from latency.cpython.wrapped import target_of
from latency.errors import NoFunctionMatches
from latency.tracing.measurement import Measurement, begin

BUDGET, ENDED = "machine_budget", "ended_before"
_FIRST_RETRY_S, _LAST_RETRY_S, _POSTPONED_S = 2.0, 3600.0, 10.0
_YOUNG_S = 60.0
"""A process that runs no longer than this may still be importing what a rule asks for."""


@dataclass(eq=False)
class Candidate:
    """A process that a rule means.

    Attributes:
        state: ``waiting`` for its turn, ``starting``, ``measured``, or ``refused`` until it is tried again.
        reason: why it was refused last.
        due_s: when it is tried.
        tries: how often it was refused in a row.
        limit_pct: what measuring it may cost, of one CPU; infinite for no limit.
        running: its measurement.
    """

    rule: Rule
    seen: Seen
    state: str = "waiting"
    reason: str = ""
    due_s: float = 0.0
    tries: int = 0
    limit_pct: float = math.inf
    running: Running | None = None

    def refuse(self, reason: str, now_s: float) -> None:
        """It is tried again, after twice the time of the last try."""
        self.state, self.reason = "refused", reason
        self.due_s = now_s + min(_FIRST_RETRY_S * 2**self.tries, _LAST_RETRY_S)
        self.tries += 1

    def postpone(self, reason: str, now_s: float) -> None:
        """It is tried again soon: the reason is not its own."""
        self.state, self.reason = "refused", reason
        self.due_s = now_s + _POSTPONED_S
        self.tries = max(self.tries, 1)


def start(candidate: Candidate) -> Measurement:
    """A measurement that has begun. Raises what ``begin`` and ``Measurement.start`` do."""
    options = replace(
        candidate.rule.options,
        max_overhead_pct=None if math.isinf(candidate.limit_pct) else candidate.limit_pct,
    )
    pid = candidate.seen.pid
    try:
        measurement = begin(target_of(pid, engine=options.engine, children=True), options)
    except NoFunctionMatches:
        if options.engine == "watch" or _age_s(candidate.seen) > _YOUNG_S:
            raise
        measurement = begin(target_of(pid, engine=options.engine, children=True), options, late=True)
    try:
        measurement.start()
    except BaseException:
        measurement.close()
        raise
    return measurement


def _age_s(seen: Seen) -> float:
    """For how long the process has been running."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - seen.start_ticks / os.sysconf("SC_CLK_TCK")
