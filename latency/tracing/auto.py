"""``--engine auto``: the build's own engine first, for a short look; then the watch engine where that costs less.

The look is the beginning of the measurement, and its calls count, where the first engine stays.
"""

from __future__ import annotations

import copy
import ctypes
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from latency.cpython import jit
from latency.cpython.functions import LiveFunction
from latency.cpython.interpreter import Stopwatch, Target
from latency.cpython.watch_points import refusal, turns_needed
from latency.errors import HostError, PylatError
from latency.recording import Options, Recording
from latency.recording.combine import in_turn
from latency.recording.totals import Totals
from latency.tracing.choice import Choice, choose
from latency.tracing.handover import close_when_ready
from latency.tracing.kernel import calls as kernel
from latency.tracing.passing import Passing
from latency.tracing.probes.cost import HitCost
from latency.tracing.probes.look import Look
from latency.tracing.probes.session import Session
from latency.tracing.proving import proven
from latency.tracing.thoughts import SecondThoughts
from latency.tracing.watch.events import READ_WRITE, Watchpoint, Watchpoints, require_all
from latency.tracing.watch.session import WatchSession
from latency.tracing.watch.trap import CALIBRATION_READS, reading_ns

LOOK_S, LONGEST_LOOK_S = 0.1, 0.15
_GLANCE_S = 0.01
_ENOUGH_HITS, _ENOUGH_CALLS = 10_000, 50


def cannot_watch(target: Target, options: Options, functions: Sequence[LiveFunction]) -> str:
    """Why the watch engine is out of the question for these functions; ``""`` where it is not."""
    if not options.func:
        return "all functions are wanted"
    if target.around:
        return "watch follows the forks of one Python, and not another program's children"
    if options.self_time:
        return "watch does not see which calls a function makes"
    if options.offcpu and any(live.function.kind != "function" for live in functions):
        return "watch does not see where the time goes of what is suspended"
    if jit.may_run(target.process, target.build):
        return "the target's JIT is on, and probes do not see what watch sees"
    return str(refusal(target.process, target.build, target.offsets, functions, children=options.children) or "")


def trap_ns() -> float:
    """What a watchpoint hit takes on this machine, nanoseconds: on a byte of pylat's own, in about 20 ms.

    Raises:
        AttachError, KernelTooOld: there are no watchpoints to be had.
        OSError: the kernel refuses the program.
    """
    byte = ctypes.c_ubyte()
    bare_ns = reading_ns(byte)
    program = kernel.load_program("pylat_calibrate", kernel.PROG_TYPE_PERF_EVENT, kernel.EMPTY_PROGRAM)
    watchpoints = Watchpoints(program)
    try:
        thread = threading.get_native_id()
        watchpoints.place([Watchpoint(ctypes.addressof(byte), 1, READ_WRITE)], lambda: [thread])
        taken_ns = reading_ns(byte) - bare_ns
    finally:
        watchpoints.close()
        os.close(program)
    require_all(watchpoints.hits, CALIBRATION_READS)
    return max(0.0, taken_ns)


def looked(
    session: Session,
    *,
    passed_s: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None],
) -> Look:
    """At a session that was started just now: ``LOOK_S``, less where that is enough, a little more where it is not.

    Args:
        passed_s: how long ago it was started.
    """
    begin = clock() - passed_s
    while True:
        sleep(_GLANCE_S)
        look = session.look()
        passed_s = clock() - begin
        enough = look.hits >= _ENOUGH_HITS and look.wall.count >= _ENOUGH_CALLS
        none_yet = look.hits and not look.wall.count
        if enough or passed_s >= (LONGEST_LOOK_S if none_yet else LOOK_S):
            return look


def foreseen(target: Target, options: Options) -> tuple[Look, Choice]:
    """What a measurement would cost, without a limit. The probes are in place for the look, and are gone afterwards.

    Raises:
        HostError, TargetError, NoFunctionMatches: as ``Session`` does; or the cost of a hit cannot be measured here.
    """
    engine = target.plan.engine
    with Session(target, options) as session:
        why_not = cannot_watch(target, options, session.functions) if options.engine == "auto" else "it was asked for"
        hit = session.calibrate()
        if hit is None:
            raise HostError("the cost of a hit cannot be measured here", "run pylat check to see what is missing")
        trap = 0.0 if why_not else trap_ns()
        session.start()
        look = looked(session, sleep=time.sleep)
    if why_not:
        return look, Choice(False, f"{engine}: {why_not}", look.probes_share(hit))
    turns = turns_needed(target.process, target.offsets, session.functions)
    return look, choose(look, hit, trap, engine, max(turns, 1))


