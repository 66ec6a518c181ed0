"""Hardware watchpoints on another process's memory: perf events, one for each thread and address.

Source: linux/perf_event.h, linux/hw_breakpoint.h; Linux kernel/events/hw_breakpoint.c. The events hang on descriptors:
nothing is left in the target when they are closed, or when pylat is killed.
"""

from __future__ import annotations

import errno
import resource
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from latency.cpython.watch_points import COUNT_BYTES, REGISTERS, WatchPoints
from latency.errors import AttachError, HostError, KernelTooOld, PylatError
from latency.target.process import tracer
from latency.target.scheduling import newest_task
from latency.tracing.kernel import watchpoints as kernel

READ_WRITE, WRITE = 3, 2  # HW_BREAKPOINT_RW, HW_BREAKPOINT_W
_SPARE_DESCRIPTORS = 64
_ATTEMPTS = 10
_VIRTUAL = ": a virtual machine has what its hypervisor gives it"
_NOT_HERE = "take another --engine"
_ASKED = 8  # threads that are asked how many registers are free: some may end just then


@dataclass(frozen=True)
class Watchpoint:
    """``length`` bytes (1, 2, 4 or 8, aligned) at ``address``; ``access`` is ``READ_WRITE`` or ``WRITE``."""

    address: int
    length: int
    access: int


def watchpoints_of(functions: Iterable[WatchPoints]) -> list[Watchpoint]:
    """What is to be watched for these, exits before entries."""
    these = list(functions)
    counts = [Watchpoint(each.count, COUNT_BYTES, WRITE) for each in these if each.count]
    ends = [address for each in these for address in (*each.returns, each.raises) if address]
    units = [*ends, *(each.entry for each in these)]
    return [*counts, *(Watchpoint(address, 1, READ_WRITE) for address in dict.fromkeys(units))]


