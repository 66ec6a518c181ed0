"""Attaching BPF programs to places of files, and what all system calls of ``calls.py`` share.

With the standard library alone: the helper of ``apart.py`` imports it, and is to start quickly.
Sources: linux/bpf.h (union bpf_attr), linux/perf_event.h (struct perf_event_attr).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

_SYS_BPF, _SYS_PERF_EVENT_OPEN = 321, 298  # x86-64
_LINK_CREATE = 28
TRACE_UPROBE_MULTI = 48  # enum bpf_attach_type, Linux 6.6

_PERF_FLAG_FD_CLOEXEC = 8
_PERF_EVENT_IOC_SET_BPF, _PERF_EVENT_IOC_ENABLE, _PERF_EVENT_IOC_DISABLE = 0x40042408, 0x2400, 0x2401
_PERF_EVENT_IOC_MODIFY_ATTRIBUTES = 0x4008240B
PERF_ATTR_BYTES = 120


class _UprobeMulti(ctypes.Structure):
    _fields_ = (
        ("prog_fd", ctypes.c_uint32),
        ("target_fd", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("link_flags", ctypes.c_uint32),
        ("path", ctypes.c_uint64),
        ("offsets", ctypes.c_uint64),
        ("ref_ctr_offsets", ctypes.c_uint64),
        ("cookies", ctypes.c_uint64),
        ("count", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("pid", ctypes.c_uint32),
    )


class PerfEventAttr(ctypes.Structure):
    """``struct perf_event_attr``, as far as it is used."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
        ("wakeup_events", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("config1", ctypes.c_uint64),
        ("config2", ctypes.c_uint64),
        ("rest", ctypes.c_uint8 * (PERF_ATTR_BYTES - 72)),
    )


def check(result: int, what: str) -> int:
    """The result of a system call. Raises OSError, which says what was tried."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def bpf(command: int, attributes: ctypes.Structure, what: str) -> int:
    """The system call bpf(2). Raises OSError."""
    size = ctypes.sizeof(attributes)
    return check(libc.syscall(_SYS_BPF, command, ctypes.byref(attributes), size), what)


def pointer(buffer: bytes) -> int:
    """The address of these bytes, as long as they live."""
    return ctypes.cast(ctypes.c_char_p(buffer), ctypes.c_void_p).value or 0


def open_event(attributes: PerfEventAttr, tid: int, cpu: int, what: str) -> int:
    """Open a perf event. Returns its descriptor; ``what`` names it in an OSError."""
    return check(
        libc.syscall(_SYS_PERF_EVENT_OPEN, ctypes.byref(attributes), tid, cpu, -1, _PERF_FLAG_FD_CLOEXEC),
        f"open {what} event",
    )


def event_with_program(attributes: PerfEventAttr, tid: int, cpu: int, program_fd: int, what: str) -> int:
    """Open a perf event that runs a BPF program. Returns its descriptor; ``what`` names it in an OSError."""
    fd = idle_event(attributes, tid, cpu, program_fd, what)
    enable_event(fd, what)
    return fd


def idle_event(attributes: PerfEventAttr, tid: int, cpu: int, program_fd: int, what: str) -> int:
    """The same, where the attributes say that it is disabled: until ``enable_event``."""
    fd = open_event(attributes, tid, cpu, what)
    try:
        check(libc.ioctl(fd, _PERF_EVENT_IOC_SET_BPF, program_fd), f"attach program to {what} event")
    except OSError:
        os.close(fd)
        raise
    return fd


def enable_event(fd: int, what: str) -> None:
    """Let a perf event count from now on, with all that were inherited from it. Raises OSError; it is closed then."""
    try:
        check(libc.ioctl(fd, _PERF_EVENT_IOC_ENABLE, 0), f"enable {what} event")
    except OSError:
        os.close(fd)
        raise


def change_event(fd: int, attributes: PerfEventAttr) -> None:
    """Give a perf event, and all that were inherited from it, other attributes. Raises OSError."""
    check(libc.ioctl(fd, _PERF_EVENT_IOC_MODIFY_ATTRIBUTES, ctypes.byref(attributes)), "change event")


def end_event(fd: int) -> int:
    """Close a perf event, with all that were inherited from it. Returns how often they occurred. Raises OSError."""
    try:
        check(libc.ioctl(fd, _PERF_EVENT_IOC_DISABLE, 0), "disable event")
        return int.from_bytes(os.read(fd, 8), "little")
    finally:
        os.close(fd)


def attach_uprobes(
    program_fd: int,
    path: str,
    offsets: Sequence[int],
    semaphores: Sequence[int],
    pid: int,
    *,
    cookies: Sequence[int] = (),
) -> int:
    """Attach one program to several places of one file by a uprobe-multi link (Linux 6.6).

    Args:
        program_fd: loaded with expected attach type ``TRACE_UPROBE_MULTI``.
        path: of the file; ``/proc/self/fd/N`` names the very inode of an open descriptor.
        offsets: file offsets of the instructions.
        semaphores: file offsets of their reference counters, 0 for none.
        pid: the process, or 0 for all.
        cookies: what bpf_get_attach_cookie says at each place.

    Returns:
        The link's descriptor; closing it detaches.

    Raises:
        OSError: the kernel refused; EINVAL also where it does not know these links.
    """
    name = os.fsencode(path)
    words = ctypes.c_uint64 * len(offsets)
    places, counters, told = words(*offsets), words(*semaphores), words(*cookies)
    attributes = _UprobeMulti(
        prog_fd=program_fd,
        attach_type=TRACE_UPROBE_MULTI,
        path=pointer(name),
        offsets=ctypes.addressof(places),
        ref_ctr_offsets=ctypes.addressof(counters) if any(semaphores) else 0,
        cookies=ctypes.addressof(told) if cookies else 0,
        count=len(places),
        pid=pid,
    )
    return bpf(_LINK_CREATE, attributes, "attach uprobes")


def attach_uprobe(program_fd: int, path: str, offset: int, semaphore: int, pid: int) -> int:
    """Attach one program to one place of a file by a perf event (any Linux that pylat runs on).

    Returns:
        The event's descriptor; closing it detaches.
    """
    with open("/sys/bus/event_source/devices/uprobe/type", encoding="ascii") as file:
        pmu = int(file.read())
    name = os.fsencode(path)
    attributes = PerfEventAttr(
        type=pmu, size=PERF_ATTR_BYTES, config=semaphore << 32, config1=pointer(name), config2=offset, sample_period=1
    )
    return event_with_program(attributes, pid or -1, -1 if pid else 0, program_fd, "uprobe")
