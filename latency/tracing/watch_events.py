"""Hardware watchpoints on another process's memory: perf events, one for each thread and address.

Source: linux/perf_event.h, linux/hw_breakpoint.h; Linux kernel/events/hw_breakpoint.c. The events hang on descriptors:
nothing is left in the target when they are closed, or when pylat is killed.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from latency.errors import AttachError, KernelTooOld
from latency.tracing import kernel

READ_WRITE, WRITE = 3, 2  # HW_BREAKPOINT_RW, HW_BREAKPOINT_W
_SPARE_DESCRIPTORS = 64


@dataclass(frozen=True)
class Watchpoint:
    """``length`` bytes (1, 2, 4 or 8, aligned) at ``address``; ``access`` is ``READ_WRITE`` or ``WRITE``."""

    address: int
    length: int
    access: int


class Watchpoints:
    """A program on watchpoints in all threads of a process, those to come included.

    Args:
        program_fd: a BPF program for perf events.
    """

    def __init__(self, program_fd: int) -> None:
        self._program_fd = program_fd
        self._events: list[int] = []

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
        known: set[int] = set()
        try:
            while new := [tid for tid in threads() if tid not in known]:
                _allow_descriptors(len(self._events) + len(new) * len(points))
                for tid in new:
                    self._place_on(points, tid, inherits=bool(known))
                known.update(new)
        except OSError as error:
            self.close()
            raise _explained(error) from error

    def close(self) -> None:
        """Take them all away, from the threads that came later too."""
        while self._events:
            os.close(self._events.pop())

    def _place_on(self, points: Sequence[Watchpoint], tid: int, *, inherits: bool) -> None:
        for point in points:
            try:
                event = kernel.attach_watchpoint(self._program_fd, point.address, point.length, point.access, tid)
            except OSError as error:
                if error.errno == errno.ESRCH:
                    return  # the thread has ended
                if error.errno == errno.ENOSPC and inherits:
                    return  # it began meanwhile, and has its creator's watchpoints
                raise
            self._events.append(event)


def _allow_descriptors(number: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number + _SPARE_DESCRIPTORS:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, number + _SPARE_DESCRIPTORS), hard))


def _explained(error: OSError) -> AttachError | KernelTooOld:
    if error.errno == errno.ENOSPC:
        return AttachError(
            "the processor's watchpoints are taken: a debugger, or another pylat, holds them",
            "end it, watch fewer functions, or take another --engine",
        )
    if error.errno == errno.EMFILE:
        return AttachError(
            "there are not enough file descriptors: a watchpoint takes one for each thread", "raise ulimit -n"
        )
    if error.errno in (errno.E2BIG, errno.EINVAL):
        return KernelTooOld("this kernel cannot watch all threads of a process", "the watch engine needs Linux 5.13")
    return AttachError(f"the kernel refused a watchpoint: {error.strerror}", "run pylat check to see what is missing")
