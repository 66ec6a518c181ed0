"""Many small reads of another process's memory in few calls: ``process_vm_readv(2)``."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Words = np.ndarray[Any, np.dtype[np.uint64]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

BATCH_BYTES = 4 << 20
"""The most that one call reads; also the largest single read."""
_IOV_MAX = 1024  # <limits.h>: the kernel refuses more vectors in one call
_HIGHEST_ADDRESS = 1 << 63
_GAP_BYTES = 512  # that are read as well, between two that are wanted: a page of its own is never among them
_OWN = threading.local()
os.register_at_fork(after_in_child=lambda: _OWN.__dict__.clear())  # shared memory would be the parent's as well
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
    table = _memory(len(addresses) * size).reshape(len(addresses), size)
    good = np.zeros(len(addresses), np.bool_)
    addresses = np.where(addresses < _HIGHEST_ADDRESS, addresses, 0)
    step = max(1, BATCH_BYTES // (size + _GAP_BYTES))
    for begin in range(0, len(addresses), step):
        rows = slice(begin, begin + step)
        _read_together(pid, addresses[rows], table[rows], good[rows])
    return table, good


def read_into(pid: int, address: int, buffer: memoryview) -> int:
    """Fill a buffer from an address on. Returns how many bytes were read in one go; 0 where the kernel refuses."""
    octets = np.frombuffer(buffer, np.uint8)
    here, there = (np.array([at, len(octets)], np.uint64) for at in (octets.ctypes.data, address))
    return max(0, int(_readv()(pid, here.ctypes.data, 1, there.ctypes.data, 1, 0)))


class Window:
    """A buffer that is filled again and again from memory of another process: all but the call is done beforehand.

    It begins at a page, as most that is read into it does: to where the alignment is another one (malloc's), some
    processors copy at a third of the speed.

    Attributes:
        buffer: what was read.
        words: the same.
    """

    def __init__(self, size: int) -> None:
        self.buffer = memoryview(mmap.mmap(-1, size))
        self.words: Words = np.frombuffer(self.buffer, np.uint64)
        self._here, self._there = np.array([self.words.ctypes.data, size], np.uint64), np.zeros(2, np.uint64)
        self._places = self._here.ctypes.data, self._there.ctypes.data

    def fill(self, pid: int, address: int, size: int) -> int:
        """Like ``read_into``."""
        self._here[1] = self._there[1] = size
        self._there[0] = address
        here, there = self._places
        return max(0, int(_readv()(pid, here, 1, there, 1, 0)))


def _memory(count: int) -> Bytes:
    """Bytes to read into. From a page on they are shared memory, in which nobody searches for objects: of what had been
    read copies would be found there, by who looks into this process, which may be this process."""
    return np.frombuffer(mmap.mmap(-1, count), np.uint8) if count >= mmap.PAGESIZE else np.empty(count, np.uint8)


def _scratch(count: int) -> Bytes:
    """The same, of which each thread has one, as large as it once was needed."""
    kept: Bytes | None = getattr(_OWN, "scratch", None)
    if kept is None or len(kept) < count:
        _OWN.scratch = kept = _memory(count)
    return kept[:count]


def _read_together(pid: int, addresses: Words, table: Bytes, good: Flags) -> None:
    """What lies side by side in one piece: an allocator puts objects of one size beside each other, and to the kernel
    each piece is more work than its bytes. All rows together have at most BATCH_BYTES."""
    size = table.shape[1]
    beside = (addresses[1:] >= addresses[:-1]) & (addresses[1:] - addresses[:-1] <= size + _GAP_BYTES)
    firsts = np.flatnonzero(np.concatenate(([True], ~beside)))
    nexts = np.append(firsts[1:], len(addresses))
    starts = addresses[firsts]
    lengths = addresses[nexts - 1] + np.uint64(size) - starts
    ends = np.cumsum(lengths)
    buffer = _scratch(int(ends[-1]))
    whole = _read_pieces(pid, np.stack((starts, lengths), axis=1), ends, buffer)
    of_row = np.repeat(np.arange(len(firsts)), nexts - firsts)
    places = addresses - starts[of_row] + (ends - lengths)[of_row]
    table[:] = sliding_window_view(buffer, size)[places]
    good[:] = whole[of_row]
    for piece in np.flatnonzero(~whole & (nexts - firsts > 1)).tolist():
        for row in range(firsts[piece], nexts[piece]):  # it ends, or has a hole, between two of them
            good[row] = read_into(pid, int(addresses[row]), memoryview(table[row])) == size


def _read_pieces(pid: int, remote: Words, ends: Words, buffer: Bytes) -> Flags:
    """Whether each of the pieces (address, length) was read whole, to the buffer, where it ends at so many bytes."""
    whole = np.zeros(len(remote), np.bool_)
    begins = ends - remote[:, 1]
    done = 0
    while done < len(remote):
        some = remote[done : done + _IOV_MAX]
        begin = int(begins[done])
        local = np.array([buffer.ctypes.data + begin, int(ends[done + len(some) - 1]) - begin], np.uint64)
        count = _readv()(pid, local.ctypes.data, 1, some.ctypes.data, len(some), 0)
        if count < 0:
            number = ctypes.get_errno()
            if number != errno.EFAULT:
                raise OSError(number, os.strerror(number))
            count = 0
        read = int(np.searchsorted(ends[done : done + len(some)], begin + count, side="right"))
        whole[done : done + read] = True
        done += read + (read < len(some))  # the one after the last whole one faulted: step over it
    return whole


@cache
def _readv() -> Any:
    call = ctypes.CDLL(None, use_errno=True).process_vm_readv
    call.restype = ctypes.c_ssize_t
    vectors = (ctypes.c_void_p, ctypes.c_ulong)  # where they are, how many
    call.argtypes = [ctypes.c_int, *vectors, *vectors, ctypes.c_ulong]
    return call
