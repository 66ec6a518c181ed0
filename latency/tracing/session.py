"""One measurement of one process, with or without its children: prepare, start, look in from time to time, stop.

attach:  load; exits, then entries; check again what may have changed; enable
end:     disable; detach; read the tables
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from types import TracebackType
from typing import Any

import numpy as np

from latency.cache import Cache
from latency.cpython.functions import LiveFunction, live_functions
from latency.cpython.interpreter import Stopwatch, Target
from latency.cpython.patterns import Matcher, nearest
from latency.errors import CompileError, NoFunctionMatches, TargetError
from latency.recording import Losses, Options, Overhead, ProcessCalls, Recording
from latency.target.process import Process
from latency.tracing import opencalls, wire
from latency.tracing.btf import member_offset
from latency.tracing.calibration import HitCost, hit_cost
from latency.tracing.compiler import Object, kept_or_compiled
from latency.tracing.host import require_first_pid_namespace
from latency.tracing.parameters import Capacity, cflags
from latency.tracing.program import Program, needed, sizes_agree
from latency.tracing.reading import Reading, Slices
from latency.tracing.results import latencies
from latency.tracing.spaces import Space, Spaces
from latency.tracing.table import FunctionTable

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
        unseen: what this session did not see, one line each, beside the plan's blind spots.
        strangers: PIDs of followed processes that run another program since, which may be a CPython of another build.

    Raises:
        NoFunctionMatches: patterns, and no live function that matches; the hint offers the nearest names.
        HostError: bcc, the kernel or the privileges do not allow it.
    """

    def __init__(self, target: Target, options: Options, *, attachment: str = "auto", late: bool = False) -> None:
        self.target = target
        self.options = options
        self.spaces = Spaces()
        self.strangers: list[int] = []
        self.unseen: list[str] = []
        self._slices = Slices()
        self._first: Reading | None = None
        self._last: Reading | None = None
        self._hit_cost: HitCost | None = None
        self._started_at = datetime.now(timezone.utc)
        self._info = target.info()  # now, while it lives
        if options.children:
            require_first_pid_namespace()
        matcher = Matcher.parse(options.func, regex=options.regex) if options.func else None
        self._names = matcher.bare_names if matcher else None
        self.table = FunctionTable(self.spaces, target.build, target.offsets, matcher)
        # The compiler is another process: search the heap meanwhile.
        with ThreadPoolExecutor(1) as pool:
            compiling = pool.submit(self._compiled)
            with target.stopwatch.step("find functions"):
                self._find_functions()
                wanted = self.table.wanted
                if matcher and not wanted and not late:
                    raise _nothing_matches(matcher, self.spaces)
            with target.stopwatch.step("wait for the compiler"):
                made = compiling.result()
        capacity = Capacity(slots=max(_SLOTS, 2 * self.table.slots_for(wanted)))
        if options.children or late or not matcher:
            # Thousands of functions are met at once where a Python starts.
            capacity = Capacity(slots=max(capacity.slots, _MANY_SLOTS), event_bytes=_MANY_EVENT_BYTES)
        with target.stopwatch.step("load"):
            slots, names = min(wire.NO_SLOT, capacity.slots), max(capacity.names, len(self._names or ()))
            capacity = replace(capacity, slots=slots, names=names)
            self.program = Program(
                made,
                target.plan,
                self._capacity(capacity),
                children=options.children,
                more=self._more_programs(),
                attachment=attachment,
            )
        try:
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
        with self.target.stopwatch.step("attach"):
            self.target.process.check()
            pid = 0 if self.options.children else self.target.process.pid
            program.attach(f"/proc/self/fd/{self.target.build.fd}", pid)
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

    def poll(self) -> str:
        """Take in what has happened since; call it several times a second.

        Returns:
            ``""``, or why the target cannot be measured any longer: ``"exited"`` or ``"exec"`` (another program).
        """
        self._take_events()
        given = self.table.give_back(self.program, lambda: {call.slot for call in opencalls.open_calls(self.program)})
        self._slices.give_back(given)
        ends = [space.look() for space in self.spaces.values()]
        return "" if "" in ends else ends[0]

    def end_slice(self) -> None:
        """One more of the equal parts of the measurement is over: the error bars are made of these."""
        self._slices.add(self.program)

    def interval(self) -> Recording:
        """What came since the last interval. The open calls are not told."""
        reading = Reading.take(self.program, self.table, time.monotonic_ns())
        earlier, self._last = self._last or self._first, reading
        return self._recording(reading, earlier, {}, 0, slices=None)

    def stop(self) -> Recording:
        """End the measurement: disable, detach, read."""
        program, target = self.program, self.target
        stale = opencalls.stale_calls(program, self.spaces, target.offsets)
        program.config["enabled"] = 0
        ended_ns = time.monotonic_ns()
        program.detach()
        self._take_events()
        reading = Reading.take(program, self.table, ended_ns)
        opens = opencalls.by_slot(opencalls.open_calls(program) - stale)
        program.stop_following()
        self._hit_cost = hit_cost(program, target.plan, target.offsets)
        return self._recording(reading, self._first, opens, len(stale), slices=self._slices)

    def close(self) -> None:
        """Take everything away."""
        self.program.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

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
        for kind, event in self.program.events():
            self._take_event(kind, event)

    def _take_event(self, kind: int, event: np.ndarray[Any, Any]) -> None:
        if kind == wire.EVENT_CODE:
            self.table.met(self.program, event)
            return
        number, pid, other = int(event["space"]), int(event["tgid"]), int(event["parent"])
        if kind == wire.EVENT_FORK:
            self.spaces[number] = Space.of_pid(number, pid, other)
        elif kind == wire.EVENT_EXEC:
            if before := self.spaces.get(other):
                before.ended = before.ended or "exec"
            self.spaces[number] = Space.of_pid(number, pid, 0)
            self.strangers.append(pid)

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

    def _compiled(self) -> Object:
        options, target = self.options, self.target
        with target.stopwatch.step("compile"):
            flags = cflags(
                target.offsets,
                target.plan,
                every_function=not options.func,
                children=options.children,
                by_name=self._names is not None,
                task_tgid=member_offset("task_struct", "tgid") if options.children else 0,
            )
            names = [*needed(target.plan, children=options.children), *self._more_programs()]
            made = kept_or_compiled([*flags, *self._more_flags()], names, Cache())
        if not sizes_agree(made):
            raise CompileError("bpf/pylat.h and latency/tracing/wire.py disagree on a struct", "reinstall pylat")
        return made

    def _recording(
        self,
        reading: Reading,
        earlier: Reading | None,
        opens: dict[int, opencalls.OpenCalls],
        vanished: int,
        *,
        slices: Slices | None,
    ) -> Recording:
        functions = latencies(reading, opens=opens, slices=slices, earlier=earlier, empty=bool(self.options.func))
        unnamed = reading.unnamed - (earlier.unnamed if earlier else 0)
        since = earlier.counters if earlier else {}
        counters = {name: count - since.get(name, 0) for name, count in reading.counters.items()}
        losses = {name: counters.pop(name) for name in wire.LOSSES}
        losses["unmatched_entry"] += vanished
        losses["thread_ended"] += reading.cut - (earlier.cut if earlier else 0)
        duration_s = (reading.at_ns - (earlier.at_ns if earlier else reading.at_ns)) / 1e9
        return Recording(
            target=self._info,
            duration_s=duration_s,
            functions=functions,
            options=self.options,
            losses=Losses.from_dict({**losses, "unnamed": unnamed}),
            blind_spots=(*self.target.plan.blind_spots, *self.unseen),
            overhead=self._overhead(counters, duration_s),
            began_before=counters.pop("began_before"),
            events=counters,
            started_at=self._started_at,
            processes=self._processes(reading) if self.options.children else (),
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
        if self._hit_cost is None or not hits or duration_s <= 0:
            return None
        total_ns = self._hit_cost.total_ns(hits, counters["entries"] + counters["matched"])
        return Overhead(hits=hits, ns_per_hit=total_ns / hits, share_of_cpu=total_ns / 1e9 / duration_s)


def _nothing_matches(matcher: Matcher, spaces: Spaces) -> NoFunctionMatches:
    lives: list[LiveFunction] = [live for space in spaces.values() for live in space.lives.values()]
    pattern = matcher.unmatched(lives)[0]
    near = nearest(pattern, lives)
    hint = f"nearest: {', '.join(near)}" if near else "pylat functions -p PID lists what there is"
    return NoFunctionMatches(f"no function matches {pattern!r}", hint)
