"""Many small reads of another process's memory in few calls: ``process_vm_readv(2)``."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

BATCH_BYTES = 4 << 20
"""The most that one call reads; also the largest single read."""
_IOV_MAX = 1024  # <limits.h>: the kernel refuses more vectors in one call
_HIGHEST_ADDRESS = 1 << 63


def numbers_processes_as_we_do(proc: Path) -> bool:
    """Whether PIDs under ``proc`` are PIDs for our own system calls (same PID namespace)."""
    try:
        return os.readlink(proc / "self") == str(os.getpid())
    except OSError:
        return False


def read_many(pid: int, addresses: Sequence[int], size: int) -> list[bytes | None]:
    """``size`` (1 … BATCH_BYTES) bytes at each address; None where not all are readable.

    Raises:
        OSError: the process cannot be read at all (ESRCH, EPERM, ENOSYS).
    """
    found: list[bytes | None] = []
    step = max(1, min(_IOV_MAX, BATCH_BYTES // size))
    buffer = np.empty(step * size, np.uint8)
    for begin in range(0, len(addresses), step):
        found += _read_batch(pid, addresses[begin : begin + step], size, buffer)
    return found


def _read_batch(pid: int, addresses: Sequence[int], size: int, buffer: np.ndarray[Any, Any]) -> list[bytes | None]:
    # What no process can have mapped becomes address 0, which faults like any other.
    usable = [address if 0 <= address < _HIGHEST_ADDRESS else 0 for address in addresses]
    remote = np.empty((len(usable), 2), np.uint64)
    remote[:, 0] = usable
    remote[:, 1] = size
    done = 0
    good = np.zeros(len(usable), np.bool_)
    while done < len(usable):
        left = len(usable) - done
        local = np.array([buffer.ctypes.data + done * size, left * size], np.uint64)
        count = _readv()(pid, local.ctypes.data, 1, remote.ctypes.data + 16 * done, left, 0)
        if count < 0:
            number = ctypes.get_errno()
            if number != errno.EFAULT:
                raise OSError(number, os.strerror(number))
            count = 0
        whole = count // size
        good[done : done + whole] = True
        done += whole + (whole < left)  # the one after the last whole read faulted: step over it
    data = buffer[: len(usable) * size].tobytes()
    return [data[i * size : (i + 1) * size] if fine else None for i, fine in enumerate(good.tolist())]


@cache
def _readv() -> Any:
    call = ctypes.CDLL(None, use_errno=True).process_vm_readv
    call.restype = ctypes.c_ssize_t
    vectors = (ctypes.c_void_p, ctypes.c_ulong)  # where they are, how many
    call.argtypes = [ctypes.c_int, *vectors, *vectors, ctypes.c_ulong]
    return call
