"""Processes that rules mean, from the moment in which they are there to the one in which they are not.

A process is measured with its children, those to come included: so a pre-forking server is one measurement, whose
workers are seen from their first call on. What takes its time, looking at a process and placing the probes, is done in
a thread of its own, one process after the other; the measurements that run are asked meanwhile.
"""

from __future__ import annotations

import gc
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from latency.agent.budget import LEAST_PCT, Budget
from latency.agent.candidates import (
    BUDGET,
    ENDED,
    Candidate,
    Found,
    Stirred,
    granted_pct,
    join_or_begin,
    room,
    start,
)
from latency.agent.config import Config, Rule
from latency.agent.processes import Census, Seen, matches
from latency.agent.strangers import Strangers
from latency.agent.totals import Group, Groups, Running, closed
from latency.errors import NoSuchProcess, NotCPython, PylatError, TargetGone
from latency.recording import Recording, SlowCall
from latency.tracing import together
from latency.tracing.measurement import Measurement
from latency.tracing.together import Joining

LOOK_S, POLL_S = 0.5, 0.5
"""How often it is looked who is there; and how often a measurement is asked that is not in a hurry."""
_GONE = (NoSuchProcess, TargetGone)


class Fleet:
    """All processes of all rules.

    Args:
        say: is given the rule, a reason and a line that people should read.
        census: who is there.
        begin: begins a measurement of a candidate; a seam for tests.
        found: is called, in another thread, when the next ``step`` has something to do.

    Attributes:
        failures: by the rule's name and the reason.
        begun: measurements, by the rule's name.
        looked: it was looked who is there.
        slow: slow calls that were told by the last readings, with the rule's name; whoever takes them empties it.
    """

    def __init__(
        self,
        config: Config,
        say: Callable[[str, str, str], None],
        *,
        census: Census | None = None,
        begin: Callable[[Candidate], Measurement] = start,
        found: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config
        self.failures: Counter[tuple[str, str]] = Counter()
        self.begun: Counter[str] = Counter()
        self.looked = False
        self.slow: list[tuple[str, SlowCall]] = []
        self._say = say
        self._census = census or Census()
        self._begin, self._found = begin, found
        self._groups = Groups()
        self._candidates: dict[tuple[str, int], Candidate] = {}
        self._strangers = Strangers()
        self._stirred = Stirred()
        self._pool = ThreadPoolExecutor(1)
        self._starting: tuple[Candidate, Future[Found]] | None = None
        self._next_look_s = -math.inf
        self._budget = Budget()

    # -- what goes on ------------------------------------------------------------------------------

    def step(self, now_s: float) -> None:
        """One turn: call it several times a second, and ten times where a measurement ``hurries``."""
        self._poll(now_s)
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + LOOK_S
            self._look(now_s)
            self._stirred.step(self._candidates.values(), now_s)
        self._collect(now_s)
        self._begin_next(now_s)
        going_on = [each.running for each in self._candidates.values() if each.running]
        if line := self._budget.step(now_s, going_on, self.config.machine_pct):
            self._say("agent", BUDGET, line)

    def read(self) -> None:
        """Take in what all measurements have seen by now."""
        for group in self._groups.values():
            group.beyond = 0
        for candidate in self._candidates.values():
            if candidate.running:
                self.slow += self._groups.read(candidate.rule, candidate.running)

    def reload(self, config: Config, now_s: float) -> None:
        """Other rules. What a rule measures that stays as it was goes on; of all others everything begins anew."""
        kept = {rule.name: rule for rule in config.rules}
        self._settle(now_s)
        for key, candidate in list(self._candidates.items()):
            if kept.get(candidate.rule.name) != candidate.rule:
                self._drop(key, now_s, lost=True)
        for name in [name for name, group in self._groups.items() if kept.get(group.rule.name) != group.rule]:
            del self._groups[name]
        self.config = config
        self._census.forget()
        self._next_look_s = -math.inf

    def close(self) -> None:
        """End all measurements."""
        self._settle(0.0)
        self._pool.shutdown()
        for key in list(self._candidates):
            self._drop(key, 0.0, lost=True)

    # -- what is known -----------------------------------------------------------------------------

    def groups(self) -> Iterator[Group]:
        """All that were measured, and are not forgotten yet."""
        yield from self._groups.values()

    def candidates(self) -> Iterator[Candidate]:
        """The processes that rules mean."""
        yield from self._candidates.values()

    @property
    def settled(self) -> bool:
        """Whether each process that is there was tried once."""
        return self.looked and not any(each.state in ("waiting", "starting") for each in self._candidates.values())

    # -- who is there --------------------------------------------------------------------------------

    def _look(self, now_s: float) -> None:
        for seen in self._census.look(now_s):
            rules = [rule for rule in self.config.rules if not self._measures(rule, seen.pid)]
            if not rules:
                continue
            above = [seen.parent, *self._census.ancestors(seen.parent)]  # it may have ended meanwhile itself
            if os.getpid() in (seen.pid, *above):
                continue
            for rule in rules:
                self._consider(rule, seen, above, now_s)
        present = self._census.pids
        for key, candidate in list(self._candidates.items()):
            if candidate.seen.pid in present:
                continue
            if candidate.within or candidate.state in ("waiting", "refused"):
                self._missed(candidate)
                del self._candidates[key]
            elif candidate.running:
                self._hand_on(key)
        self._strangers.among(present)
        alive = {(it.rule.name, series) for it in self._candidates.values() for series in it.alive}
        self._groups.forget(alive, now_s, self.config.ended_s)
        self.looked = True

    def _measures(self, rule: Rule, pid: int) -> bool:
        """Whether a process has a measurement, which tells what becomes of it."""
        known = self._candidates.get((rule.name, pid))
        return known is not None and bool(known.running or known.within or known.state == "starting")

    def _consider(self, rule: Rule, seen: Seen, above: list[int], now_s: float) -> None:
        key = rule.name, seen.pid
        known = self._candidates.get(key)
        if not matches(rule.processes, seen, above) or self._covered(rule, seen.pid, above):
            self._candidates.pop(key, None)
        elif not known or known.seen != seen:  # else it is tried again in its time
            self._candidates[key] = Candidate(rule, seen, due_s=now_s)

    def _covered(self, rule: Rule, pid: int, above: list[int]) -> bool:
        """Whether a measurement of the rule sees the process already, or will, as one of its children.

        Who was refused before covers nobody until it is measured.
        """
        return pid not in self._strangers and any(each.covers(rule, pid, above) for each in self._candidates.values())

    # -- beginning -----------------------------------------------------------------------------------

    def _begin_next(self, now_s: float) -> None:
        if self._starting:
            return
        due = [it for it in self._candidates.values() if it.state in ("waiting", "refused") and it.due_s <= now_s]
        # the youngest first: it may end soon, while those that are old have time
        due.sort(key=lambda each: (each.tries, -each.seen.start_ticks, -each.seen.pid))
        for candidate in due:
            pid, rule = candidate.seen.pid, candidate.rule
            if self._covered(rule, pid, self._census.ancestors(pid)):
                del self._candidates[rule.name, pid]
                continue
            others = [each for each in self._candidates.values() if each.seen.pid not in self._strangers]
            if any(candidate.is_above(each, self._census.ancestors) for each in others):
                candidate.postpone("children_are_measured", now_s)
                continue
            candidate.limit_pct = granted_pct(candidate, self._candidates.values(), self.config, len(due))
            running = self._groups.running(rule)
            if candidate.limit_pct < LEAST_PCT and not running:
                self._refuse(candidate, BUDGET, "the budget of the machine is used up", now_s)
                continue
            candidate.state = "starting"
            self._starting = candidate, self._pool.submit(join_or_begin, candidate, running, self._begin)
            self._starting[1].add_done_callback(lambda _: self._found())
            return

    def _collect(self, now_s: float) -> None:
        if not self._starting or not self._starting[1].done():
            return
        candidate, future = self._starting
        self._starting = None
        if future.exception():
            # What a beginning had made hangs in circles: maps of some megabytes, which Python does not count.
            gc.collect()
        try:
            found = future.result()
        except _GONE:
            self._missed(candidate)
            self._candidates.pop((candidate.rule.name, candidate.seen.pid), None)
        except NotCPython as error:
            candidate.refuse(_reason(error), now_s)  # a rule may mean many that are none: nothing to tell
        except PylatError as error:
            self._refuse(candidate, _reason(error), str(error), now_s)
        else:
            if found is None:
                self._refuse(candidate, BUDGET, "the budget of the machine is used up", now_s)
                return
            if isinstance(found, tuple):
                self._join(candidate, *found, now_s)
                return
            candidate.state, candidate.reason, candidate.tries = "measured", "", 0
            candidate.running = Running(found, candidate.limit_pct, candidate.series, {candidate.seen.pid})
            self.begun[candidate.rule.name] += 1
            self._groups.begin(candidate.rule, candidate.series, candidate.running, now_s)

    def _join(self, candidate: Candidate, running: Running, found: Joining, now_s: float) -> None:
        """It is measured together with others, if these are measured still."""
        going_on = any(each.running is running for each in self._candidates.values())
        if not going_on or not running.takes(candidate.series) or not together.join(running.measurement, found):
            candidate.state = "waiting"
            return
        candidate.state, candidate.reason, candidate.tries = "measured", "", 0
        candidate.within = running
        running.pids |= found.pids
        self.begun[candidate.rule.name] += 1
        self._groups.begin(candidate.rule, candidate.series, running, now_s)

    def _missed(self, candidate: Candidate) -> None:
        """It has ended before it was tried: nobody will say what it called."""
        if not candidate.tries and not candidate.within:
            self.failures[candidate.rule.name, ENDED] += 1

    def _refuse(self, candidate: Candidate, reason: str, text: str, now_s: float) -> None:
        candidate.refuse(reason, now_s)
        self.failures[candidate.rule.name, reason] += 1
        self._say(candidate.rule.name, reason, f"process {candidate.seen.pid}: {text}")
        if candidate.tries == 1:
            self._census.forget()  # its children are on their own now

    # -- going on, and ending --------------------------------------------------------------------------

    def _poll(self, now_s: float) -> None:
        for key, candidate in list(self._candidates.items()):
            running = candidate.running
            if not running or (now_s < running.due_s and not running.measurement.hurries):
                continue
            running.due_s = now_s + POLL_S
            try:
                why = running.measurement.poll()
                doubt = running.measurement.doubt()
            except PylatError as error:
                self._end(candidate, now_s, lost=True)
                self._refuse(candidate, _reason(error), str(error), now_s)
                continue
            if doubt:
                self._say(candidate.rule.name, "doubt", f"process {candidate.seen.pid}: {doubt}")
            self._strangers.take(running.measurement, now_s)
            if why:
                self._drop(key, now_s, lost=False)
        for measurement, pid in self._strangers.found(now_s):
            self._census.again(pid)
            for key, candidate in list(self._candidates.items()):
                running = candidate.running or candidate.within
                if running and running.measurement is measurement:
                    running.pids.discard(pid)
                    if candidate.seen.pid != pid:
                        continue
                    if candidate.within:
                        del self._candidates[key]
                    elif not self._hand_on(key):
                        self._drop(key, now_s, lost=False)

    def _hand_on(self, key: tuple[str, int]) -> bool:
        """Who is not there any more leaves its measurement to one that has joined it, if there is one."""
        running = self._candidates[key].running
        heir = next((each for each in self._candidates.values() if running and each.within is running), None)
        if heir is None:
            return False
        heir.running, heir.within = running, None
        del self._candidates[key]
        return True

    def _drop(self, key: tuple[str, int], now_s: float, *, lost: bool) -> None:
        candidate = self._candidates.pop(key)
        if candidate.running:
            for pid in (candidate.seen.pid, *candidate.running.pids):
                self._census.again(pid)
            self._end(candidate, now_s, lost=lost)

    def _end(self, candidate: Candidate, now_s: float, *, lost: bool) -> None:
        running, candidate.running = candidate.running, None
        assert running
        for key in [key for key, each in self._candidates.items() if each.within is running]:
            self._census.again(self._candidates.pop(key).seen.pid)  # whoever is there still is tried anew
        final: Recording | None = None
        with suppress(PylatError):
            self.slow += self._groups.read(candidate.rule, running)
            final = closed(running.measurement.stop(), lost=lost)
        running.measurement.close()
        self._groups.end(running, final, now_s)
        room(self._candidates.values(), now_s)

    def _settle(self, now_s: float) -> None:
        """Wait for what is just being started."""
        if self._starting:
            self._starting[1].exception()
            self._collect(now_s)


def _reason(error: PylatError) -> str:
    """The name of an error as a label: ``no_function_matches``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).lower()
