"""Many small reads of another process's memory in few calls: ``process_vm_readv(2)``."""

from __future__ import annotations

import ctypes
import errno
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

Words = np.ndarray[Any, np.dtype[np.uint64]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

BATCH_BYTES = 4 << 20
"""The most that one call reads; also the largest single read."""
_IOV_MAX = 1024  # <limits.h>: the kernel refuses more vectors in one call
_HIGHEST_ADDRESS = 1 << 63
LARGE_BYTES = 64 << 10
"""From here on one read this way is quicker than by ``/proc/PID/mem``, which copies everything twice."""


def numbers_processes_as_we_do(proc: Path) -> bool:
    """Whether PIDs under ``proc`` are PIDs for our own system calls (same PID namespace)."""
    try:
        return os.readlink(proc / "self") == str(os.getpid())
    except OSError:
        return False


def read_table(pid: int, addresses: Words, size: int) -> tuple[Bytes, Flags]:
    """Rows: (``size`` (1 … BATCH_BYTES) bytes at each address, whether they are readable; others are anything).

    Raises:
        OSError: the process cannot be read at all (ESRCH, EPERM, ENOSYS).
    """
    table = np.empty((len(addresses), size), np.uint8)
    good = np.zeros(len(addresses), np.bool_)
    remote = np.empty((len(addresses), 2), np.uint64)
    remote[:, 0] = np.where(addresses < _HIGHEST_ADDRESS, addresses, 0)
    remote[:, 1] = size
    step = max(1, min(_IOV_MAX, BATCH_BYTES // size))
    for begin in range(0, len(addresses), step):
        rows = slice(begin, begin + step)
        _read_batch(pid, remote[rows], table[rows], good[rows])
    return table, good


def read_into(pid: int, address: int, buffer: memoryview) -> int:
    """Fill a buffer from an address on. Returns how many bytes were read in one go; 0 where the kernel refuses."""
    octets = np.frombuffer(buffer, np.uint8)
    here, there = (np.array([at, len(octets)], np.uint64) for at in (octets.ctypes.data, address))
    return max(0, int(_readv()(pid, here.ctypes.data, 1, there.ctypes.data, 1, 0)))


def _read_batch(pid: int, remote: Words, table: Bytes, good: Flags) -> None:
    size = table.shape[1]
    done = 0
    while done < len(table):
        left = len(table) - done
        local = np.array([table.ctypes.data + done * size, left * size], np.uint64)
        count = _readv()(pid, local.ctypes.data, 1, remote.ctypes.data + 16 * done, left, 0)
        if count < 0:
            number = ctypes.get_errno()
            if number != errno.EFAULT:
                raise OSError(number, os.strerror(number))
            count = 0
        whole = count // size
        good[done : done + whole] = True
        done += whole + (whole < left)  # the one after the last whole read faulted: step over it


@cache
def _readv() -> Any:
    call = ctypes.CDLL(None, use_errno=True).process_vm_readv
    call.restype = ctypes.c_ssize_t
    vectors = (ctypes.c_void_p, ctypes.c_ulong)  # where they are, how many
    call.argtypes = [ctypes.c_int, *vectors, *vectors, ctypes.c_ulong]
    return call
