"""Whether this kernel attaches by uprobe-multi links: tried, since distributions take them into older versions."""

from __future__ import annotations

import errno
import os

from latency.errors import KernelTooOld
from latency.tracing.kernel import calls

PROCESSES, THREADS, NONE = "processes", "threads", "none"
_NO_PID = 0xFFFF_FFFF


def links() -> str:
    """What this kernel knows of them.

    Returns:
        ``PROCESSES``; ``THREADS`` where a link with a PID passes the events of that one thread alone (Linux 6.6 to 6.9
        without commit 46ba0e49b642); ``NONE`` where there are none, or they are not allowed here.
    """
    try:
        program = calls.load_program("pylat_try", calls.PROG_TYPE_KPROBE, calls.EMPTY_PROGRAM, calls.TRACE_UPROBE_MULTI)
    except (OSError, calls.Refused):
        return NONE
    try:
        # As libbpf tries it: a folder cannot be probed, and a kernel with the right filter sees the PID before that.
        if _answer(program, 0) != errno.EBADF:
            return NONE
        return PROCESSES if _answer(program, _NO_PID) == errno.EINVAL else THREADS
    finally:
        os.close(program)


def by_multi(attachment: str, *, of_one_process: bool) -> bool:
    """Whether probes are to be attached by uprobe-multi links, and not by perf events.

    Args:
        attachment: as it is asked for: ``"multi"``, ``"perf"`` or ``"auto"``.
        of_one_process: whether the kernel is to leave out the calls of others.

    Raises:
        KernelTooOld: such links are asked for, and the kernel has none, or loses calls by them.
    """
    if attachment == "perf":
        return False
    known = links()
    if known == PROCESSES or (known == THREADS and not of_one_process):
        return True
    if attachment == "auto":
        return False
    raise KernelTooOld(
        "this kernel has no uprobe-multi links"
        if known == NONE
        else "this kernel's uprobe-multi links would lose the calls of all threads but one",
        "take --attach auto",
    )


def _answer(program_fd: int, pid: int) -> int:
    try:
        os.close(calls.attach_uprobes(program_fd, "/", [0], [0], pid))
    except OSError as error:
        return error.errno or 0
    return 0
