"""What looking adds to one call, as ratios within one run: of pylat, of its peers, and of tools inside the process.

For each interpreter one process, and in each round every variant in turn, with the bare call timed before, between and
after. Of all visits of a variant those are taken whose bare calls were the fastest, whatever the variant itself took:
the machine was least disturbed then. A variant proves that its probes fired: the calls that it saw are compared with
those that were made.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from benchmarks import peers
from benchmarks.keeping import Goal, Part, Settings, Spread, Values, chosen, fastest, names_only, ratios, table
from benchmarks.running import counted, runs
from benchmarks.worker import CALL_ROLES, Worker, empty_program, placed, plain
from latency.cpython.functions import live_functions
from latency.cpython.interpreter import Target
from latency.cpython.watch_points import COUNT_BYTES, watch_points
from latency.errors import PylatError
from latency.recording import Options
from latency.tracing.kernel import calls as kernel
from latency.tracing.probes.session import Session
from latency.tracing.watch.events import READ_WRITE, WRITE, Watchpoint, Watchpoints
from latency.tracing.watch.session import WatchSession
from tests.lab import Interpreter

MINORS = ((3, 9), (3, 11), (3, 13), (3, 15))
_ROUNDS = 11
_BURST_NS, _BURSTS = 1_000_000, 40
_PROOF_BURSTS, _GLANCE_BURSTS = 5, 10
_VISITS_A_ROUND = 3  # at most: the least disturbed ones are taken
_DISTURBED = 1.1
_PATIENCE_S = 2.0
_TURNS, _TURN_BURSTS = 8, 8
_PERF_EVENT_IOC_ENABLE, _PERF_EVENT_IOC_DISABLE = 0x2400, 0x2401
_FLOOR, _WATCH_FLOOR = "floor", "watch floor"
_ALL, _HITS, _MISSES = "all functions", "filter hits", "filter misses"
_WATCHED, _UNWATCHED = "watch, targeted", "watch, untargeted"
_USDT, _UCALLS, _BPFTRACE = "all functions by USDT", "ucalls -L", "bpftrace"
_CPROFILE, _MONITORING = "cProfile", "sys.monitoring"
_ORDER = (
    _FLOOR, _ALL, _HITS, _MISSES, _USDT, _UCALLS, _BPFTRACE, _WATCH_FLOOR, _WATCHED, _UNWATCHED, _CPROFILE, _MONITORING
)  # fmt: skip
_OTHERS = (_USDT, _UCALLS, _BPFTRACE, _CPROFILE, _MONITORING)
_ABOUT = {
    _FLOOR: "empty BPF programs at pylat's own sites, attached as pylat attaches",
    _ALL: "pylat, every function",
    _HITS: "pylat, a filter that wants this function",
    _MISSES: "pylat, a filter that wants another function",
    _USDT: "pylat, every function, by the USDT markers that the peers use",
    _UCALLS: "bcc's `ucalls -l python -L`",
    _BPFTRACE: "a bpftrace script: `@start[tid, str(arg1)]` and `hist()`",
    _WATCH_FLOOR: "empty BPF programs at the watch engine's watchpoints",
    _WATCHED: "pylat's watch engine, this function",
    _UNWATCHED: "pylat's watch engine, while it watches another function",
    _CPROFILE: "inside the process: cProfile",
    _MONITORING: "inside the process: sys.monitoring, call and return, with callbacks of two machine instructions",
}


@dataclass
class Calls:
    """What a variant saw while it was placed, and what was made."""

    seen: int = 0
    made: int = 0


Placing = Callable[[Calls], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Variant:
    """One way to look.

    Attributes:
        place: a context manager that places it, and fills in ``Calls.seen`` when it ends.
        floor: what it is compared with in the same visit, "" for nothing.
        per_call: events that it sees of one call.
    """

    name: str
    place: Placing
    floor: str = _FLOOR
    per_call: int = 1


@dataclass
class Measured:
    """The rounds of one variant.

    Attributes:
        added_ns: what one call takes more than the bare one.
        to_floor: the same, divided by what the floor adds just before or after.
        beyond_ns: the same, without what the floor adds: what is not trap.
        times_bare: what one call takes, divided by the bare one.
        seen, made: events, over all rounds.
        cannot: why it does not run here.
        took_s: how long the visits took.
    """

    added_ns: list[float] = field(default_factory=list)
    to_floor: list[float] = field(default_factory=list)
    beyond_ns: list[float] = field(default_factory=list)
    times_bare: list[float] = field(default_factory=list)
    seen: int = 0
    made: int = 0
    cannot: str = ""
    took_s: float = 0.0


class Visit(NamedTuple):
    """One measurement of a variant: ``bare_ns`` is the slowest bare call beside it, the others as in ``Measured``."""

    bare_ns: float
    added_ns: float
    times_bare: float
    to_floor: float | None
    beyond_ns: float | None


class Subject:
    """One interpreter at work, and the ways to look at it."""

    def __init__(self, interpreter: Interpreter, worker: Worker, environ: dict[str, str], *, visible: bool) -> None:
        self.interpreter = interpreter
        self.worker = worker
        self.semaphores: dict[str, tuple[int, ...]] = {}
        self.least_ns = float("inf")
        self._environ = environ
        self._visible = visible
        self._targets: dict[str, Target] = {}

    def target(self, engine: str = "auto") -> Target:
        """The target by one engine."""
        if engine not in self._targets:
            self._targets[engine] = Target(self.worker.pid, engine=engine)
        return self._targets[engine]

    def time(self, function: str = "wanted", bursts: int = _BURSTS) -> tuple[int, float]:
        """(calls that were made, nanoseconds of one)."""
        calls, each_ns = self.worker.ask("time", function, _BURST_NS, bursts)
        return calls, fastest(each_ns)

    def bare(self, bursts: int = _BURSTS) -> float:
        """What a call takes that nobody looks at, nanoseconds."""
        _, bare_ns = self.time(bursts=bursts)
        self.least_ns = min(self.least_ns, bare_ns)
        return bare_ns

    def wait(self) -> None:
        """Until the machine is as fast as it has been, for a moment at most.

        Who shares a processor core with others is slowed by half again and more for seconds at a time, and
        not what is compared by the same share.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while self.bare(_GLANCE_BURSTS) > _DISTURBED * self.least_ns and time.monotonic() < deadline:
            time.sleep(0.05)

    def variants(self) -> list[Variant]:
        """Those that this build may offer; whether they run is seen when they are placed."""
        found = [
            Variant(_FLOOR, self.floors[_FLOOR], floor=""),
            Variant(_ALL, lambda calls: self._traced(calls)),
            Variant(_HITS, lambda calls: self._traced(calls, "wanted")),
            Variant(_MISSES, lambda calls: self._traced(calls, "other"), per_call=0),
            Variant(_USDT, lambda calls: self._traced(calls, engine="usdt")),
            *[Variant(peer.name, partial(self._peer, peer)) for peer in peers.PEERS],
            Variant(_WATCH_FLOOR, self.floors[_WATCH_FLOOR], floor=""),
            Variant(_WATCHED, lambda calls: self._watched(calls), floor=_WATCH_FLOOR),
            Variant(_UNWATCHED, lambda calls: self._watched(calls), floor=""),
            Variant(_CPROFILE, lambda calls: self._inside(calls, "profile"), floor=""),
        ]
        if self.interpreter.minor >= (3, 12):
            found.append(Variant(_MONITORING, lambda calls: self._inside(calls, "monitor"), floor="", per_call=2))
        return found

    @property
    def floors(self) -> dict[str, Placing]:
        """What has to be paid for the traps alone."""
        return {_FLOOR: self._floor, _WATCH_FLOOR: self._watch_floor}

    # -- the ways to look ------------------------------------------------------------------------

    @contextmanager
    def _floor(self, calls: Calls) -> Iterator[None]:
        target = self.target()
        with empty_program() as program, placed(target, dict.fromkeys(CALL_ROLES, program)):
            yield
            self._prove(calls, program, hits=2)

    @contextmanager
    def _watch_floor(self, calls: Calls) -> Iterator[None]:
        target = self.target("watch")
        lives = live_functions(target.process, target.build, target.offsets)
        live = next(live for live in lives if live.function.qualname == "wanted")
        points = watch_points(target.process, target.offsets, live)
        with empty_program(kernel.PROG_TYPE_PERF_EVENT) as program:
            watchpoints = Watchpoints(program)
            places = [Watchpoint(points.count, COUNT_BYTES, WRITE), Watchpoint(points.entry, 1, READ_WRITE)]
            watchpoints.place(places, target.process.threads)
            try:
                yield
                # an entry reads its byte once, and its frame's reference goes up and down
                self._prove(calls, program, hits=3)
            finally:
                watchpoints.close()

    @contextmanager
    def _traced(self, calls: Calls, *func: str, engine: str = "auto") -> Iterator[None]:
        with Session(self.target(engine), Options(func=func, engine=engine)) as session:
            session.start()
            yield
            calls.seen = _calls_of(session)

    @contextmanager
    def _watched(self, calls: Calls) -> Iterator[list[int]]:
        with WatchSession(self.target("watch"), Options(func=("wanted",), engine="watch")) as session:
            session.start()
            yield session.program._watchpoints._events
            calls.seen = _calls_of(session)

    @contextmanager
    def _peer(self, peer: peers.Peer, calls: Calls) -> Iterator[None]:
        if not self._visible:
            raise peers.CannotRun("its file is seen in a root of its own only")
        with peer.tracing(self.target(), "wanted", self._environ) as run:
            self.semaphores[peer.name] = run.semaphores
            yield
        calls.seen = run.seen

    @contextmanager
    def _inside(self, calls: Calls, tool: str) -> Iterator[None]:
        self.worker.ask(tool, True)
        yield
        calls.seen = self.worker.ask(tool, False)

    def _prove(self, calls: Calls, program: int, hits: int) -> None:
        """An empty program has no counter: the kernel counts its runs, in some more calls that are not timed."""
        with counted():
            before = runs(program)
            calls.made, _ = self.time(bursts=_PROOF_BURSTS)
            calls.seen = (runs(program) - before).count // hits


