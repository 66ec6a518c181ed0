"""One measurement of one process, with or without its children: prepare, start, look in from time to time, stop.

attach:  load; exits, then entries; check again what may have changed; enable
end:     disable; detach; read the tables
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from latency.cache import Cache
from latency.cpython import jit
from latency.cpython.functions import LiveFunction, live_functions
from latency.cpython.interpreter import Stopwatch, Target
from latency.cpython.patterns import Matcher, nearest
from latency.errors import AttachError, CompileError, NoFunctionMatches, TargetError
from latency.histogram import Histogram
from latency.recording import Losses, Options, Overhead, ProcessCalls, Recording
from latency.target.process import Process
from latency.tracing.choice import Look
from latency.tracing.counted import opencalls, wire
from latency.tracing.counted.parameters import Capacity, cflags
from latency.tracing.counted.reading import Reading, Slices, began_at
from latency.tracing.counted.results import latencies
from latency.tracing.counted.spaces import Space, Spaces
from latency.tracing.counted.table import FunctionTable
from latency.tracing.kernel.btf import member_offset
from latency.tracing.kernel.compiler import kept_or_compiled
from latency.tracing.kernel.host import require_first_pid_namespace, resident_bytes
from latency.tracing.limit.throttle import Throttle
from latency.tracing.limit.watched import SlicesWatched, WatchedUntil
from latency.tracing.probes.calibration import HitCost, hit_cost
from latency.tracing.probes.program import Program, needed, sizes_agree
from latency.tracing.probes.splitting import GREENLETS, Splitting, has_greenlets

if TYPE_CHECKING:
    from latency.tracing.probes.slow import SlowLog

__all__ = ["Session", "Stopwatch", "Target"]

_CODE_BYTES = 136  # covers the members below in all versions
_LASTING = (
    "object.type",
    "code.consts",
    "code.names",
    "code.filename",
    "code.name",
    "code.qualname",
    "code.firstlineno",
)
_SLOTS, _MANY_SLOTS = 1024, 8192
_MANY_EVENT_BYTES = 8 << 20


class Session:
    """Measures a target.

    Args:
        options: ``func`` and ``regex`` say which functions, without patterns all; ``children`` follows forks.
        attachment: see ``Program``.
        late: the target has only just begun: that no function matches yet is no error.

    Attributes:
        spaces: who is followed.
        hit_cost: what one hit costs here, once it is known.
        unseen: what this session did not see, one line each, beside the plan's blind spots.
        strangers: PIDs of followed processes that run another program since, which may be a CPython of another build.

    Raises:
        NoFunctionMatches: patterns, and no live function that matches; the hint offers the nearest names.
        TargetError: its JIT is on.
        HostError: bcc, the kernel or the privileges do not allow it.
    """

    def __init__(self, target: Target, options: Options, *, attachment: str = "auto", late: bool = False) -> None:
        self.target = target
        self.options = options
        self.spaces = Spaces()
        self.strangers: list[int] = []
        self._attachment = attachment
        self.unseen: list[str] = []
        self._slices = Slices()
        self._first: Reading | None = None
        self._last: Reading | None = None
        self.hit_cost: HitCost | None = None
        self._memory_bytes = self._map_bytes = 0
        self._throttle: Throttle | None = None
        self._watched = SlicesWatched()
        self._last_watched: WatchedUntil | None = None
        self._vanished = 0  # calls whose end was missed
        self._started_at = datetime.now(timezone.utc)
        jit.require_off(target.process, target.build)
        self._info = target.info()  # now, while it lives
        if options.children:
            require_first_pid_namespace()
        self._splitting = Splitting(options.offcpu, options.self_time)
        if (options.offcpu or options.self_time) and has_greenlets(target.process):
            self.unseen.append(GREENLETS)
        if options.offcpu:
            from latency.cpython.sites.collector import gc_sites  # it imports the disassembler

            sites = gc_sites(target.build.image, target.build.markers)
            target.plan = replace(target.plan, sites=(*target.plan.sites, *sites))
        matcher = Matcher.parse(options.func, regex=options.regex) if options.func else None
        self._names = matcher.bare_names if matcher else None
        self._by_module = matcher is not None and matcher.by_module
        self.table = FunctionTable(self.spaces, target.build, target.offsets, matcher)
        slots = _SLOTS
        if options.children or late or not matcher:
            slots = _MANY_SLOTS  # thousands of functions are met at once where a Python starts
        self.program = self._found_and_loaded(slots, matcher, late=late)
        self._slow: SlowLog | None = None
        try:
            if options.slower:
                from latency.tracing.probes.slow import SlowLog  # it imports the decoder of values

                self._slow = SlowLog(target, options, self.program, self.table, self.spaces)
            with target.stopwatch.step("fill tables"):
                self.table.fill(self.program)
                self.program.want_names(self._names or ())
        except BaseException:
            self.program.close()
            raise

    # -- running ---------------------------------------------------------------------------------

    @property
    def functions(self) -> list[LiveFunction]:
        """The functions that were alive when pylat looked, and match."""
        return [live for _, live in self.table.wanted]

    def start(self) -> None:
        """Place the probes and begin. Raises AttachError, TargetGone."""
        program = self.program
        if self.options.max_overhead_pct is not None:
            self.calibrate()
        with self.target.stopwatch.step("attach"):
            self.target.process.check()
            program.attach(*self._place())
            if self.options.children:
                for space in self.spaces.values():
                    program.follow(space.pid, space.number)
                self._adopt_late_children()
            # From here on the program itself strikes out code objects that are freed; those freed and replaced since
            # they were found are told by their contents.
            for number, heads in self._heads.items():
                self._forget_changed(self.spaces[number], heads)
        self._started_at = datetime.now(timezone.utc)
        config = program.config
        config["code_type"] = self.target.build.address("PyCode_Type")
        config["generator_exit_type"] = self.target.process.u64(self.target.build.address("PyExc_GeneratorExit"))
        self._first = Reading.take(program, self.table, time.monotonic_ns())
        program.config["enabled"] = 1
        self._watched.begin(time.monotonic_ns())
        if self.options.max_overhead_pct is not None and self.hit_cost is not None:
            self._throttle = Throttle(self.options.max_overhead_pct / 100, time.monotonic())

    def calibrate(self) -> HitCost | None:
        """What a hit costs on this machine; before the session is started. None where it cannot be measured."""
        if self.hit_cost is None:
            with self.target.stopwatch.step("calibrate"):
                self.hit_cost = hit_cost(self.program, self.target.plan, self.target.offsets)
        return self.hit_cost

    def look(self) -> Look:
        """What has been counted since the start, for the choice of an engine."""
        assert self._first is not None
        now_ns = time.monotonic_ns()
        reading = Reading.take(self.program, self.table, now_ns)
        since = self._first.counters
        counters = {name: count - since[name] for name, count in reading.counters.items()}
        opens = opencalls.open_calls(self.program)
        walls = [counted.wall for counted in reading.functions.values()]
        return Look(
            seconds=(now_ns - self._first.at_ns) / 1e9,
            hits=counters["hits"],
            entries=counters["entries"],
            wanted_hits=counters["entries"] + counters["matched"],
            wall=Histogram.empty().merge(*walls),
            open_ns=tuple(now_ns - call.start_ns for call in opens),
            functions=len(reading.functions),
        )

    def poll(self) -> str:
        """Take in what has happened since; call it several times a second.

        Returns:
            ``""``, or why the target cannot be measured any longer: ``"exited"`` or ``"exec"`` (another program).
        """
        self._take_events()
        given = self.table.give_back(self.program, lambda: {call.slot for call in opencalls.open_calls(self.program)})
        self._slices.give_back(given)
        if self._slow:
            self._slow.adjust()
        ends = [space.look() for space in self.spaces.values()]
        if "" not in ends:
            return ends[0]
        if self._throttle:
            self._keep_limit(self._throttle)
        return ""

    def end_slice(self) -> None:
        """One more of the equal parts of the measurement is over: the error bars are made of these."""
        self._slices.add(self.program)

    def interval(self) -> Recording:
        """What came since the last interval. The open calls are not told."""
        reading = Reading.take(self.program, self.table, time.monotonic_ns())
        self._take_events()
        earlier, self._last = self._last or self._first, reading
        watched = self._watched.until(reading.at_ns)
        before, self._last_watched = self._last_watched, watched
        return self._recording(reading, earlier, {}, 0, watched.since(before) if before else watched, slices=None)

    def stop(self) -> Recording:
        """End the measurement: disable, detach, read."""
        program = self.program
        stale = opencalls.stale_calls(program, self.spaces, self.target.offsets)
        ended_ns = time.monotonic_ns()
        program.config["enabled"] = 0
        self._look_for_jit()
        program.detach()
        self._take_events()
        if self._slow:
            self._slow.close()
        reading = Reading.take(program, self.table, ended_ns)
        opens = opencalls.by_slot(opencalls.open_calls(program) - stale)
        program.stop_following()
        self._memory_bytes, self._map_bytes = resident_bytes(), program.map_bytes
        self.calibrate()
        watched = self._watched.until(ended_ns)
        self._vanished += len(stale)
        return self._recording(reading, self._first, opens, self._vanished, watched, slices=self._slices)

    def close(self) -> None:
        """Take everything away."""
        self.program.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # -- within a limit ---------------------------------------------------------------------------

    def _keep_limit(self, throttle: Throttle) -> None:
        assert self._first is not None
        counters = self.program.counters()
        cost_s = self._cost_ns({name: count - self._first.counters[name] for name, count in counters.items()}) / 1e9
        before, watching = throttle.watching, throttle.step(time.monotonic(), cost_s)
        if before and not watching:
            self.pause()
        elif watching and not before:
            self.resume()

    def pause(self) -> None:
        """Take the probes away for a time. The calls that are open are cut: they are counted, with their age."""
        program = self.program
        stale = opencalls.stale_calls(program, self.spaces, self.target.offsets)
        # The time is taken first: what is in the tables afterwards was running then, or had not begun.
        ended_ns = time.monotonic_ns()
        program.config["enabled"] = 0
        program.config["sliced"] = 1
        program.pause()
        self._take_events()
        cut: dict[int, list[int]] = {}
        for call in opencalls.open_calls(program) - stale:
            cut.setdefault(call.slot, []).append(call.start_ns)
        self._vanished += len(stale)
        program.forget_calls()
        rows = program.statistics
        owners = {slot: self.table.owner(slot, rows[slot].copy()) for slot in cut}
        wanted = [(owners[slot][0], starts_ns) for slot, starts_ns in cut.items() if owners[slot][1]]
        self._watched.end(ended_ns, wanted)

    def resume(self) -> None:
        """Place them again, and go on. Raises AttachError, TargetGone."""
        try:
            self.program.resume(*self._place())
        except AttachError:
            self.target.process.check()  # it may just have ended: the next poll says so
            raise
        self.program.config["enabled"] = 1
        self._watched.begin(time.monotonic_ns())

    def _place(self) -> tuple[str, int]:
        """The file that is probed, and the process in which; 0 for all."""
        pid = 0 if self.options.children else self.target.process.pid
        return f"/proc/self/fd/{self.target.build.fd}", pid

    # -- who is followed -------------------------------------------------------------------------

    def _find_functions(self) -> None:
        """The target's code objects, and those of the children that it has already."""
        process = self.target.process
        self._heads: dict[int, list[bytes | None]] = {}
        if not self.options.children:
            self._add(Space(0, process.pid, process))
            return
        self._add(Space(1, process.pid, process))
        for pid in process.children(recursive=True):
            self._add_child(pid)

    def _add_child(self, pid: int) -> None:
        """A child that exists already, if it runs the same interpreter."""
        space = Space.of_pid(len(self.spaces) + 1, pid, 0)
        if space.process is None:
            return
        try:
            if self._runs_same_file(space.process):
                self._add(space)
            else:
                self.strangers.append(pid)
        except TargetError:
            return  # it ended meanwhile

    def _runs_same_file(self, process: Process) -> bool:
        mine = self.target.build.device_inode
        return any(mapping.device_inode == mine for mapping in process.maps())

    def _add(self, space: Space) -> None:
        target = self.target
        assert space.process is not None
        lives = live_functions(space.process, target.build, target.offsets)
        space.lives = {live.address: live for live in lives}
        self._heads[space.number] = space.process.read_many(list(space.lives), _CODE_BYTES)
        self.spaces[space.number] = space

    def _adopt_late_children(self) -> None:
        """Children that were forked between the look at the process tree and the moment that forks are followed."""
        known = {space.pid for space in self.spaces.values()} | set(self.strangers)
        followed = {int(key[0]) for key, _ in self.program.processes.items()}
        for pid in self.target.process.children(recursive=True):
            if pid not in known and pid not in followed:
                number = len(self.spaces) + 1
                self._add_child(pid)
                if number in self.spaces:  # its code objects are met as they run
                    self.program.follow(pid, number)

    def _forget_changed(self, space: Space, before: list[bytes | None]) -> None:
        process = space.readable
        if process is None:
            return
        addresses = list(space.lives)
        after = process.read_many(addresses, _CODE_BYTES)
        pairs = zip(addresses, before, after, strict=True)
        self.table.forget(self.program, space, [at for at, one, two in pairs if not self._same_code(one, two)])

    def _same_code(self, one: bytes | None, two: bytes | None) -> bool:
        """Whether two readings of a code object's head are of one object, by the members that never change."""
        if one is None or two is None:
            return False
        fields = self.target.offsets.fields
        known = (fields[name] for name in _LASTING if name in fields)
        return all(one[f.offset : f.offset + f.size] == two[f.offset : f.offset + f.size] for f in known)

    def _take_events(self) -> None:
        # Before the others: the program tells of a function earlier than of a slow call of it.
        slow = list(self.program.slow_events()) if self._slow else []
        for kind, event in self.program.events():
            self._take_event(kind, event)
        if self._slow:
            self._slow.take(slow)

    def _take_event(self, kind: int, event: np.ndarray[Any, Any]) -> None:
        if kind == wire.EVENT_CODE:
            self.table.met(self.program, event)
            return
        if kind == wire.EVENT_MODULE:
            self.table.announce_module(event)
            return
        number, pid, other = int(event["space"]), int(event["tgid"]), int(event["parent"])
        if kind == wire.EVENT_FORK:
            self.spaces[number] = Space.of_pid(number, pid, other)
        elif kind == wire.EVENT_EXEC:
            if before := self.spaces.get(other):
                before.ended = before.ended or "exec"
            self.spaces[number] = Space.of_pid(number, pid, 0)
            self.strangers.append(pid)

    def _look_for_jit(self) -> None:
        """Where it is on by default, it may have begun to compile meanwhile."""
        with suppress(TargetError):  # the target ended
            spots = jit.blind_spots(self.target.process, self.target.build)
            self.unseen += [spot for spot in spots if spot not in (*self.target.plan.blind_spots, *self.unseen)]

    # -- what a session of another kind adds -------------------------------------------------------

    def _more_flags(self) -> list[str]:
        """Further compiler flags."""
        return []

    def _more_programs(self) -> Mapping[str, str]:
        """Further BPF functions, each with the program array that leads to it."""
        return {}

    def _capacity(self, capacity: Capacity) -> Capacity:
        return capacity

    # -- results ---------------------------------------------------------------------------------

    def _found_and_loaded(self, slots: int, matcher: Matcher | None, *, late: bool) -> Program:
        """Search the heap while another process compiles and the kernel verifies.

        Args:
            slots: of statistics, unless the functions that are found need more.
        """
        target = self.target
        with ThreadPoolExecutor(1) as pool:
            loading = pool.submit(self._loaded, slots)
            try:
                with target.stopwatch.step("find functions"):
                    self._find_functions()
                    wanted = self.table.wanted
                    if matcher and not wanted and not late and not self.table.undecided:
                        raise _nothing_matches(matcher, self.spaces)
                with target.stopwatch.step("wait for the program"):
                    program = loading.result()
            except BaseException:
                if not loading.exception():
                    loading.result().close()
                raise
        needed_slots = min(wire.NO_SLOT, 2 * self.table.slots_for(wanted))
        known = sum(len(space.lives) for space in self.spaces.values())
        if needed_slots <= slots and 2 * known <= program.capacity.functions:
            return program
        program.close()
        return self._loaded(max(slots, needed_slots), known)

    def _loaded(self, slots: int, known: int = 0) -> Program:
        """``known``: code objects that are in the table from the first; its own size is for those to come."""
        options, target = self.options, self.target
        with target.stopwatch.step("compile"):
            flags = cflags(
                target.offsets,
                target.plan,
                every_function=not options.func,
                children=options.children,
                by_name=self._names is not None,
                by_module=self._by_module,
                slices=options.max_overhead_pct is not None,
                slower=bool(options.slower),
                task_tgid=member_offset("task_struct", "tgid") if options.children else 0,
                further=self._splitting.flags(),
            )
            names = needed(
                target.plan, children=options.children, splitting=self._splitting, slower=bool(options.slower)
            )
            made = kept_or_compiled([*flags, *self._more_flags()], [*names, *self._more_programs()], Cache())
        if not sizes_agree(made, self._splitting):
            raise CompileError(
                "bpf/pylat.h and latency/tracing/counted/wire.py disagree on a struct", "reinstall pylat"
            )
        capacity = Capacity(slots=slots)
        if slots >= _MANY_SLOTS:
            capacity = replace(capacity, event_bytes=_MANY_EVENT_BYTES)
        if options.slower:
            from latency.tracing.probes.slow import SLOW_BYTES, SLOW_THREADS, TOLD_CODES

            capacity = replace(capacity, slow_bytes=SLOW_BYTES, told_codes=TOLD_CODES, slow_threads=SLOW_THREADS)
        most_names = max(capacity.names, len(self._names or ()))
        capacity = replace(capacity, names=most_names, functions=capacity.functions + known)
        with target.stopwatch.step("load"):
            return Program(
                made,
                target.plan,
                self._capacity(capacity),
                children=options.children,
                splitting=self._splitting,
                more=self._more_programs(),
                attachment=self._attachment,
            )

    def _recording(
        self,
        reading: Reading,
        earlier: Reading | None,
        opens: dict[int, opencalls.OpenCalls],
        vanished: int,
        watched: WatchedUntil,
        *,
        slices: Slices | None,
    ) -> Recording:
        sliced = bool(self.program.config["sliced"][0])
        functions = latencies(
            reading,
            opens=opens,
            slices=slices,
            earlier=earlier,
            empty=bool(self.options.func),
            cut=watched.ages if sliced else None,
        )
        unnamed = reading.unnamed - (earlier.unnamed if earlier else 0) + watched.unnamed
        since = earlier.counters if earlier else {}
        counters = {name: count - since.get(name, 0) for name, count in reading.counters.items()}
        lost, whole = counters.pop("slow_lost"), slices is not None
        losses = {name: counters.pop(name) for name in wire.LOSSES}
        losses["unmatched_entry"] += vanished
        losses["thread_ended"] += reading.cut - (earlier.cut if earlier else 0)
        duration_s = (reading.at_ns - (earlier.at_ns if earlier else reading.at_ns)) / 1e9
        return Recording(
            target=replace(self._info, choice=self.target.choice),
            duration_s=duration_s,
            functions=functions,
            options=self.options,
            losses=Losses.from_dict({**losses, "unnamed": unnamed}),
            blind_spots=(*self.target.plan.blind_spots, *self.unseen, *self.table.unseen),
            overhead=self._overhead(counters, duration_s),
            began_before=counters.pop("began_before"),
            events=counters,
            started_at=began_at(self._started_at, self._first, earlier),
            processes=self._processes(reading) if self.options.children else (),
            watched=watched.share(duration_s) if sliced else None,
            slow_calls=self._slow.found(reading, earlier, lost, whole=whole) if self._slow else None,
        )

    def _processes(self, reading: Reading) -> tuple[ProcessCalls, ...]:
        """The calls of each process, those before and after an exec together."""
        found: dict[int, ProcessCalls] = {}
        for number, space in self.spaces.items():
            returned, raised = reading.spaces.get(number, (0, 0))
            before = found.get(space.pid, ProcessCalls(space.pid))
            found[space.pid] = ProcessCalls(
                pid=space.pid,
                returned=before.returned + returned,
                raised=before.raised + raised,
                ended=bool(space.look()),
            )
        return tuple(found.values())

    def _overhead(self, counters: dict[str, int], duration_s: float) -> Overhead | None:
        """What the probes took from the target, from the number of hits and the cost of one."""
        hits = counters["hits"]
        if self.hit_cost is None or not hits or duration_s <= 0:
            return None
        total_ns = self._cost_ns(counters)
        return Overhead(
            hits=hits,
            ns_per_hit=total_ns / hits,
            share_of_cpu=total_ns / 1e9 / duration_s,
            memory_bytes=self._memory_bytes,
            map_bytes=self._map_bytes,
        )

    def _cost_ns(self, counters: Mapping[str, int]) -> float:
        if self.hit_cost is None:
            return 0.0
        return self.hit_cost.total_ns(counters["hits"], counters["entries"] + counters["matched"])


def _nothing_matches(matcher: Matcher, spaces: Spaces) -> NoFunctionMatches:
    lives: list[LiveFunction] = [live for space in spaces.values() for live in space.lives.values()]
    pattern = matcher.unmatched(lives)[0]
    near = nearest(pattern, lives)
    hint = f"nearest: {', '.join(near)}" if near else "pylat functions -p PID lists what there is"
    return NoFunctionMatches(f"no function matches {pattern!r}", hint)
