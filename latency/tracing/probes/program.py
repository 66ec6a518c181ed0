"""The BPF programs and maps of one target: load, attach, detach.

What is attached hangs on descriptors that the kernel closes with the process: even after ``kill -9`` the target is as
it was. ``compiler.py`` makes the instructions.
"""

from __future__ import annotations

import errno
import mmap
import os
import resource
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

import numpy as np

from latency.cpython.sites import Role, SitePlan
from latency.errors import AttachError, CompileError, HostError, NoPrivilege
from latency.tracing.counted import wire
from latency.tracing.counted.parameters import Capacity, programs
from latency.tracing.kernel import apart
from latency.tracing.kernel import calls as kernel
from latency.tracing.kernel.calls import Map
from latency.tracing.kernel.compiler import Object
from latency.tracing.kernel.ringbuf import RingBuffer
from latency.tracing.probes.splitting import NOTHING, Splits, Splitting

# BPF function -> the raw tracepoint that it hangs on
_THREADS = {"pylat_thread_exit": "sched_process_exit"}
_PROCESSES = {"pylat_fork": "sched_process_fork", "pylat_exec": "sched_process_exec"}
# BPF function that others end in, by a tail call -> the map that holds it
_SLOW = {"pylat_slow": "slow_programs"}
_EVENT_TYPES = {wire.EVENT_CODE: wire.CODE_EVENT, wire.EVENT_MODULE: wire.MODULE_EVENT}
_NOTHING_MORE: Mapping[str, str] = {}
_U32 = np.dtype("<u4")


def needed(plan: SitePlan, *, children: bool, splitting: Splitting = NOTHING, slower: bool = False) -> list[str]:
    """The names of the BPF functions that a plan needs; ``children``: to follow forks, too; ``slower``: slow calls."""
    tracepoints = _tracepoints(children=children, splitting=splitting)
    return [*programs(plan).values(), *tracepoints, *(_SLOW if slower else ())]


def _tracepoints(*, children: bool, splitting: Splitting) -> dict[str, str]:
    return {**_THREADS, **(_PROCESSES if children else {}), **splitting.tracepoints()}


