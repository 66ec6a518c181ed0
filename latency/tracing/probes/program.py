"""The BPF programs and maps of one target: load, attach, detach.

What is attached hangs on descriptors that the kernel closes with the process: even after ``kill -9`` the target is as
it was. ``compiler.py`` makes the instructions.
"""

from __future__ import annotations

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
from latency.errors import AttachError
from latency.tracing.counted import wire
from latency.tracing.counted.maps import CallMaps
from latency.tracing.counted.parameters import Capacity, programs
from latency.tracing.kernel import allocation, apart
from latency.tracing.kernel import calls as kernel
from latency.tracing.kernel.apart import Probes
from latency.tracing.kernel.calls import Map
from latency.tracing.kernel.compiler import Object
from latency.tracing.kernel.multi import by_multi
from latency.tracing.kernel.refusals import refused_call, refused_program
from latency.tracing.kernel.tracepoints import left_out, twice
from latency.tracing.probes.part import Part

# BPF function -> the raw tracepoint that it hangs on
_ENDS = twice({"pylat_thread_exit": "sched_process_exit", "pylat_exec": "sched_process_exec"})
_FORKS = twice({"pylat_fork": "sched_process_fork"})
_U32 = np.dtype("<u4")


def needed(plan: SitePlan, *, children: bool, parts: Iterable[Part] = ()) -> list[str]:
    """The names of the BPF functions that a plan and the parts of a measurement need.

    Args:
        children: to follow forks, too.
    """
    parts = list(parts)
    called = [name for part in parts for name in part.called]
    return [*programs(plan).values(), *_tracepoints(children=children, parts=parts), *called]


def _tracepoints(*, children: bool, parts: Iterable[Part]) -> dict[str, str]:
    further = {name: tracepoint for part in parts for name, tracepoint in part.tracepoints.items()}
    return {**_ENDS, **(_FORKS if children else {}), **further}


def _structs(parts: Iterable[Part]) -> dict[str, np.dtype[Any]]:
    return {**wire.STRUCTS, **{name: struct for part in parts for name, struct in part.structs.items()}}


