"""Which pages of a mapping hold anything: ``/proc/PID/pagemap``.

To read a page of anonymous memory that was never touched adds page tables to the target. Where an allocator has
reserved a gigabyte (mimalloc, in free-threaded CPython), that is most of it.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

import numpy as np

from latency.target.maps import Mapping
from latency.target.process import Process

_ENTRY_BYTES = 8
_CHUNK_PAGES = 1 << 17
_HELD = 62  # bits 62 and 63 (Documentation/admin-guide/mm/pagemap.rst): swapped out, present


def stretches(process: Process, mapping: Mapping) -> Iterator[tuple[int, int]]:
    """(start, end) of each run of pages that are in memory or swapped out, ascending; the rest of it is zeros.

    All of the mapping where it is a file's, and where the kernel does not tell.
    """
    file = _pagemap(process) if mapping.inode == 0 else None
    if file is None:
        yield mapping.start, mapping.end
        return
    try:
        at = mapping.start
        while at < mapping.end:
            pages = min(_CHUNK_PAGES, (mapping.end - at) // mmap.PAGESIZE)
            try:
                raw = os.pread(file, pages * _ENTRY_BYTES, at // mmap.PAGESIZE * _ENTRY_BYTES)
            except OSError:
                raw = b""
            count = len(raw) // _ENTRY_BYTES
            if not count:
                yield at, mapping.end
                return
            for first, last in _runs(np.frombuffer(raw, "<u8", count) >> np.uint64(_HELD) != 0):
                yield at + first * mmap.PAGESIZE, at + last * mmap.PAGESIZE
            at += count * mmap.PAGESIZE
    finally:
        os.close(file)


def _pagemap(process: Process) -> int | None:
    try:
        return os.open(process.proc / str(process.pid) / "pagemap", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _runs(held: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[tuple[int, int]]:
    """(first, behind the last) of each run of pages that are held."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], held, [False])).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
