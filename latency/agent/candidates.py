"""A process that a rule means, and how its measurement begins."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from latency.agent.budget import LEAST_PCT
from latency.agent.config import Config, Rule
from latency.agent.processes import Seen
from latency.agent.totals import Running
from latency.cpython.wrapped import target_of
from latency.errors import NoFunctionMatches
from latency.tracing import together
from latency.tracing.measurement import Measurement, begin
from latency.tracing.together import Joining, Series

BUDGET, ENDED, NO_FUNCTION = "machine_budget", "ended_before", "no_function_matches"
_FIRST_RETRY_S, _LAST_RETRY_S, _POSTPONED_S = 2.0, 3600.0, 10.0
_YOUNG_S = 60.0
"""A process that runs no longer than this may still be importing what a rule asks for."""
_STIRRED_S, _STIRRED_APART_S, _STIRRED_FAULTS = 60.0, 10.0, 16
"""What had none of the functions is tried again before its time, so long after the last try, and one process in so
many seconds, where the kernel has given it so many pages meanwhile: what is imported takes memory."""


@dataclass(eq=False)
class Candidate:
    """A process that a rule means.

    Attributes:
        state: ``waiting`` for its turn, ``starting``, ``measured``, or ``refused`` until it is tried again.
        reason: why it was refused last.
        due_s: when it is tried.
        tries: how often it was refused in a row.
        refused_s: when it was refused last.
        faults: page faults that it had had by then.
        limit_pct: what measuring it may cost, of one CPU; infinite for no limit.
        running: its measurement.
        within: the measurement of others that it has joined.
    """

    rule: Rule
    seen: Seen
    state: str = "waiting"
    reason: str = ""
    due_s: float = 0.0
    tries: int = 0
    refused_s: float = 0.0
    faults: int = 0
    limit_pct: float = math.inf
    running: Running | None = None
    within: Running | None = None

    @property
    def series(self) -> Series:
        """In which of its rule's it counts: what its labels say."""
        return tuple(self.seen.label(name) for name in self.rule.labels)

    @property
    def alive(self) -> set[Series]:
        """The series of which processes are measured: its own, and those of whom its measurement follows."""
        own = {self.series} if self.running or self.within else set()
        return own | (self.running.alive if self.running else set())

    def covers(self, rule: Rule, pid: int, above: Collection[int]) -> bool:
        """Whether its measurement for this rule sees a process already, or will, as one of its children.

        Args:
            above: the PIDs above the process.
        """
        running = self.running
        return (
            self.rule.name == rule.name
            and self.seen.pid != pid
            and (running is not None or not self.tries)
            and (self.seen.pid in above or (running is not None and pid in running.pids))
        )

    def is_above(self, each: Candidate, ancestors: Callable[[int], Collection[int]]) -> bool:
        """Whether another one, which runs below it, is measured for the same rule: it would be counted twice.

        Args:
            ancestors: tells the PIDs above a process.
        """
        is_measured = each.running is not None or each.within is not None
        return is_measured and each.rule.name == self.rule.name and self.seen.pid in ancestors(each.seen.pid)

    def refuse(self, reason: str, now_s: float) -> None:
        """It is tried again, after twice the time of the last try."""
        self.state, self.reason = "refused", reason
        self.due_s = now_s + min(_FIRST_RETRY_S * 2**self.tries, _LAST_RETRY_S)
        self.tries += 1
        self.refused_s, self.faults = now_s, page_faults(self.seen.pid)

    def postpone(self, reason: str, now_s: float) -> None:
        """It is tried again soon: the reason is not its own."""
        self.state, self.reason = "refused", reason
        self.due_s = now_s + _POSTPONED_S
        self.tries = max(self.tries, 1)


def room(candidates: Iterable[Candidate], now_s: float) -> None:
    """Something of the machine's budget is free again: who waits for that is tried at once."""
    for each in candidates:
        if each.state == "refused" and each.reason == BUDGET:
            each.due_s = now_s


class Stirred:
    """Processes in which something has changed since they had none of the functions."""

    def __init__(self) -> None:
        self._next_s = -math.inf

    def step(self, candidates: Iterable[Candidate], now_s: float) -> None:
        """Make one of them due, the one that was tried the longest time ago. Call it often."""
        if now_s < self._next_s:
            return
        self._next_s = now_s + _STIRRED_APART_S
        waiting = [
            each
            for each in candidates
            if each.state == "refused" and each.reason == NO_FUNCTION and each.refused_s + _STIRRED_S <= now_s
        ]
        for each in sorted(waiting, key=lambda each: each.refused_s):
            if page_faults(each.seen.pid) >= each.faults + _STIRRED_FAULTS:
                each.due_s = min(each.due_s, now_s)
                return


def page_faults(pid: int) -> int:
    """How many pages the kernel has given a process without reading them from a disk (minflt of proc_pid_stat(5)); 0 of
    one that has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[7])
    except (OSError, ValueError, IndexError):
        return 0


def granted_pct(candidate: Candidate, candidates: Iterable[Candidate], config: Config, waiting: int) -> float:
    """What measuring it may cost, percent of one CPU; infinite for no limit.

    Args:
        candidates: all that there are.
        waiting: so many wait for their share of what is left.
    """
    own = candidate.rule.max_overhead_pct
    most = config.process_pct if own is None else own
    if math.isinf(config.machine_pct):
        return most
    spent = sum(each.running.granted_pct for each in candidates if each.running)
    return min(most, max(0.0, config.machine_pct - spent) / waiting)


Found: TypeAlias = "tuple[Running, Joining] | Measurement | None"
"""What became of a candidate: whom it joins, its own measurement, or None where the budget does not allow one."""


def join_or_begin(
    candidate: Candidate, others: Iterable[Running], begin_own: Callable[[Candidate], Measurement]
) -> Found:
    """Look whether it can join one of these measurements; else it gets its own. Raises what ``start`` does."""
    if found := _joining(candidate, others):
        return found
    return begin_own(candidate) if candidate.limit_pct >= LEAST_PCT else None


def _joining(candidate: Candidate, others: Iterable[Running]) -> tuple[Running, Joining] | None:
    pid, series = candidate.seen.pid, candidate.series
    for running in others:
        if not running.takes(series):
            continue
        young = _age_s(candidate.seen) < _YOUNG_S
        found = together.look_at(running.measurement, pid, young=young, series=running.joining(series))
        # one that has none of the functions, and is old enough to have them, is refused, and that is told
        if found and (young or any(space.lives for space in found.spaces)):
            return running, found
    return None


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