class Watchpoints:
    """A program on watchpoints in all threads of a process, those to come included.

    Args:
        program_fd: a BPF program for perf events.
        forks: in the processes that it will fork, too.

    Attributes:
        hits: of those that were taken away. The program ran as often, but where the kernel was in the midst of
            something that no such program may interrupt.
    """

    def __init__(self, program_fd: int, *, forks: bool = False) -> None:
        self._program_fd = program_fd
        self._forks = forks
        self.hits = 0
        self._events: list[tuple[int, int]] = []  # each with the number of its register
        self._free = REGISTERS

    def __len__(self) -> int:
        """How many events are open."""
        return len(self._events)

    def place(self, points: Sequence[Watchpoint], threads: Callable[[], list[int]]) -> None:
        """Watch, in the order given.

        Args:
            threads: the TIDs of the process, anew at each call.

        Raises:
            AttachError: the debug registers are taken, or the kernel refuses; nothing stays behind.
            KernelTooOld
        """
        try:
            # A thread that begins meanwhile has its creator's watchpoints, but one of them perhaps without the program:
            # so once more, until none has begun. Where they begin all the time, the last attempt stands.
            for _ in range(_ATTEMPTS - 1):
                known = self._place_on_all(points, threads())
                if known.issuperset(threads()):
                    return
                self.close()
            known = self._place_on_all(points, threads())
            while new := set(threads()) - known:
                known |= self._place_on_all(points, sorted(new), late=True)
        except OSError as error:
            self.close()
            raise self._explained(error, len(points), threads()) from error
        except PylatError:  # of the list of threads
            self.close()
            raise

    def move(self, points: Sequence[Watchpoint], threads: Callable[[], list[int]]) -> None:
        """Watch these instead, as many as were placed at most. Not where forks are followed.

        Raises:
            AttachError: the kernel refuses.
        """
        try:
            # As in place: a thread that begins meanwhile may have some of its creator's watchpoints as they were.
            for _ in range(_ATTEMPTS):
                known = set(threads())
                for event, register in self._events:
                    point = points[min(register, len(points) - 1)]
                    off = register >= len(points)
                    kernel.move_watchpoint(event, point.address, point.length, point.access, off=off)
                if known.issuperset(threads()):
                    return
        except OSError as error:
            raise AttachError(
                f"the kernel refused to move a watchpoint: {error.strerror}", "watch fewer functions"
            ) from error

    def close(self) -> None:
        """Take them all away, from the threads that came later too."""
        while self._events:
            self.hits += kernel.end_event(self._events.pop()[0])

    def _place_on_all(self, points: Sequence[Watchpoint], tids: Sequence[int], *, late: bool = False) -> set[int]:
        _allow_descriptors(len(self._events) + len(tids) * len(points))
        if not late:
            self._free = max(self._free_registers(points[0], tid) for tid in tids[:_ASKED])
        for tid in tids:
            # One that began since has what its creator had at that moment: the first of the points.
            inherited = self._free - self._free_registers(points[0], tid) if late else 0
            for register in range(max(0, inherited), len(points)):
                event = self._open(points[register], tid)
                if event is None:
                    break
                self._events.append((event, register))
        return set(tids)

    def _explained(self, error: OSError, points: int, tids: Sequence[int]) -> HostError:
        """In words, with what would help."""
        if error.errno == errno.ENOSPC:
            holder = next(filter(None, map(tracer, tids)), None)
            end_it = "end it" if holder is None else f"end {holder[1]} (PID {holder[0]}), which traces the process"
            fewer = ["watch fewer functions"] if self._free > 1 else []
            return AttachError(
                f"the processor's watchpoints are taken: a debugger, or another pylat, holds them "
                f"({points} of {REGISTERS} are needed, {self._free} are free)",
                ", ".join([end_it, *fewer, "or take another --engine"]),
            )
        if error.errno == errno.EMFILE:
            needed = points * len(tids) + _SPARE_DESCRIPTORS
            _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
            return AttachError(
                f"there are not enough file descriptors: {points} watchpoints in {len(tids):,} threads take one each, "
                f"and {most:,} are allowed",
                f"raise ulimit -n to {needed:,}, or watch fewer functions",
            )
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
            return AttachError("this machine has no hardware watchpoints" + _VIRTUAL, _NOT_HERE)
        if error.errno in (errno.E2BIG, errno.EINVAL):
            return KernelTooOld(
                "this kernel cannot watch all threads of a process", "the watch engine needs Linux 5.13"
            )
        return AttachError(
            f"the kernel refused a watchpoint: {error.strerror}", "run pylat check to see what is missing"
        )

    def _free_registers(self, point: Watchpoint, tid: int) -> int:
        """How many watchpoints the thread can still take, 0 where it has ended: found by taking them for a moment."""
        taken: list[int] = []
        try:
            while len(taken) < REGISTERS:
                event = self._open(point, tid, inherited=False)
                if event is None:
                    break
                taken.append(event)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        finally:
            for event in taken:
                self.hits += kernel.end_event(event)
        return len(taken)

    def _open(self, point: Watchpoint, tid: int, *, inherited: bool = True) -> int | None:
        """The event; None where the thread has ended."""
        # A thread that begins before the event has its program inherits it without. Its creator has the same events,
        # and when the kernel switches from the one to the other it lets them exchange theirs (Linux,
        # perf_event_context_sched_out): the creator goes on without the program, and the thread may be over.
        for _ in range(_ATTEMPTS - 1 if inherited else 0):
            newest = newest_task()
            event = self._idle(point, tid, inherited=inherited)
            if event is None:
                return None
            if newest_task() == newest:
                kernel.enable_watchpoint(event)
                if newest_task() == newest:
                    return event
            self.hits += kernel.end_event(event)
        event = self._idle(point, tid, inherited=inherited)  # tasks begin all the time: as it is
        if event is not None:
            kernel.enable_watchpoint(event)
        return event

    def _idle(self, point: Watchpoint, tid: int, *, inherited: bool) -> int | None:
        """The same, which sees nothing yet."""
        forks = self._forks
        try:
            return kernel.idle_watchpoint(
                self._program_fd, point.address, point.length, point.access, tid, inherited=inherited, forks=forks
            )
        except OSError as error:
            if error.errno == errno.ESRCH:
                return None
            raise


def _allow_descriptors(number: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number + _SPARE_DESCRIPTORS:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, number + _SPARE_DESCRIPTORS), hard))


def require_all(hits: int, expected: int) -> None:
    """Raises AttachError where watchpoints do not see each access, on a byte of pylat's own."""
    if hits < expected:
        raise AttachError(
            f"hardware watchpoints saw {hits:,} of {expected:,} accesses on this machine{_VIRTUAL}", _NOT_HERE
        )