class Program:
    """The loaded programs of one plan. ``attach`` places the probes; ``close`` takes everything away.

    Args:
        made: what the compiler made for this plan.
        plan: whose sites are going to be probed.
        capacity: how much the maps hold.
        children: follow forks; then ``maps.follow`` says whose.
        parts: what is switched on beside.
        attachment: ``"multi"`` (one uprobe-multi link for each role), ``"perf"`` (a perf event for each site), or
            ``"auto"``: the first where the kernel has it, and passes the calls of all threads.

    Attributes:
        maps: through which the programs and user space talk.

    Raises:
        CompileError: the kernel's verifier refuses a program; ``detail`` is the end of its log.
        KernelTooOld: ``"multi"``, and the kernel cannot do that.
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
        parts: Sequence[Part] = (),
        attachment: str = "auto",
    ) -> None:
        self.capacity = capacity
        self._plan = plan
        self._follows = children
        self._object = made
        self._descriptors: list[int] = []
        self._links: list[int] = []
        self._lasting: list[int] = []  # of sites that see no calls
        self._tracepoints = _tracepoints(children=children, parts=parts)
        self._tracepoint_links: list[int] = []
        self._placed_by = 0
        self._background: list[threading.Thread] = []
        self._called = {name: table for part in parts for name, table in part.called.items()}
        apart.begin()
        # Before anything is loaded: a program array takes programs for one way of attaching alone.
        self._multi = by_multi(attachment, of_one_process=not children)
        try:
            self._maps = self._make_maps()
            self._functions = self._load()
        except BaseException:
            self._close(self._descriptors)
            raise
        self.maps = CallMaps(self._maps, capacity, _structs(parts))

    @property
    def loaded(self) -> Mapping[str, int]:
        """The descriptor of each BPF function that is loaded."""
        return self._functions

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
                self.maps.follow(os.getpid(), 0)
            for role, offset in sites.items():
                name = programs(self._plan)[role]
                if self._multi:
                    links.append(kernel.attach_uprobes(self._functions[name], path, [offset], [0], os.getpid()))
                else:
                    links.append(kernel.attach_uprobe(self._functions[name], path, offset, 0, os.getpid()))
            yield
        finally:
            if self._follows:
                self.maps.unfollow(0)
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

    def go_by(self, path: str, pid: int) -> bool:
        """Place them anew where they are in place by another thread. Raises AttachError.

        A perf event goes by a thread of the process, and sees nothing when that has ended.

        Returns:
            Whether they were.
        """
        if self._multi or not self._links or pid == self._placed_by:
            return False
        self.pause()
        self.resume(path, pid)
        return True

    @property
    def not_run(self) -> int:
        """Events of tracepoints so far, at most, for which the kernel ran no program."""
        return left_out(self._functions, self._tracepoints)

    def stop_following(self) -> None:
        """Until now the open calls of a thread that ends were dropped and counted; from now on they stay."""
        self._close(self._tracepoint_links)

    def close(self) -> None:
        """Take everything away: probes, programs and maps."""
        self.detach()
        for each in self._background:
            each.join()
        self.stop_following()
        self.maps.close()
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
                flags = allocation.flags(shape.flags)
                fd = kernel.create_map(shape.name, shape.type, shape.key_size, shape.value_size, entries, flags)
            except OSError as error:
                raise refused_call(error) from error
            self._descriptors.append(fd)
            found[shape.name] = fd
        return found

    def _load(self) -> dict[str, int]:
        names = (*programs(self._plan).values(), *self._tracepoints, *self._called)
        # The verifier is most of the time to start, and takes one program on each processor.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            longest_first = sorted(names, key=lambda name: -len(self._object.programs[name]))
            loading = {name: pool.submit(self._load_one, name) for name in longest_first}
        found = {name: each.result() for name, each in loading.items() if not each.exception()}
        self._descriptors += found.values()
        for each in loading.values():
            each.result()  # raises what went wrong
        for name, table in self._called.items():
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
            raise refused_program(error) from None
        except OSError as error:
            raise refused_call(error) from error

    def _attach_sites(self, path: str, pid: int, roles: Iterable[Role] | None = None) -> None:
        self._placed_by = pid
        wanted = list(programs(self._plan)) if roles is None else list(roles)
        links = apart.opened(self._probes(path, pid, wanted))
        for role in wanted:
            count = 1 if self._multi else len(list(self._plan.of(role)))
            (self._lasting if role is Role.CODE_DEALLOC else self._links).extend(links[:count])
            del links[:count]

    def _probes(self, path: str, pid: int, roles: Iterable[Role]) -> Iterator[Probes]:
        """What to place for these roles, in their order: one multi link for each, otherwise one event for each site."""
        names = programs(self._plan)
        for role in roles:
            fd, sites = self._functions[names[role]], list(self._plan.of(role))
            places, semaphores = [site.offset for site in sites], [site.semaphore_offset for site in sites]
            if self._multi:
                yield Probes(fd, path, places, semaphores, pid, multi=True)
                continue
            for place, semaphore in zip(places, semaphores, strict=True):
                yield Probes(fd, path, (place,), (semaphore,), pid, multi=False)

    @staticmethod
    def _close(descriptors: list[int]) -> None:
        # Closing a link waits until no processor can be in its program any more: wait for all of them at once.
        with ThreadPoolExecutor(len(descriptors) or 1) as pool:
            list(pool.map(os.close, descriptors))
        descriptors.clear()


def sizes_agree(made: Object, parts: Sequence[Part] = ()) -> bool:
    """Whether what the compiler made of ``bpf/pylat.h`` has the sizes of ``wire.py``."""
    structs = _structs(parts)
    sizes = {shape.name: (shape.key_size, shape.value_size) for shape in made.maps}
    expected = {
        "config": (_U32, wire.CONFIG),
        "statistics": (_U32, wire.STATISTICS),
        "counters": (_U32, wire.COUNTERS),
        "functions": (wire.FUNCTION_KEY, wire.FUNCTION),
        "processes": (_U32, wire.PROCESS),
        "threads": (_U32, structs["pylat_thread"]),
        "suspended": (wire.FRAME_KEY, structs["pylat_suspended"]),
        **{name: types for part in parts for name, types in part.maps.items()},
    }
    return all(sizes.get(name) == (key.itemsize, value.itemsize) for name, (key, value) in expected.items())