def _calls_of(session: Session | WatchSession) -> int:
    return sum(each.calls for each in session.stop().functions if each.function.qualname == "wanted")


# -- measuring -----------------------------------------------------------------------------------


def measure_interpreter(interpreter: Interpreter, settings: Settings, environ: dict[str, str]) -> Values:
    """All rounds of one interpreter."""
    rounds = settings.rounds_or(_ROUNDS)
    command = plain(interpreter)
    found: dict[str, Measured] = {}
    visits: dict[str, list[Visit]] = {}
    with Worker(command or interpreter.command(), "calls.py") as worker:
        subject = Subject(interpreter, worker, environ, visible=command is not None)
        variants = subject.variants()
        for number in range(_VISITS_A_ROUND * rounds):
            settings.progress(f"cost: {interpreter.id}, round {number + 1} of {rounds} or a few more")
            turn = number % len(variants)
            for variant in variants[turn:] + variants[:turn]:
                measured = found.setdefault(variant.name, Measured())
                made = visits.setdefault(variant.name, [])
                undisturbed = sum(each.bare_ns <= _DISTURBED * subject.least_ns for each in made)
                if measured.cannot or undisturbed >= rounds or (variant.name == _UNWATCHED and number >= rounds):
                    continue
                begin = time.monotonic()
                _visit(subject, variant, measured, made, floor_first=number % 2 == 0)
                measured.took_s += time.monotonic() - begin
        for name, measured in found.items():
            _take(measured, _least_disturbed(visits[name], rounds))
        plan = subject.target().plan
        return {
            "engine": plan.engine,
            "single_stepped": sum(site.role in CALL_ROLES for site in plan.single_stepped),
            "bare_ns": [each.bare_ns for made in visits.values() for each in _least_disturbed(made, rounds)],
            "visits": {name: len(made) for name, made in visits.items()},
            "semaphores": subject.semaphores,
            "variants": {name: vars(measured) for name, measured in found.items()},
        }


