"""One measurement of one process by probes, with or without its children.

attach:  load; exits, then entries; check again what may have changed; enable
end:     disable; detach; read the tables
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from latency.cpython import jit
from latency.cpython.functions import LiveFunction
from latency.cpython.interpreter import Target
from latency.cpython.patterns import Matcher, matcher_of, not_there_yet, nothing_matches
from latency.recording import Options, Overhead, Probes, ProcessCalls, Recording
from latency.recording.totals import Totals
from latency.tracing.counted import opencalls, wire
from latency.tracing.counted.codes import AT_THE_END
from latency.tracing.counted.kept import Kept
from latency.tracing.counted.maps import CallMaps, decoded
from latency.tracing.counted.reading import Counted, Reading, Span
from latency.tracing.counted.session import CountingSession
from latency.tracing.counted.spaces import Spaces
from latency.tracing.counted.table import FunctionTable
from latency.tracing.counted.tally import Tally
from latency.tracing.kernel import clock
from latency.tracing.kernel.host import resident_bytes
from latency.tracing.probes.account import Account
from latency.tracing.probes.calibration import hit_cost
from latency.tracing.probes.cost import HitCost, overhead
from latency.tracing.probes.following import Following
from latency.tracing.probes.loading import MANY_SLOTS, SLOTS, Loader
from latency.tracing.probes.look import Look
from latency.tracing.probes.part import Part
from latency.tracing.probes.parts import parts_of
from latency.tracing.probes.program import Program
from latency.tracing.probes.tidying import Tidying

_MAIN_THREAD_ENDED = "calls right after the main thread ended, by which the kernel had placed the probes"


class Session(CountingSession):
    """Measures a target.

    Args:
        options: ``func`` and ``regex`` say which functions, without patterns all; ``children`` follows forks; what else
            they ask for is the matter of ``parts.parts_of``.
        attachment: see ``Program``.
        late: the target has only just begun: that no function matches yet is no error.
        parts: further ones, beside those that the options ask for.

    Attributes:
        table, following: which functions are followed, and who.
        hit_cost: what one hit costs here, once it is known.

    Raises:
        NoFunctionMatches: patterns, and no live function that matches; the hint offers the nearest names.
        TargetError: its JIT is on.
        HostError: bcc, the kernel or the privileges do not allow it.
    """

    maps: CallMaps

    def __init__(
        self,
        target: Target,
        options: Options,
        *,
        attachment: str = "auto",
        late: bool = False,
        parts: Sequence[Part] = (),
    ) -> None:
        super().__init__(target, options)
        self.hit_cost: HitCost | None = None
        self.account: Account | None = None
        self._looked: tuple[Reading, float] | None = None
        self._kept: Kept[Counted] = Kept()
        jit.require_off(target.process, target.build)
        self.parts = [*parts, *parts_of(target, options)]
        target.plan = replace(
            target.plan, sites=(*target.plan.sites, *(site for part in self.parts for site in part.sites()))
        )
        if target.process.task != target.process.pid and not options.children:
            attachment = "perf"  # a uprobe-multi link goes by the main thread
        matcher = matcher_of(options, target.process) if options.func else None
        self._loader = Loader(target, options, matcher, self.parts, attachment)
        self.following = Following(target, children=options.children)
        self.strangers = self.following.strangers
        self.table = FunctionTable(self.spaces, target.build, target.offsets, matcher)
        self._about = self.table.codes.about
        self._missing = lambda: self.table.missing
        # Thousands of functions are met at once where a Python starts.
        slots = MANY_SLOTS if options.children or late or not matcher else SLOTS
        self.program = self._found_and_loaded(slots, matcher, late=late)
        self.maps = self.program.maps
        try:
            for part in self.parts:
                part.loaded(self)
            self._tally = Tally(self.maps, self.table, self.spaces)
            self._tidying = Tidying(self.maps, self.table, self.following)
            with target.stopwatch.step("fill tables"):
                self.table.fill(self.maps)
                self.maps.want_names(self._loader.names or ())
        except BaseException:
            self.program.close()
            raise

    @property
    def functions(self) -> list[LiveFunction]:
        """The functions that were alive when pylat looked, and match."""
        return [live for _, live in self.table.wanted]

    @property
    def spaces(self) -> Spaces:
        """Who is followed."""
        return self.following.spaces

    # -- running ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Place the probes and begin. Raises AttachError, TargetGone."""
        self.calibrate()
        with self.target.stopwatch.step("attach"):
            self.target.process.check()
            self.program.attach(*self._place())
            self.following.begin(self.maps, self.table)
        config = self.maps.config
        config["code_type"] = self.target.build.address("PyCode_Type")
        config["generator_exit_type"] = self.target.process.u64(self.target.build.address("PyExc_GeneratorExit"))
        self._begin()
        for part in self.parts:
            part.begin()

    def pause(self) -> None:
        """Take all probes away that calls pass; nothing else changes."""
        self.program.pause()

    def resume(self) -> None:
        """Place them again. Raises AttachError."""
        self.program.resume(*self._place())

    def _place(self) -> tuple[str, int]:
        """The file that is probed, and the process in which; 0 for all."""
        pid = 0 if self.options.children else self.target.process.task
        return f"/proc/self/fd/{self.target.build.fd}", pid

    def calibrate(self) -> HitCost | None:
        """What a hit costs on this machine; while nothing is attached. None where it cannot be measured."""
        if self.hit_cost is None:
            with self.target.stopwatch.step("calibrate"):
                self.hit_cost = hit_cost(self.program, self.target.plan, self.target.offsets)
            for _ in self.maps.records():
                pass
            for part in self.parts:
                part.calibrated()
            if self.hit_cost is not None:
                self.account = Account(self.target.plan)
                self.account.calibrated(self.maps)
        return self.hit_cost

    def spent_s(self) -> float:
        """What the probes have cost the target since the start, seconds of CPU; 0 where a hit's cost is not known."""
        first = self._first.counters if self._first else {}
        return self._cost_ns({name: count - first.get(name, 0) for name, count in self.maps.counters().items()}) / 1e9

    def look(self, *, again: bool = False) -> Look:
        """What has been counted since the start, for the choice of an engine; or ``again``, since the last look."""
        assert self._first is not None
        if self.account:
            self.account.refresh(self.maps, self.following.processes)
        starts_ns = [start_ns for each in self._opens().values() for start_ns in each.starts_ns]
        now = self._read(clock.now_ns())
        seconds = self.watched.until(now.at_ns).watched_ns / 1e9
        (since, before_s), self._looked = (again and self._looked) or (self._first, 0.0), (now, seconds)
        return Look.between(since, now, starts_ns, seconds=seconds - before_s, accounted=self.account is not None)

    def poll(self) -> str:
        """Take in what has happened since."""
        self.take_events()
        self.following.look(self.maps)
        why = self.following.ended()
        if not why and self.program.go_by(*self._place()):
            self.unseen.append(_MAIN_THREAD_ENDED)
        given = self._tidying.step(watching=self.watched.running, take_events=self.take_events)
        if given:
            self._slices.give_back(given)
            self._tally.forget([each.slot for each in given])
        if self.account:
            self.account.refresh(self.maps, self.following.processes)
        for part in self.parts if not why else ():
            part.poll()
        return why

    def totals(self) -> list[Totals]:
        """As ``Measurement`` says."""
        self.take_events()
        counted = self._tally.take()
        if self.account:
            self.account.into(counted.numbers)
        slow = [call for part in self.parts for call in part.noticed()]
        return [self._totals(counted, self.spent_s() if self.hit_cost else None, slow)]

    def stop(self, until: Reading | None = None) -> Recording:
        """End the measurement: disable, detach, read. ``until``: its end, if another engine goes on from there."""
        opencalls.cut_with_threads(self.maps)
        stale = opencalls.stale_calls(self.maps, self.spaces, self.target.offsets)
        ended_ns = clock.now_ns()
        self.maps.config["enabled"] = 0
        self.unseen += self.target.compiled_since(self.unseen)
        self.program.detach()
        self.take_events()
        if self.account:
            self.account.refresh(self.maps, self.following.processes)
        for part in self.parts:
            part.end()
        reading = until or Reading.take(self.maps, self.table, ended_ns)
        self.table.codes.take(AT_THE_END)
        opens = opencalls.by_slot(opencalls.open_calls(self.maps) - stale, self.maps)
        self.program.stop_following()
        self._memory_bytes, self._map_bytes = resident_bytes(), self.maps.map_bytes
        self.not_run = self.program.not_run
        self.calibrate()
        if until is not None:
            return self._whole(reading, {})
        self.vanished += len(stale)
        return self._whole(reading, opens)

    def close(self) -> None:
        """Take everything away."""
        for part in self.parts:
            part.close()
        self.program.close()

    # -- events ----------------------------------------------------------------------------------

    def take_events(self) -> None:
        """What the program has told since, with every part's share."""
        for part in self.parts:
            part.before_events()
        records: Iterator[tuple[int, bytes]] = self.maps.records()
        for part in self.parts:
            records = iter(part.passing(records))
        for kind, record in records:
            self.take(kind, record)
        for part in self.parts:
            part.after_events()
        self.table.codes.take()

    def take(self, kind: int, record: bytes) -> None:
        """One record of the ring buffer."""
        event = decoded(kind, record)
        if event is None:
            return
        if kind == wire.EVENT_CODE:
            self.table.met(self.maps, event)
        elif kind in (wire.EVENT_MODULE, wire.EVENT_OWNER):
            self.table.announced.take(kind, event)
        else:
            self.following.take(kind, event)

    def _next_reading(self) -> Reading:
        reading = super()._next_reading()
        self.take_events()
        return reading

    # -- preparing -------------------------------------------------------------------------------

    def _found_and_loaded(self, slots: int, matcher: Matcher | None, *, late: bool) -> Program:
        """Search the heap while another process compiles and the kernel verifies.

        Args:
            slots: of statistics, unless the functions that are found need more.
        """
        target = self.target
        with ThreadPoolExecutor(1) as pool:
            loading = pool.submit(self._loader.load, slots)
            try:
                with target.stopwatch.step("find functions"):
                    self.following.find()
                    wanted = self.table.wanted
                    if matcher and not wanted and not late and not self.table.undecided:
                        raise nothing_matches(matcher, self.spaces.lives)
                    if matcher and not late:
                        self.remarks += not_there_yet(self.table.missing, matcher, self.spaces.lives)
                        self._of_compiled(self.table.wanted)
                with target.stopwatch.step("wait for the program"):
                    program = loading.result()
            except BaseException:
                if not loading.exception():
                    loading.result().close()
                raise
        found_slots = self.table.slots_for(wanted)
        needed_slots = min(wire.NO_SLOT, found_slots + min(found_slots, MANY_SLOTS // 2))  # and those that come later
        known = sum(len(space.lives) for space in self.spaces.values())
        capacity, processes = program.capacity, len(self.spaces)
        if needed_slots <= slots and 2 * known <= capacity.functions and 2 * processes <= capacity.processes:
            return program
        program.close()
        return self._loader.load(max(slots, needed_slots), known, processes)

    # -- results ---------------------------------------------------------------------------------

    def _read(self, at_ns: int) -> Reading:
        return Reading.take(self.maps, self.table, at_ns, self._kept)

    def _recording(self, span: Span) -> Recording:
        recording = super()._recording(span)
        for part in self.parts:
            recording = part.told(recording, span)
        return recording

    def _opens(self) -> Mapping[int, opencalls.OpenCalls]:
        return opencalls.by_slot(opencalls.open_calls(self.maps), self.maps)

    def _blind_spots(self) -> Sequence[str]:
        return (*super()._blind_spots(), *self.table.unseen)

    def _processes(self, reading: Reading) -> tuple[ProcessCalls, ...]:
        self.following.look(self.maps)
        return self.following.calls(reading)

    def _overhead(self, span: Span) -> Overhead | None:
        """From the number of hits and the cost of one."""
        if self.hit_cost is None:
            return None
        memory = self._memory_bytes, self._map_bytes
        return overhead(span.counters["hits"], self._cost_ns(span.counters), span.duration_s, *memory)

    def _cost_ns(self, counters: Mapping[str, int]) -> float:
        if self.account:
            return float(counters["taken_ns"])
        if self.hit_cost is None:
            return 0.0
        return self.hit_cost.total_ns(counters["hits"], counters["entries"] + counters["matched"])

    def _taken_off(self) -> Callable[[int, int, int], Probes] | None:
        return self.account.of if self.account else None

    def _attached(self) -> Iterator[str]:
        yield f"live functions that match: {len(self.functions):,}; attached by {self.program.attachment}"