class Auto(Passing[Session | WatchSession]):
    """A ``Measurement``: a ``Session`` of a target that becomes a ``WatchSession`` where that can be and costs less.

    Args:
        attachment: as ``Session`` takes it.

    Attributes:
        session: what measures now.
        looked_s: how long the look took, which is part of the measurement where the session stayed the same.
    """

    def __init__(self, target: Target, options: Options, *, attachment: str = "auto") -> None:
        super().__init__(Session(target, options, attachment=attachment))
        self._target, self._attachment = target, attachment
        self._trap_ns = 0.0
        self._told = ""
        self._stuck = self._over = self._is_settled = False
        self._thoughts: SecondThoughts | None = None
        self._earlier: list[Recording] = []  # of what measured before
        self._interval: list[Recording] = []  # of the same, what no interval has told yet
        why_not = cannot_watch(target, options, self.session.functions)
        target.choice = f"{target.plan.engine}: {why_not}" if why_not else ""

    def start(self) -> None:
        """Start measuring, and choose. Raises what ``Session.start`` does."""
        session, target = self.session, self._target
        assert isinstance(session, Session)
        hit = None if target.choice else session.calibrate()
        session.start()
        if hit is None:
            target.choice = target.choice or f"{target.plan.engine}: the cost of a hit cannot be measured here"
            return
        begin = time.monotonic()
        with target.stopwatch.step("look"):
            try:
                self._trap_ns = trap_ns()
            except (PylatError, OSError) as error:
                target.choice = f"{target.plan.engine}: watch is not possible here: {error}"
                self.looked_s = time.monotonic() - begin
                return
            # The look is a time of waiting: the other engine is made ready meanwhile.
            pool = ThreadPoolExecutor(1)
            ready = pool.submit(self._watching, list(session.spaces[0].lives.values()))
            pool.shutdown(wait=False)
            look = looked(session, passed_s=time.monotonic() - begin, sleep=time.sleep)
        choice = self._choose(session, look, hit)
        if choice.watch and look.functions > len({live.function for live in session.functions}):
            choice = Choice(False, f"{target.plan.engine}: functions that match are being defined just now", 0.0)
        target.choice = choice.why
        if choice.watch:
            self._watch(choice, ready)
        else:
            ready.add_done_callback(close_when_ready)
        if isinstance(self.session, Session) and not self._is_settled:
            self._thoughts = SecondThoughts(lambda probes, look: self._choose(probes, look, hit), self._watching)
        if self.session is session:
            self.looked_s = time.monotonic() - begin

    def poll(self) -> str:
        """As ``Measurement`` says. Where a function that matches was defined while others are watched, the probes take
        over; and watchpoints from these, where they have become the better way."""
        session = self.session
        why = "exited" if self._over else session.poll()
        if why:
            return why
        if isinstance(session, WatchSession):
            session.look_again()
            if session.unwatched and not self._stuck:
                self._go_back(session)
        elif self._thoughts and (taken := self._thoughts.step(session)):
            self.session, over = taken
            self._earlier.append(over.earlier)
            self._interval.append(over.untold)
        return ""

    def doubt(self) -> str:
        """As ``Measurement`` says."""
        told, self._told = self._told, ""
        return told or self.session.doubt()

    def interval(self) -> Recording:
        """As ``Measurement`` says."""
        before, self._interval = self._interval, []
        return in_turn([*before, self.session.interval()])

    def so_far(self) -> Recording:
        """As ``Measurement`` says."""
        return in_turn([*self._earlier, *([] if self._over else [self.session.so_far()])])

    def totals(self) -> list[Totals]:
        """As ``Measurement`` says."""
        return [*map(Totals.of, self._earlier), *([] if self._over else self.session.totals())]

    def stop(self) -> Recording:
        """As ``Measurement`` says."""
        return in_turn([*self._earlier, *([] if self._over else [self.session.stop()])])

    def close(self) -> None:
        """As ``Measurement`` says."""
        if self._thoughts:
            self._thoughts.close()
        super().close()

    def stay(self) -> None:
        """Whoever measures now goes on."""
        if self._thoughts:
            self._thoughts.close()
            self._thoughts = None

    def _choose(self, session: Session, look: Look, hit: HitCost) -> Choice:
        target = self._target
        return choose(
            look,
            hit,
            self._trap_ns,
            target.plan.engine,
            max(turns_needed(target.process, target.offsets, session.functions), 1),
            suspends=any(live.function.kind != "function" for live in session.functions),
            limit_pct=self.options.max_overhead_pct,
        )

    def _go_back(self, watching: WatchSession) -> None:
        """The probes, which see functions that are defined while they are in place. They are made ready before."""
        target = self._target
        self._told = watching.doubt()
        try:
            probes = Session(target, self.options, attachment=self._attachment)
        except PylatError:
            self._stuck = True  # what is watched still is
            return
        self._interval.append(watching.interval())
        self._earlier.append(watching.stop())
        watching.close()
        self._thoughts = None  # it will be defined anew again
        self.session = probes
        chosen = watching.target.choice
        target.choice = f"{target.plan.engine}, since a function that matches was defined; before that, {chosen}"
        try:
            probes.start()
        except PylatError:
            self._over = True  # it has ended just now, and what was seen until then is kept

    def _watching(self, lives: list[LiveFunction] | None = None) -> WatchSession:
        """The session that would watch, with nothing attached yet. Raises what ``WatchSession`` does."""
        target = copy.copy(self._target)
        target.stopwatch = Stopwatch()
        target.plan = target.watch_plan()
        return WatchSession(target, self.options, lives=lives)

    def _watch(self, choice: Choice, ready: Future[WatchSession]) -> None:
        """Watch, if the watchpoints can be had and are seen to see the same calls as the probes."""
        target, probes = self._target, self.session
        assert isinstance(probes, Session)
        watching: WatchSession | None = None
        try:
            watching = ready.result()
            watching.target.stopwatch = target.stopwatch
            with target.stopwatch.step("prove"):
                verdict = proven(probes, watching)
            why_not, self._is_settled = verdict.why_not, bool(verdict.difference)
            if not why_not:
                watching.target.choice = f"{choice.why}; both saw the same {verdict.calls:,} calls"
                probes.close()
                self.session = watching
                watching.restart()
                return
        except PylatError as error:
            why_not = str(error)
        # What the watchpoints took is in the latencies of the calls that hit them.
        disturbed = watching is not None and watching.maps.counters()["hits"] > 0
        if watching is not None:
            watching.close()
        target.process.check()
        target.choice = f"{target.plan.engine}: watch was cheaper, but {why_not}"
        if disturbed or self.session is not probes:
            probes.close()
            self.session = Session(target, self.options, attachment=self._attachment)
            self.session.start()