def _least_disturbed(visits: Sequence[Visit], rounds: int) -> list[Visit]:
    return sorted(visits, key=lambda visit: visit.bare_ns)[:rounds]


def _take(measured: Measured, visits: Sequence[Visit]) -> None:
    measured.added_ns += [each.added_ns for each in visits]
    measured.times_bare += [each.times_bare for each in visits]
    measured.to_floor += [each.to_floor for each in visits if each.to_floor is not None]
    measured.beyond_ns += [each.beyond_ns for each in visits if each.beyond_ns is not None]


def _visit(subject: Subject, variant: Variant, measured: Measured, made: list[Visit], *, floor_first: bool) -> None:
    """One visit of one variant: bare, floor, bare and variant in one order or the other, bare."""
    try:
        if variant.name == _UNWATCHED:
            _by_turns(subject, variant, measured)
            return
        subject.wait()
        calls, placed_ns, floor_ns = Calls(), 0.0, 0.0
        bares = [subject.bare()]
        names = [name for name in (variant.floor, variant.name) if name]
        for name in names if floor_first else names[::-1]:
            if name == variant.name:
                with variant.place(calls):
                    count, placed_ns = subject.time()
                calls.made = calls.made or count
            else:
                with subject.floors[name](Calls()):
                    _, floor_ns = subject.time()
            bares.append(subject.bare())
    except (PylatError, OSError, peers.CannotRun) as error:
        measured.cannot = names_only(str(error))
        return
    bare = sum(bares) / len(bares)
    added_ns = placed_ns - bare
    to_floor = added_ns / (floor_ns - bare) if floor_ns else None
    beyond_ns = placed_ns - floor_ns if floor_ns else None
    made.append(Visit(max(bares), added_ns, placed_ns / bare, to_floor, beyond_ns))
    measured.seen += calls.seen
    measured.made += calls.made * variant.per_call