class Program:
    """The loaded programs of one plan, with their maps. ``attach`` places the probes; ``close`` takes everything away.

    Args:
        made: what the compiler made for this plan.
        plan: whose sites are going to be probed.
        capacity: how much the maps hold.
        children: follow forks; then ``follow`` says whose.
        splitting: what of the calls' times is told apart; ``splits`` reads it.
        more: further functions to load, each with the map (a program array) through which the others go on to it.
        attachment: ``"multi"`` (one uprobe-multi link for each role), ``"perf"`` (a perf event for each site), or
            ``"auto"``: the first where the kernel has it.

    Raises:
        CompileError: the kernel's verifier refuses a program; ``detail`` is its log.
        NoPrivilege: this user may not load BPF programs.
        HostError: there is not enough memory, or too few descriptors.
    """

    def __init__(
        self,
        made: Object,
        plan: SitePlan,
        capacity: Capacity,
        *,
        children: bool = False,
        splitting: Splitting = NOTHING,
        more: Mapping[str, str] = _NOTHING_MORE,
        attachment: str = "auto",
    ) -> None:
        self.capacity = capacity
        self._plan = plan
        self._follows = children
        self._object = made
        self._descriptors: list[int] = []
        self._links: list[int] = []
        self._lasting: list[int] = []  # of sites that see no calls
        self._tracepoints = _tracepoints(children=children, splitting=splitting)
        self._tracepoint_links: list[int] = []
        self._background: list[threading.Thread] = []
        self._more = more
        self._multi = attachment != "perf"
        self._may_fall_back = attachment == "auto"
        try:
            self._maps = self._make_maps()
            self._functions = self._load()
        except BaseException:
            self._close(self._descriptors)
            raise
        self.functions = Map(self._maps["functions"], wire.FUNCTION_KEY, wire.FUNCTION)
        self.threads = Map(self._maps["threads"], _U32, splitting.structs["pylat_thread"])
        self.suspended = Map(self._maps["suspended"], wire.FRAME_KEY, splitting.structs["pylat_suspended"])
        self.processes = Map(self._maps["processes"], _U32, wire.PROCESS)
        self._closing = Map(self._maps["closing"], wire.FRAME_KEY, _U32)
        self._counters = Map(self._maps["counters"], _U32, wire.COUNTERS)
        self._free_slots = Map(self._maps["free_slots"], _U32, _U32)
        self._events = RingBuffer(self._maps["events"], capacity.event_bytes)
        self._slow_events: RingBuffer | None = None
        if "slow_events" in self._maps:
            self._slow_events = RingBuffer(self._maps["slow_events"], capacity.slow_bytes)
        self._config_memory = self._mapped("config", wire.CONFIG, 1)
        self._statistics_memory = self._mapped("statistics", wire.STATISTICS, capacity.slots)
        self.splits = Splits(
            self._mapped("splits", wire.SPLIT, capacity.slots) if splitting.offcpu else None,
            self._mapped("self_times", wire.STATISTICS, capacity.slots) if splitting.self_time else None,
            gc_known=any(plan.of(Role.GC_START)),
        )

    # -- the maps --------------------------------------------------------------------------------

    @property
    def config(self) -> np.ndarray[Any, Any]:
        """The one record of ``wire.CONFIG``, live: writing to it takes effect at once."""
        return np.frombuffer(self._config_memory, wire.CONFIG, 1)

    @property
    def statistics(self) -> np.ndarray[Any, Any]:
        """All ``capacity.slots`` records of ``wire.STATISTICS``, live."""
        return np.frombuffer(self._statistics_memory, wire.STATISTICS, self.capacity.slots)

    def map(self, name: str, key: np.dtype[Any], value: np.dtype[Any]) -> Map:
        """One of the maps, by its name in the source."""
        return Map(self._maps[name], key, value)

    def counters(self) -> dict[str, int]:
        """The counters, summed over the CPUs."""
        values = self._counters.lookup(np.zeros(1, _U32), kernel.possible_cpus())
        assert values is not None  # an array map has every key
        return {name: int(values[name].sum()) for name in wire.COUNTERS.names or ()}

    def give_slots(self, slots: Iterable[int]) -> None:
        """Let the program take these for functions that it meets, the first of them first."""
        for slot in reversed(list(slots)):
            self._free_slots.update(None, np.array([slot], _U32))

    def want_names(self, names: Iterable[str]) -> None:
        """Of code objects that the program meets, measure only those with one of these bare names."""
        table = Map(self._maps["wanted_names"], wire.NAME, np.dtype("u1"))
        for name in names:
            key = np.frombuffer(name.encode()[: wire.BARE_NAME_BYTES].ljust(wire.BARE_NAME_BYTES, b"\0"), wire.NAME)
            table.update(key, np.ones(1, "u1"))

    def follow(self, pid: int, space: int) -> None:
        """Measure this process from now on; only with ``children``."""
        value = np.zeros(1, wire.PROCESS)
        value["space"] = space
        self.processes.update(np.array([pid], _U32), value)

    def records(self) -> Iterator[tuple[int, bytes]]:
        """What has come since: (kind, the bytes)."""
        for record in self._events.read():
            yield int.from_bytes(record[:4], "little"), record

    def events(self) -> Iterator[tuple[int, np.ndarray[Any, Any]]]:
        """What has come since: (kind, a ``wire.CODE_EVENT``, ``MODULE_EVENT`` or ``PROCESS_EVENT`` record)."""
        for kind, record in self.records():
            event = decoded(kind, record)
            if event is not None:
                yield kind, event

    @property
    def loaded(self) -> Mapping[str, int]:
        """The descriptor of each BPF function that is loaded."""
        return self._functions

    def slow_events(self) -> Iterator[tuple[np.ndarray[Any, Any], bytes]]:
        """What has come since: (``wire.SLOW_CODE_EVENT``, b"") or (``wire.SLOW_CALL_EVENT``, stream of its snapshot).

        ``kind`` says which.
        """
        for record in self._slow_events.read() if self._slow_events else ():
            kind = int.from_bytes(record[:4], "little")
            dtype = wire.SLOW_CODE_EVENT if kind == wire.SLOW_CODE else wire.SLOW_CALL_EVENT
            if len(record) >= dtype.itemsize:
                yield np.frombuffer(record, dtype, 1)[0], record[dtype.itemsize + wire.SNAPSHOT_HEAD_BYTES :]

    def forget_told(self, space: int, code: int) -> None:
        """User space has forgotten what this code object is called: it is to be told again."""
        key = np.zeros(1, wire.FUNCTION_KEY)
        key["code"], key["space"] = code, space
        Map(self._maps["told_codes"], wire.FUNCTION_KEY, np.dtype("u1")).delete(key)

    # -- attaching -------------------------------------------------------------------------------

    @property
    def attachment(self) -> str:
        """How it is attached: ``"multi"`` or ``"perf"``."""
        return "multi" if self._multi else "perf"

    def attach(self, path: str, pid: int) -> None:
        """Place the probes, exits before entries.

        Args:
            path: of the interpreter's file; ``/proc/self/fd/N`` for the very inode that is mapped.
            pid: whose calls to see; 0 for every process that maps the file.

        Raises:
            AttachError: the kernel refused; everything placed so far is gone again.
        """
        try:
            for name, tracepoint in self._tracepoints.items():
                self._tracepoint_links.append(kernel.attach_raw_tracepoint(self._functions[name], tracepoint))
            self._attach_sites(path, pid)
        except OSError as error:
            self.detach()
            self.stop_following()
            raise AttachError(
                f"the kernel refused the probes: {error.strerror}", "run pylat check to see what is missing"
            ) from error

    @contextmanager
    def attached_to_self(self, path: str, sites: Mapping[Role, int]) -> Iterator[None]:
        """The programs of these roles on places of a file that pylat itself maps, for calibration.

        Args:
            sites: the file offset of each role's instruction.
        """
        links: list[int] = []
        try:
            if self._follows:
                self.follow(os.getpid(), 0)
            for role, offset in sites.items():
                name = programs(self._plan)[role]
                if self._multi:
                    try:
                        links.append(kernel.attach_uprobes(self._functions[name], path, [offset], [0], os.getpid()))
                        self._may_fall_back = False
                        continue
                    except OSError:
                        if not self._may_fall_back:
                            raise
                    self._without_multi()
                links.append(kernel.attach_uprobe(self._functions[name], path, offset, 0, os.getpid()))
            yield
        finally:
            if self._follows:
                self.processes.delete(np.array([os.getpid()], _U32))
            # The kernel waits for all processors before it lets go of them, longer than the calibration takes.
            closing = threading.Thread(target=self._close, args=(links,))
            closing.start()
            self._background.append(closing)

    def detach(self) -> None:
        """Take the probes away. The maps stay readable."""
        self._links += self._lasting
        self._lasting.clear()
        apart.close(self._links)

    def pause(self) -> None:
        """Take away all probes that calls pass, until ``resume``; no program runs any more when this returns.

        The one on the deallocation of code objects stays, so that what is known of the target's functions stays true.
        """
        apart.close(self._links)

    def resume(self, path: str, pid: int) -> None:
        """Place them again, as ``attach`` did. Raises AttachError."""
        try:
            self._attach_sites(path, pid, [role for role in programs(self._plan) if role is not Role.CODE_DEALLOC])
        except OSError as error:
            self.pause()
            raise AttachError(
                f"the kernel refused the probes: {error.strerror}", "run pylat check to see what is missing"
            ) from error

    def forget_calls(self) -> None:
        """Empty the tables of open and suspended calls: their ends will not be seen."""
        for table in (self.threads, self.suspended, self._closing):
            for key in list(table.keys()):
                table.delete(key)

    @property
    def map_bytes(self) -> int:
        """Memory of the maps, in the kernel."""
        return sum(map(kernel.map_bytes, self._maps.values()))

    def stop_following(self) -> None:
        """Until now the open calls of a thread that ends were dropped and counted; from now on they stay."""
        self._close(self._tracepoint_links)

    def close(self) -> None:
        """Take everything away: probes, programs and maps."""
        self.detach()
        for each in self._background:
            each.join()
        self.stop_following()
        self._events.close()
        if self._slow_events:
            self._slow_events.close()
        self._close(self._descriptors)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # -- inside ----------------------------------------------------------------------------------

    def _make_maps(self) -> dict[str, int]:
        with suppress(ValueError, OSError):  # Linux before 5.11 counts BPF memory against this limit
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        sizes = self.capacity.entries()
        found = {}
        for shape in self._object.maps:
            entries = sizes.get(shape.name, shape.max_entries)
            try:
                fd = kernel.create_map(shape.name, shape.type, shape.key_size, shape.value_size, entries, shape.flags)
            except OSError as error:
                raise _explained(error) from error
            self._descriptors.append(fd)
            found[shape.name] = fd
        return found

    def _load(self) -> dict[str, int]:
        called = {name: table for name, table in _SLOW.items() if name in self._object.programs} | {**self._more}
        names = (*programs(self._plan).values(), *self._tracepoints, *called)
        # The verifier is most of the time to start, and takes one program on each processor.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            longest_first = sorted(names, key=lambda name: -len(self._object.programs[name]))
            loading = {name: pool.submit(self._load_one, name) for name in longest_first}
        found = {name: each.result() for name, each in loading.items() if not each.exception()}
        self._descriptors += found.values()
        for each in loading.values():
            each.result()  # raises what went wrong
        for name, table in called.items():
            Map(self._maps[table], _U32, _U32).update(np.zeros(1, _U32), np.array([found[name]], _U32))
        return found

    def _load_one(self, name: str) -> int:
        tracepoint = name in self._tracepoints
        kind = kernel.PROG_TYPE_RAW_TRACEPOINT if tracepoint else kernel.PROG_TYPE_KPROBE
        attach_type = kernel.TRACE_UPROBE_MULTI if self._multi and not tracepoint else 0
        code = self._object.instructions(name, [self._maps[shape.name] for shape in self._object.maps])
        try:
            return kernel.load_program(name, kind, code, attach_type)
        except kernel.Refused as error:
            raise CompileError(
                "the kernel refused the BPF program", "run again with -v to see its text", detail=str(error)
            ) from None
        except OSError as error:
            raise _explained(error) from error

    def _attach_sites(self, path: str, pid: int, roles: Iterable[Role] | None = None) -> None:
        wanted = list(programs(self._plan)) if roles is None else list(roles)
        try:
            links = apart.opened(lambda: self._attached(path, pid, wanted))
            self._may_fall_back = False
        except OSError:
            if not self._may_fall_back:
                raise
            self._without_multi()
            links = apart.opened(lambda: self._attached(path, pid, wanted))
        for role in wanted:
            count = 1 if self._multi else len(list(self._plan.of(role)))
            (self._lasting if role is Role.CODE_DEALLOC else self._links).extend(links[:count])
            del links[:count]

    def _attached(self, path: str, pid: int, roles: Iterable[Role]) -> Iterator[int]:
        """The links of these roles, in their order: one for each with a multi link, otherwise one for each site."""
        names = programs(self._plan)
        for role in roles:
            fd, sites = self._functions[names[role]], list(self._plan.of(role))
            if self._multi:
                places, semaphores = [site.offset for site in sites], [site.semaphore_offset for site in sites]
                yield kernel.attach_uprobes(fd, path, places, semaphores, pid)
                continue
            for site in sites:
                yield kernel.attach_uprobe(fd, path, site.offset, site.semaphore_offset, pid)

    def _without_multi(self) -> None:
        """Linux before 6.6 loads such a program, but knows no such link."""
        self._multi = self._may_fall_back = False
        self._functions = self._load()

    def _mapped(self, name: str, value: np.dtype[Any], count: int) -> mmap.mmap:
        size = -(-value.itemsize * count // mmap.PAGESIZE) * mmap.PAGESIZE
        return mmap.mmap(self._maps[name], size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)

    @staticmethod
    def _close(descriptors: list[int]) -> None:
        # Closing a link waits until no processor can be in its program any more: wait for all of them at once.
        with ThreadPoolExecutor(len(descriptors) or 1) as pool:
            list(pool.map(os.close, descriptors))
        descriptors.clear()


def decoded(kind: int, record: bytes) -> np.ndarray[Any, Any] | None:
    """The event as a ``wire.CODE_EVENT``, ``MODULE_EVENT`` or ``PROCESS_EVENT`` record; None if it is none."""
    dtype = _EVENT_TYPES.get(kind, wire.PROCESS_EVENT)
    return np.frombuffer(record, dtype, 1)[0] if len(record) >= dtype.itemsize else None


def sizes_agree(made: Object, splitting: Splitting = NOTHING) -> bool:
    """Whether what the compiler made of ``bpf/pylat.h`` has the sizes of ``wire.py``."""
    structs = splitting.structs
    sizes = {shape.name: (shape.key_size, shape.value_size) for shape in made.maps}
    expected: Sequence[tuple[str, int, int]] = (
        ("config", _U32.itemsize, wire.CONFIG.itemsize),
        ("statistics", _U32.itemsize, wire.STATISTICS.itemsize),
        ("counters", _U32.itemsize, wire.COUNTERS.itemsize),
        ("functions", wire.FUNCTION_KEY.itemsize, wire.FUNCTION.itemsize),
        ("threads", _U32.itemsize, structs["pylat_thread"].itemsize),
        ("suspended", wire.FRAME_KEY.itemsize, structs["pylat_suspended"].itemsize),
        *([("splits", _U32.itemsize, wire.SPLIT.itemsize)] if splitting.offcpu else []),
        *([("self_times", _U32.itemsize, wire.STATISTICS.itemsize)] if splitting.self_time else []),
    )
    return all(sizes.get(name) == (key, value) for name, key, value in expected)


def _explained(error: OSError) -> HostError:
    if error.errno == errno.EPERM:
        return NoPrivilege(
            "the kernel does not let this user load BPF programs", "run as root, or with CAP_BPF and CAP_PERFMON"
        )
    return HostError(f"the kernel refused: {error.strerror}", "run pylat check to see what is missing")
