"""The BPF programs and maps of the watch engine: load, place, take away. ``program.py`` is the other engines'."""

from __future__ import annotations

import ctypes
import os
import resource
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np

from latency.cpython.sites import Role, Site
from latency.cpython.watch_points import COUNT_BYTES, WatchPlan, WatchPoints
from latency.errors import AttachError, TargetError
from latency.recording import Function
from latency.target.process import Process
from latency.tracing.counted import wire
from latency.tracing.counted.divided import Splits
from latency.tracing.counted.extremes import Extremes
from latency.tracing.counted.maps import CountingMaps
from latency.tracing.counted.reading import Counted
from latency.tracing.kernel import allocation, apart
from latency.tracing.kernel import calls as kernel
from latency.tracing.kernel.apart import Probes
from latency.tracing.kernel.calls import Map
from latency.tracing.kernel.compiler import Object
from latency.tracing.kernel.multi import by_multi
from latency.tracing.kernel.refusals import refused_call, refused_program
from latency.tracing.kernel.tracepoints import left_out
from latency.tracing.watch import wire as watching
from latency.tracing.watch.compiling import (
    CALLED,
    COLLECTOR,
    RAISE,
    TRACEPOINTS,
    WATCH,
    Beside,
    is_of_probes,
    kind_of,
    needed,
)
from latency.tracing.watch.events import READ_WRITE, Watchpoint, Watchpoints, require_all, watchpoints_of
from latency.tracing.watch.trap import CALIBRATION_READS, reading_ns

_OPEN_CALLS = 65_536
"""The kernel goes through a whole table to list a few calls, and two engines are compared while nothing happens."""
_PROCESSES, _CHILDRENS_THREADS, _EXTREMES = 4096, 1024, 16_384
_SPARE_THREADS = 64
_TELLING = 64  # threads in which a slow call is told at one moment, or more on a large machine
ENTRIES = 1024
"""Open calls that hold what was taken along of their arguments, 9 kB each."""
_U32, _U64 = np.dtype("<u4"), np.dtype("<u8")