def _by_turns(subject: Subject, variant: Variant, measured: Measured) -> None:
    """Another function than the watched one, with the watchpoints switched on and off in turns."""
    on: list[float] = []
    off: list[float] = []
    calls = Calls()
    with variant.place(calls) as events:
        for _ in range(_TURNS):
            on += subject.worker.ask("time", "other", _BURST_NS, _TURN_BURSTS)[1]
            for event in events:
                fcntl.ioctl(event, _PERF_EVENT_IOC_DISABLE, 0)
            off += subject.worker.ask("time", "other", _BURST_NS, _TURN_BURSTS)[1]
            for event in events:
                fcntl.ioctl(event, _PERF_EVENT_IOC_ENABLE, 0)
        calls.made, _ = subject.time(bursts=_PROOF_BURSTS)  # the watched one: they are there, and saw no other
    measured.added_ns.append(fastest(on) - fastest(off))
    measured.times_bare.append(fastest(on) / fastest(off))
    measured.seen += calls.seen
    measured.made += calls.made


def measure(settings: Settings) -> Values:
    """All interpreters."""
    with peers.environment() as environ:
        return {
            interpreter.id: measure_interpreter(interpreter, settings, environ)
            for interpreter in chosen(settings, MINORS)
        }


# -- saying it -----------------------------------------------------------------------------------


def wrong(name: str, variant: Values) -> bool:
    """Whether the counts are not what they must be.

    pylat and cProfile must have seen each call and no other. What counts all events (a floor, sys.monitoring) sees the
    few calls that the target makes beside. The peers may lose some; the table says how many they saw.
    """
    seen, made = variant["seen"], variant["made"]
    if variant["cannot"] or name in (_UCALLS, _BPFTRACE):
        return False
    if name in (_FLOOR, _WATCH_FLOOR, _MONITORING):
        return not made <= seen <= 1.02 * made
    return bool(seen != made)


def tables(values: Values) -> str:
    """One table for each interpreter."""
    text = [f"- **{name}**: {about}." for name, about in _ABOUT.items()]
    for interpreter, found in values.items():
        variants = found["variants"]
        rows = []
        for name in (name for name in _ORDER if name in variants):
            it = variants[name]
            if it["cannot"]:
                rows.append([name, f"cannot: {it['cannot']}", *[""] * 5])
                continue
            seen = "none of none" if not it["made"] and not it["seen"] else f"{it['seen']:,} of {it['made']:,}"
            to_all = _ratio(variants, _ALL, name) if name in _OTHERS else None
            rows.append(
                [
                    name,
                    f"{Spread.of(it['added_ns']):,.0f} ns",
                    f"{Spread.of(it['times_bare']):.3f}" if name == _UNWATCHED else f"{_median(it['times_bare']):,.1f}",
                    f"{Spread.of(it['to_floor']):.2f}" if it["to_floor"] else "",
                    f"{Spread.of(it['beyond_ns']):,.0f} ns" if it["beyond_ns"] else "",
                    f"{to_all:.2f}" if to_all else "",
                    f"**{seen}**" if wrong(name, it) else seen,
                ]
            )
        bare = Spread.of(found["bare_ns"])
        text.append(
            f"\n## {interpreter}\n\nEngine {found['engine']}; bare call {bare:.0f} ns"
            + (f"; {found['single_stepped']} probes are single-stepped" if found["single_stepped"] else "")
            + "".join(f"; {peer} raised the semaphores to {tuple(on)}" for peer, on in found["semaphores"].items())
            + _visits(found)
            + ".\n"
        )
        text.append(
            table(
                ("", "added to a call", "× bare", "/ its floor", "beyond its floor", "all functions / it", "seen"), rows
            )
        )
    return "\n".join(text)


