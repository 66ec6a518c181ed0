"""What this host lets pylat do: the system calls of a measurement, tried on pylat's own process and taken back at once.

Versions and lists of capabilities do not tell it: distributions take BPF into old kernels and rights out of new ones.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from latency.errors import KernelTooOld
from latency.tracing.kernel import calls, multi, watchpoints
from latency.tracing.kernel.btf import VMLINUX, member_offset

_HW_BREAKPOINT_RW = 3  # linux/hw_breakpoint.h
_PROBE_READ_KERNEL = 113  # enum bpf_func_id
_READS_KERNEL = b"".join(
    struct.pack("<BBhi", code, registers, 0, value)
    for code, registers, value in (
        (0xBF, 0xA1, 0),  # r1 = r10
        (0x07, 0x01, -8),  # r1 += -8
        (0x7A, 0x01, 0),  # *(u64 *)r1 = 0
        (0xB7, 0x02, 8),  # r2 = 8
        (0xB7, 0x03, 0),  # r3 = 0
        (0x85, 0x00, _PROBE_READ_KERNEL),
        (0xB7, 0x00, 0),  # r0 = 0
        (0x95, 0x00, 0),  # exit
    )
)
_REFUSALS = (OSError, calls.Refused, KernelTooOld)


@dataclass(frozen=True)
class Trial:
    """One thing that was tried.

    Attributes:
        name: what it is for.
        works: whether the kernel let pylat do it.
        found: how, or what the kernel said.
        hint: what to do where it does not work.
        needed: nothing can be measured without it.
    """

    name: str
    works: bool
    found: str
    hint: str = ""
    needed: bool = False


def trials(
    *, links: Callable[[], str] = multi.links, proc: Path = Path("/proc"), sys: Path = Path("/sys"), btf: Path = VMLINUX
) -> Iterator[Trial]:
    """Try everything; some milliseconds. Raises nothing. The arguments are seams for tests."""
    yield _probes(links)
    yield _of("watch", "the engine watch can place its watchpoints", _watchpoint, _about_watchpoints(proc))
    yield _of("markers", "USDT markers, and what follows threads", _reads_kernel, _about_kernel(sys))
    yield _of("--children", "forks can be followed", lambda: _follows("tgid", btf), _about_kernel(sys))
    yield _of("--offcpu", "what runs and what waits can be told", lambda: _follows("pid", btf), _about_kernel(sys))


def _of(name: str, found: str, attempt: Callable[[], None], hint: str) -> Trial:
    try:
        attempt()
    except _REFUSALS as error:
        return Trial(name, False, _words(error), hint)
    return Trial(name, True, found)


def _words(error: BaseException) -> str:
    if isinstance(error, OSError):
        return f"the kernel refused: {error.strerror or error}"
    return f"the kernel refused the program {error}" if isinstance(error, calls.Refused) else str(error)


def _probes(links: Callable[[], str]) -> Trial:
    known = links()
    if known == multi.PROCESSES:
        return Trial("probes", True, "by uprobe-multi links", needed=True)
    try:
        _uprobe()
    except _REFUSALS as error:
        return Trial("probes", False, _words(error), _about_uprobes(error), needed=True)
    why = "" if known == multi.NONE else ": this kernel's uprobe-multi links lose the calls of other threads"
    return Trial("probes", True, f"by perf events{why}", needed=True)


def _about_uprobes(error: BaseException) -> str:
    number = error.number if isinstance(error, calls.Refused) else getattr(error, "errno", 0)
    if number in (errno.EACCES, errno.EPERM):
        return "run as root, or with CAP_SYS_ADMIN: where there are no uprobe-multi links (Linux 6.6), uprobes need it"
    return "use a kernel with CONFIG_UPROBE_EVENTS and CONFIG_BPF_EVENTS"


def _about_watchpoints(proc: Path) -> str:
    with suppress(OSError, ValueError):
        paranoid = int((proc / "sys/kernel/perf_event_paranoid").read_text())
        if paranoid > 2:  # Debian and Ubuntu; the kernel's own highest is 2
            return f"run with CAP_SYS_ADMIN: kernel.perf_event_paranoid is {paranoid}; or take another --engine"
    return "take another --engine; watch needs Linux 5.13, hardware breakpoints and CAP_PERFMON"


def _about_kernel(sys: Path) -> str:
    with suppress(OSError):
        mode = re.search(r"\[(\w+)\]", (sys / "kernel/security/lockdown").read_text())
        if mode and mode[1] == "confidentiality":
            return "measure without it: the kernel is locked down (confidentiality), so no program may read its memory"
    return "measure without it, or use a kernel with CONFIG_DEBUG_INFO_BTF"


def _uprobe() -> None:
    """A probe by a perf event, in a page of pylat's own that nothing runs."""
    program = calls.load_program("pylat_try", calls.PROG_TYPE_KPROBE, calls.EMPTY_PROGRAM)
    try:
        file = os.memfd_create("pylat-trial", os.MFD_CLOEXEC)
        try:
            os.write(file, b"\x90" * 4096)
            os.close(calls.attach_uprobe(program, f"/proc/self/fd/{file}", 0, 0, os.getpid()))
        finally:
            os.close(file)
    finally:
        os.close(program)


def _watchpoint() -> None:
    byte = ctypes.c_ubyte()
    program = calls.load_program("pylat_try", calls.PROG_TYPE_PERF_EVENT, calls.EMPTY_PROGRAM)
    try:
        address, thread = ctypes.addressof(byte), threading.get_native_id()
        os.close(watchpoints.attach_watchpoint(program, address, 1, _HW_BREAKPOINT_RW, thread))
    except OSError as error:
        if error.errno in (errno.E2BIG, errno.EINVAL):
            raise KernelTooOld("this kernel cannot watch all threads of a process: that needs Linux 5.13") from None
        raise
    finally:
        os.close(program)


def _reads_kernel() -> None:
    os.close(calls.load_program("pylat_try", calls.PROG_TYPE_RAW_TRACEPOINT, _READS_KERNEL))


def _follows(member: str, btf: Path) -> None:
    """What the kernel tells of threads and processes at its tracepoints."""
    member_offset("task_struct", member, path=btf)
    program = calls.load_program("pylat_try", calls.PROG_TYPE_RAW_TRACEPOINT, _READS_KERNEL)
    try:
        os.close(calls.attach_raw_tracepoint(program, "sched_process_exit"))
    finally:
        os.close(program)
