"""The BPF programs and maps for markers: load, attach, detach. ``program.py`` is that of Python's calls."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from latency.cache import Cache
from latency.errors import AttachError, CompileError
from latency.tracing.counted import wire
from latency.tracing.counted.maps import CountingMaps
from latency.tracing.counted.parameters import BPF_F_MMAPABLE
from latency.tracing.kernel import allocation, apart
from latency.tracing.kernel import calls as kernel
from latency.tracing.kernel.apart import Probes
from latency.tracing.kernel.calls import Map
from latency.tracing.kernel.compiler import Object, kept_or_compiled
from latency.tracing.kernel.multi import by_multi
from latency.tracing.kernel.refusals import refused_call, refused_program
from latency.tracing.kernel.tracepoints import left_out, twice
from latency.tracing.markers import wire as marking
from latency.tracing.markers.wanted import ROLES, Point

SOURCE = "markers.bpf.c"
_ENDS = twice({"pylat_thread_exit": "sched_process_exit", "pylat_exec": "sched_process_exec"})
_POINTS = "points"
_NAMES, _STACKS, _KEYS, _EXTREMES = 65_536, 8192, 262_144, 262_144
_U32 = np.dtype("<u4")


def compile_markers(*, cookies: bool) -> Object:
    """What ``MarkerProgram`` loads; ``cookies``: the kernel says at each hit which site it is (uprobe-multi links).

    Raises:
        MissingBcc, CompileError, NoPrivilege
    """
    values = {"MMAPABLE": BPF_F_MMAPABLE, "NO_PREALLOC": allocation.NO_PREALLOC, "COOKIES": int(cookies)}
    flags = sorted(f"-DPYLAT_{name}={value}" for name, value in values.items())
    made = kept_or_compiled(flags, [*ROLES, *_ENDS], Cache(), source=SOURCE)
    sizes = {shape.name: (shape.key_size, shape.value_size) for shape in made.maps}
    expected = {
        "config": (_U32, marking.CONFIG),
        "statistics": (_U32, wire.STATISTICS),
        "counters": (_U32, wire.COUNTERS),
        "points": (_U32, marking.POINT),
        "items": (_U32, marking.ITEM),
        "names": (marking.NAME, marking.NAMED),
        "stacks": (marking.STACK_KEY, marking.STACK),
        "keys": (marking.KEY, marking.CALL),
        "extremes": (marking.EXTREMES_KEY, marking.EXTREMES),
    }
    if any(sizes.get(name) != (key.itemsize, value.itemsize) for name, (key, value) in expected.items()):
        raise CompileError("bpf/markers.h and latency/tracing/markers/wire.py disagree on a struct", "reinstall pylat")
    return made


class MarkerProgram:
    """The loaded programs, with their maps. ``attach`` places the probes; ``close`` takes everything away.

    Args:
        points: what is going to be probed.
        slots: records of statistics; those up to ``wire.ITEMS`` are for the items themselves.
        attachment: see ``program.Program``.

    Raises:
        CompileError: the compiler or the kernel's verifier refuses the program.
        KernelTooOld: as for ``program.Program``.
        MissingBcc, NoPrivilege, HostError
    """

    def __init__(self, points: Sequence[Point], *, slots: int, attachment: str = "auto") -> None:
        self.slots = slots
        self._points = points
        self._multi = by_multi(attachment, of_one_process=True)
        self._descriptors: list[int] = []
        self._links: list[int] = []
        self._end_links: list[int] = []
        self._maps: dict[str, int] = {}
        apart.begin()
        made = compile_markers(cookies=self._multi)
        try:
            self._make_maps(made)
            self._functions = self._load(made)
        except BaseException:
            self._close(self._descriptors)
            raise
        self.names = Map(self._maps["names"], marking.NAME, marking.NAMED)
        self.stacks = Map(self._maps["stacks"], marking.STACK_KEY, marking.STACK)
        self.keys = Map(self._maps["keys"], marking.KEY, marking.CALL)
        self.extremes = Map(self._maps["extremes"], marking.EXTREMES_KEY, marking.EXTREMES)
        self.maps = CountingMaps(self._maps, marking.CONFIG, slots)
        free = Map(self._maps["free_slots"], _U32, _U32)
        for slot in reversed(range(marking.ITEMS, slots)):
            free.update(None, np.array([slot], _U32))

    # -- attaching -------------------------------------------------------------------------------

    @property
    def attachment(self) -> str:
        """How it is attached: ``"multi"`` or ``"perf"``."""
        return "multi" if self._multi else "perf"

    def attach(self, pid: int) -> None:
        """Place the probes in one process, ends before beginnings.

        Raises:
            AttachError: the kernel refused; everything placed so far is gone again.
        """
        try:
            for name, tracepoint in _ENDS.items():
                self._end_links.append(kernel.attach_raw_tracepoint(self._functions[name], tracepoint))
            if self._multi:
                self._links += apart.opened(self._by_multi(pid))
                return
            programs = self._program_for_each()
            self._links += apart.opened(self._by_perf(programs, pid))
        except OSError as error:
            self.detach()
            raise AttachError(f"the kernel refused {error.strerror}", "pylat check says what is missing") from error
        except BaseException:
            self.detach()
            raise

    @contextmanager
    def attached_to_self(self, path: str, sites: dict[str, int], record: np.ndarray[Any, Any]) -> Iterator[None]:
        """The programs on places of a file that pylat itself maps, for calibration.

        Args:
            sites: by the BPF function of each, the file offset of its instruction.
            record: the ``wire.POINT`` of all.
        """
        links: list[int] = []
        points = Map(self._maps[_POINTS], _U32, marking.POINT)
        points.update(np.zeros(1, _U32), record)
        try:
            for function, offset in sites.items():
                if self._multi:
                    program = self._functions[function]
                    links.append(kernel.attach_uprobes(program, path, [offset], [0], os.getpid(), cookies=[0]))
                else:
                    program = self._load_one(compile_markers(cookies=False), function, self._maps)
                    links.append(kernel.attach_uprobe(program, path, offset, 0, os.getpid()))
            yield
        finally:
            self._close(links)

    @property
    def not_run(self) -> int:
        """Events of tracepoints so far, at most, for which the kernel ran no program."""
        return left_out(self._functions, _ENDS)

    def detach(self) -> None:
        """Take the probes away. The maps stay readable."""
        apart.close(self._links)
        self._close(self._end_links)

    def close(self) -> None:
        """Take everything away."""
        self.detach()
        self._close(self._descriptors)

    # -- inside ----------------------------------------------------------------------------------

    def _make_maps(self, made: Object) -> None:
        with suppress(ValueError, OSError):  # Linux before 5.11 counts BPF memory against this limit
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        entries = {
            "statistics": self.slots,
            "free_slots": self.slots,
            "names": _NAMES,
            "stacks": _STACKS,
            "keys": _KEYS,
            "extremes": _EXTREMES,
            _POINTS: len(self._points),
        }
        for shape in made.maps:
            self._maps[shape.name] = self._new_map(made, shape.name, entries.get(shape.name, shape.max_entries))
        table = Map(self._maps[_POINTS], _U32, marking.POINT)
        for number, point in enumerate(self._points):
            table.update(np.array([number], _U32), point.record)

    def _new_map(self, made: Object, name: str, entries: int) -> int:
        shape = next(each for each in made.maps if each.name == name)
        try:
            flags = allocation.flags(shape.flags)
            fd = kernel.create_map(name, shape.type, shape.key_size, shape.value_size, entries, flags)
        except OSError as error:
            raise refused_call(error) from error
        self._descriptors.append(fd)
        return fd

    def _load(self, made: Object) -> dict[str, int]:
        """The programs that are needed. For perf events, those of the sites come later, one for each."""
        roles = dict.fromkeys(point.function for point in self._points)
        names = [*_ENDS, *(roles if self._multi else ())]
        return {name: self._load_one(made, name, self._maps) for name in names}

    def _load_one(self, made: Object, name: str, maps: dict[str, int]) -> int:
        tracepoint = name in _ENDS
        kind = kernel.PROG_TYPE_RAW_TRACEPOINT if tracepoint else kernel.PROG_TYPE_KPROBE
        attach_type = kernel.TRACE_UPROBE_MULTI if self._multi and not tracepoint else 0
        code = made.instructions(name, [maps[shape.name] for shape in made.maps])
        try:
            fd = kernel.load_program(name, kind, code, attach_type)
        except kernel.Refused as error:
            raise refused_program(error) from None
        except OSError as error:
            raise refused_call(error) from error
        self._descriptors.append(fd)
        return fd

    def _by_multi(self, pid: int) -> Iterator[Probes]:
        for function in ROLES:
            groups: dict[int, list[int]] = {}
            for number, point in enumerate(self._points):
                if point.function == function:
                    groups.setdefault(point.file.image.fd, []).append(number)
            for fd, numbers in groups.items():
                places = [self._points[number] for number in numbers]
                offsets, semaphores = [each.offset for each in places], [each.semaphore for each in places]
                yield Probes(
                    self._functions[function],
                    f"/proc/self/fd/{fd}",
                    offsets,
                    semaphores,
                    pid,
                    multi=True,
                    cookies=numbers,
                    name=_name(places[0]),
                )

    def _program_for_each(self) -> list[tuple[Point, int]]:
        """A perf event says nothing of the site that it is for: so each has a program with a table of its own."""
        made = compile_markers(cookies=False)
        found = []
        for point in sorted(self._points, key=lambda each: ROLES.index(each.function)):
            alone = self._new_map(made, _POINTS, 1)
            Map(alone, _U32, marking.POINT).update(np.zeros(1, _U32), point.record)
            found.append((point, self._load_one(made, point.function, {**self._maps, _POINTS: alone})))
        return found

    @staticmethod
    def _by_perf(programs: list[tuple[Point, int]], pid: int) -> Iterator[Probes]:
        for point, program in programs:
            path, name = f"/proc/self/fd/{point.file.image.fd}", _name(point)
            yield Probes(program, path, (point.offset,), (point.semaphore,), pid, multi=False, name=name)

    @staticmethod
    def _close(descriptors: list[int]) -> None:
        while descriptors:
            os.close(descriptors.pop())


def _name(point: Point) -> str:
    """Which marker was refused, in front of the reason."""
    return f"the marker {point.marker} of {point.file.path}: "