def _visits(found: Values) -> str:
    """How many were made; results of before 2026-11-28 are of all visits, and do not say."""
    made = [number for number in found.get("visits", {}).values() if number]
    taken = max(len(it["added_ns"]) for it in found["variants"].values())
    return f"; the {taken} least disturbed of {min(made)} to {max(made)} visits" if made else ""


def _median(numbers: Sequence[float]) -> float:
    return float(np.median(np.array(numbers)))


def _ratio(variants: Values, of: str, to: str) -> Spread | None:
    """Of what two variants add: each as a multiple of its own floor, where both have one."""
    one, other = variants.get(of), variants.get(to)
    if not one or not other or one["cannot"] or other["cannot"]:
        return None
    how = "to_floor" if one["to_floor"] and other["to_floor"] else "added_ns"
    rounds = min(len(one[how]), len(other[how]))
    return ratios(one[how][:rounds], other[how][:rounds])


def _to_floor(variants: Values, name: str) -> Spread | None:
    return None if variants[name]["cannot"] else Spread.of(variants[name]["to_floor"])


def goals(values: Values) -> list[Goal]:
    """What was promised, for the interpreter that is furthest from it."""
    found = []
    for figure, of, most in (
        ("traced call, all functions / floor of empty probes", _ALL, 1.30),
        ("call that the filter rejects / floor", _MISSES, 1.15),
    ):
        there = {name: _to_floor(each["variants"], of) for name, each in values.items()}
        found.append(_worst(figure, there, most))
    for peer, most in ((_UCALLS, 0.65), (_BPFTRACE, 0.60)):
        there = {name: _ratio(each["variants"], _ALL, peer) for name, each in values.items() if name.startswith("3.9.")}
        found.append(_worst(f"traced call / {peer}, on 3.9", there, most))
    unwatched = {
        name: None if it["cannot"] else Spread.of(it["times_bare"])
        for name, each in values.items()
        for it in [each["variants"][_UNWATCHED]]
    }
    found.append(_worst("untargeted call, watch engine / untraced", unwatched, 1.02, digits=3))
    inexact = [
        f"{name}, {variant}: {it['seen']:,} of {it['made']:,}"
        for name, each in values.items()
        for variant, it in each["variants"].items()
        if wrong(variant, it)
    ]
    return [*found, Goal("calls seen by each variant", "exact", "; ".join(inexact) or "all", not inexact)]


def _worst(figure: str, spreads: Mapping[str, Spread | None], most: float, digits: int = 2) -> Goal:
    ratios = {name: spread for name, spread in spreads.items() if spread}
    if not ratios:
        return Goal(figure, f"at most {most:.2f}", "not measured", None)
    said = ", ".join(f"{ratio:.{digits}f} on {name}" for name, ratio in ratios.items())
    return Goal(figure, f"at most {most:.2f}", said, max(ratio.middle for ratio in ratios.values()) <= most)


def plots(values: Values) -> dict[str, Any]:
    """Bars of the added nanoseconds."""
    from benchmarks import drawing

    names = [name for name in _ORDER if name != _UNWATCHED]
    series = {
        interpreter: [
            Spread.of(each["variants"][name]["added_ns"]) if each["variants"].get(name, {}).get("added_ns") else None
            for name in names
        ]
        for interpreter, each in values.items()
    }
    return {"cost": drawing.bars(names, series, "added to one call, µs", scale=1e-3, logarithmic=True)}


PART = Part("cost", "What looking adds to one call", measure, tables, plots, goals)