class WatchProgram:
    """The loaded programs, with their maps. ``attach`` places the watchpoints; ``close`` takes everything away.

    Args:
        made: from ``compile_watch``.
        threads: how many threads the target has now; the tables hold twice as many, and some.
        beside: as ``made`` was compiled for.
        slow_bytes: of the ring buffer of slow calls.

    Raises:
        CompileError: the kernel's verifier refuses a program; ``detail`` is the end of its log.
        NoPrivilege: this user may not load BPF programs.
        HostError: there is not enough memory.
    """

    attachment = "watchpoints"

    def __init__(
        self,
        made: Object,
        plan: WatchPlan,
        *,
        threads: int,
        beside: Beside,
        slow_bytes: int = 0,
    ) -> None:
        self._plan = plan
        self._children, self._collector = beside.children, beside.collector
        self._names = needed(plan, beside)
        self._descriptors: list[int] = []
        self._links: list[int] = []
        self._tracepoints: list[int] = []
        self._multi = by_multi("auto", of_one_process=not self._children)
        if not plan.leave or beside.collector:
            apart.begin()  # a probe sees the exceptions, or the collections
        entries = {
            "threads": 2 * threads + _SPARE_THREADS + (_CHILDRENS_THREADS if self._children else 0),
            "frames": _OPEN_CALLS,
            "processes": _PROCESSES if self._children else 1,
            "homes": len(plan.homes),
            "extremes": _EXTREMES,
            "statistics": watching.SLOTS,
            "splits": watching.SLOTS,
            "slow_events": slow_bytes,
            "slow_work": max(_TELLING, 2 * kernel.possible_cpus()),
            "entry_values": ENTRIES,
        }
        try:
            self._load(made, entries)
        except kernel.Refused as error:
            self._close(self._descriptors)
            raise refused_program(error) from None
        except OSError as error:
            self._close(self._descriptors)
            raise refused_call(error) from error
        self._watchpoints = Watchpoints(self._functions[WATCH], forks=self._children)
        self._tried_hits = 0  # of the calibration
        self.threads = Map(self._maps["threads"], _U32, beside.thread)
        self.frames = Map(self._maps["frames"], watching.WATCH_KEY, watching.WATCH_CALL)
        values = self._maps.get("entry_values")
        self._entry_values = None if values is None else Map(values, watching.WATCH_KEY, _U64)
        self.processes = Map(self._maps["processes"], _U64, watching.WATCH_PROCESS)
        self.maps = CountingMaps(self._maps, watching.WATCH_CONFIG, watching.SLOTS)
        splits = self.maps.mapped("splits", wire.SPLIT, watching.SLOTS) if beside.offcpu else None
        self.splits = Splits(splits, gc_known=bool(beside.collector))
        self.extremes = Extremes(
            Map(self._maps["extremes"], wire.EXTREMES_KEY, wire.EXTREMES) if self._children else None
        )
        self._watched_memory = self.maps.mapped("watched", watching.WATCHED, watching.WATCHED_FUNCTIONS)

    @property
    def watched(self) -> np.ndarray[Any, Any]:
        """The records of ``wire.WATCHED``, live: of the functions that are watched now."""
        return np.frombuffer(self._watched_memory, watching.WATCHED, watching.WATCHED_FUNCTIONS)

    # -- attaching -------------------------------------------------------------------------------

    def attach(
        self,
        processes: Sequence[Process],
        path: str,
        bias: int,
        functions: Sequence[WatchPoints],
        group: Sequence[int],
        widest: Sequence[int],
    ) -> None:
        """Place everything, exits before entries; nothing is counted until ``config["enabled"]`` is set.

        Args:
            processes: the target, and with ``children`` those that were forked from it as it is.
            path: of the interpreter's file.
            bias: what the process added to the file's addresses.
            functions: all that are to be watched, by slot.
            group: the slots of those that are watched now; they fit into the registers.
            widest: of those that take the most of these; ``move`` has no more for any others.

        Raises:
            AttachError: the kernel refused, or the debug registers are taken; nothing stays behind.
            KernelTooOld
        """
        config = self.maps.config
        for number, address in enumerate(self._plan.again):
            config["again"][0, number] = address + bias
        for prefix, stretches in ("leave_", self._plan.leave), ("", self._plan.parts):
            config[f"{prefix}begins"][0] = watching.NO_PART
            for number, (begin, end) in enumerate(sorted(stretches)):
                config[f"{prefix}begins"][0, number], config[f"{prefix}ends"][0, number] = begin + bias, end + bias
        for address, home in self._plan.homes:
            value = np.array([(home.path[0], home.register == "rbp")], watching.WATCH_HOME)
            self.maps.map("homes", _U64, watching.WATCH_HOME).update(np.array([address + bias], _U64), value)
        try:
            for each in processes:
                self._follow(each.pid)
            for name, tracepoint in TRACEPOINTS.items():
                if name in self._functions:
                    self._tracepoints.append(kernel.attach_raw_tracepoint(self._functions[name], tracepoint))
            pid = 0 if self._children else processes[0].pid
            sites = list(self._plan.of(Role.RAISE)) if _probed(self._plan, functions) else []
            collects = (self._collection(site, path, pid) for site in self._collector)
            self._links += apart.opened([*collects, *self._raises(path, pid, sites)])
            points = watchpoints_of(functions[slot] for slot in widest)
            self._watchpoints.place(points, lambda: self._threads(processes[0]))
        except OSError as error:
            self.detach()
            raise AttachError(
                f"the kernel refused the probes: {error.strerror}", "run pylat check to see what is missing"
            ) from error
        if group != widest:
            self.move(processes[0], functions, group)
        self.watch(processes[0], functions, group)

    def move(self, target: Process, functions: Sequence[WatchPoints], group: Sequence[int]) -> None:
        """Let the watchpoints be those of another group. What they hit means nothing until ``watch``.

        Raises:
            AttachError: the kernel refuses.
        """
        self._watchpoints.move(watchpoints_of(functions[slot] for slot in group), target.threads)

    def watch(self, target: Process, functions: Sequence[WatchPoints], group: Sequence[int]) -> None:
        """The watchpoints are those of this group."""
        self.watched[:] = np.zeros(1, watching.WATCHED)
        for place, slot in enumerate(group):
            self.maps.statistics["code"][slot] = functions[slot].live.address
            self.watched[place] = watching.record_of(functions[slot], slot, place)
        self._read_counts(target, [functions[slot] for slot in group])

    def forget(self, freed: int) -> None:
        """The code objects of these slots (a bit for each) are gone: what lies there is another's."""
        for place, slot in enumerate(self.watched["slot"].tolist()):
            if freed >> slot & 1:
                self.watched["code"][place] = 0

    def _raises(self, path: str, pid: int, sites: Sequence[Site]) -> Iterator[Probes]:
        """The probe on exceptions: by a multi link where there are any, since it needs fewer rights."""
        places = [site.offset for site in sites]
        if self._multi and places:
            yield Probes(self._functions[RAISE], path, places, [0] * len(places), pid, multi=True)
            return
        for place in places:
            yield Probes(self._functions[RAISE], path, (place,), (0,), pid, multi=False)

    def _collection(self, site: Site, path: str, pid: int) -> Probes:
        program = self._functions[COLLECTOR[site.role]]
        return Probes(program, path, (site.offset,), (site.semaphore_offset,), pid, multi=self._multi)

    def trap_ns(self) -> float:
        """What one hit takes on this machine, nanoseconds: measured on a byte of pylat's own, in about 20 ms.

        Raises:
            AttachError, KernelTooOld: as for ``attach``.
        """
        byte = ctypes.c_ubyte()
        bare_ns = reading_ns(byte)
        watchpoints = Watchpoints(self._functions[WATCH])
        thread = threading.get_native_id()
        self._follow(os.getpid())
        watchpoints.place([Watchpoint(ctypes.addressof(byte), 1, READ_WRITE)], lambda: [thread])
        try:
            taken_ns = reading_ns(byte) - bare_ns
        finally:
            watchpoints.close()
            self._tried_hits += watchpoints.hits
            self.threads.delete(np.array([thread], _U32))
            self.processes.delete(self._key(os.getpid()))
        require_all(watchpoints.hits, CALIBRATION_READS)
        return max(0.0, taken_ns)

    def open_frames(self) -> list[tuple[int, int, int]]:
        """The calls that have begun and not ended: (address of the frame, slot, CLOCK_MONOTONIC of the start)."""
        keys, calls = self.frames.everything()
        return list(zip(keys["frame"].tolist(), calls["slot"].tolist(), calls["start_ns"].tolist(), strict=True))

    def freed(self, pid: int) -> int:
        """A bit for each slot whose code object is gone in a process."""
        value = self.processes.lookup(self._key(pid))
        return 0 if value is None else int(value["freed"][0])

    def forget_calls(self) -> None:
        """Empty the tables of open calls: their ends will not be seen. Nothing may be attached."""
        for table in filter(None, (self.threads, self.frames, self._entry_values)):
            for key in list(table.keys()):
                table.delete(key)

    def drop(self, frames: np.ndarray[Any, Any]) -> None:
        """The calls of these (``wire.WATCH_KEY``) are open no longer."""
        self.frames.delete_many(frames)
        if self._entry_values:
            self._entry_values.delete_many(frames)

    @property
    def not_run(self) -> int:
        """Hits and events so far for which the kernel did not run the programs. Nothing may be attached."""
        runs = self.maps.map("runs", _U32, _U64).lookup(np.zeros(1, _U32), kernel.possible_cpus())
        assert runs is not None  # an array map has every key
        missed = left_out(self._functions, TRACEPOINTS)
        return missed + max(0, self._tried_hits + self._watchpoints.hits - int(runs.sum()))

    def detach(self) -> None:
        """Take watchpoints and probes away. The maps stay readable."""
        self._watchpoints.close()
        apart.close(self._links)
        self._close(self._tracepoints)

    def close(self) -> None:
        """Take everything away."""
        self.detach()
        self._close(self._descriptors)

    def followed(self, target: Process) -> list[Process]:
        """The processes that are followed and there, the target first."""
        found = [target]
        if self._children:
            pids = [int(key[0]) for key, value in self.processes.items() if not value["ended"][0]]
            for pid in pids:
                with suppress(TargetError):
                    found += [Process(pid)] if pid != target.pid else []
        return found

    # -- inside ----------------------------------------------------------------------------------

    def _key(self, pid: int) -> np.ndarray[Any, Any]:
        return np.array([pid if self._children else 0], _U64)

    def _follow(self, pid: int) -> None:
        self.processes.update(self._key(pid), np.zeros(1, watching.WATCH_PROCESS))

    def _threads(self, target: Process) -> list[int]:
        tids = target.threads()
        for process in self.followed(target)[1:]:
            with suppress(TargetError):
                tids += process.threads()
        return tids

    def _read_counts(self, target: Process, functions: Sequence[WatchPoints]) -> None:
        """The reference counts from which changes are told, of each process; ``functions`` by place."""
        for process in self.followed(target):
            value = self.processes.lookup(self._key(process.pid))
            if value is None:
                continue
            for place, points in enumerate(functions):
                raw = process.read_some(points.count, COUNT_BYTES) if points.count else b""
                value["last_count"][0, place] = int.from_bytes(raw, "little")
            self.processes.update(self._key(process.pid), value)

    def _load(self, made: Object, entries: dict[str, int]) -> None:
        with suppress(ValueError, OSError):  # Linux before 5.11 counts BPF memory against this limit
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self._maps: dict[str, int] = {}
        for shape in made.maps:
            number = entries.get(shape.name, shape.max_entries)
            flags = allocation.flags(shape.flags)
            fd = kernel.create_map(shape.name, shape.type, shape.key_size, shape.value_size, number, flags)
            self._descriptors.append(fd)
            self._maps[shape.name] = fd
        multi = kernel.TRACE_UPROBE_MULTI if self._multi else 0
        maps = [self._maps[shape.name] for shape in made.maps]
        # The verifier is most of the time to start, and takes one program on each processor.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            loading = {
                name: pool.submit(
                    kernel.load_program,
                    name,
                    kind_of(name),
                    made.instructions(name, maps),
                    multi if is_of_probes(name) else 0,
                )
                for name in self._names
            }
        self._functions = {name: each.result() for name, each in loading.items() if not each.exception()}
        self._descriptors += self._functions.values()
        for each in loading.values():
            each.result()  # raises what went wrong
        for name in CALLED.keys() & self._functions.keys():
            Map(self._maps[CALLED[name]], _U32, _U32).update(np.zeros(1, _U32), np.array([self._functions[name]], _U32))

    @staticmethod
    def _close(descriptors: list[int]) -> None:
        while descriptors:
            os.close(descriptors.pop())


def _probed(plan: WatchPlan, functions: Sequence[WatchPoints]) -> bool:
    """Whether exceptions need a probe: to 3.11 always, later for what nothing tells otherwise."""
    return not plan.leave or any(each.needs_probe for each in functions)


def counted(program: WatchProgram, points: Sequence[WatchPoints]) -> dict[Function, Counted]:
    """What the statistics hold now, by function; ``points`` by slot."""
    slots = np.arange(len(points))
    program.extremes.look()
    rows = program.maps.statistics[slots]
    program.extremes.into(rows, slots)
    functions: dict[Function, Counted] = {}
    for slot, each in enumerate(points):
        known = functions.setdefault(each.live.function, Counted())
        known.add(rows[slot])
        known.slots.append(slot)
        known.divided += program.splits.of_all([slot])
    return functions
