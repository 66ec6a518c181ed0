"""Which pages of a mapping hold anything: ``/proc/PID/pagemap``.

To read a page of anonymous memory that was never touched adds page tables to the target. Where an allocator has
reserved a gigabyte (mimalloc, in free-threaded CPython), or a program has a terabyte, that is most of it. From Linux
6.7 on the kernel is asked for what is there (PAGEMAP_SCAN), and passes over empty page tables; before, it tells each
page by itself, which takes a second or two for a terabyte, and changes the target no more.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
from collections.abc import Iterator

import numpy as np

from latency.target.maps import Mapping
from latency.target.process import Process

_ENTRY_BYTES = 8
_CHUNK_PAGES = 1 << 17
_HELD = 62  # bits 62 and 63 (Documentation/admin-guide/mm/pagemap.rst): swapped out, present
_SCAN = 0xC060_6610  # PAGEMAP_SCAN, and what a page can be (include/uapi/linux/fs.h)
_PRESENT, _SWAPPED = 1 << 3, 1 << 4
_REGIONS = 1024
_ZEROS = ("/dev/zero", "/anon_hugepage")  # the kernel names a file that no page of a private mapping comes from


class _Scan(ctypes.Structure):
    """``struct pm_scan_arg``."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            *("size", "flags", "start", "end", "walk_end", "vec", "vec_len", "max_pages"),
            *("category_inverted", "category_mask", "category_anyof_mask", "return_mask"),
        )
    ]


class Pages:
    """The pages of one process.

    Args:
        process: whose.
        scans: whether the kernel may be asked for what is there; False for an older one's way.
    """

    def __init__(self, process: Process, *, scans: bool = True) -> None:
        self._scans = scans
        self._regions = np.zeros((_REGIONS, 3), np.uint64)  # struct page_region: start, end, categories
        try:
            self._file: int | None = os.open(process.proc / str(process.task) / "pagemap", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = None

    def __enter__(self) -> Pages:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def stretches(self, mapping: Mapping) -> Iterator[tuple[int, int]]:
        """(start, end) of each run of pages that are in memory or swapped out, ascending; the rest of it is zeros.

        All of the mapping where it is a file's, and where the kernel does not tell.
        """
        if self._file is None or (mapping.inode and mapping.path not in _ZEROS):
            yield mapping.start, mapping.end
            return
        at = mapping.start
        if self._scans:
            while at < mapping.end:
                try:
                    runs, at = self._scanned(self._file, at, mapping.end)
                except OSError:  # ENOTTY: before 6.7
                    self._scans = False
                    break
                yield from runs
        while at < mapping.end:
            pages = min(_CHUNK_PAGES, (mapping.end - at) // mmap.PAGESIZE)
            try:
                raw = os.pread(self._file, pages * _ENTRY_BYTES, at // mmap.PAGESIZE * _ENTRY_BYTES)
            except OSError:
                raw = b""
            count = len(raw) // _ENTRY_BYTES
            if not count:
                yield at, mapping.end
                return
            entries = np.frombuffer(raw, "<u8", count)
            if entries.any():
                for first, last in _runs(entries >> np.uint64(_HELD) != 0):
                    yield at + first * mmap.PAGESIZE, at + last * mmap.PAGESIZE
            at += count * mmap.PAGESIZE

    def _scanned(self, file: int, start: int, end: int) -> tuple[list[tuple[int, int]], int]:
        """(the first runs of pages that are there, up to where that is all of them)."""
        held = _PRESENT | _SWAPPED
        scan = _Scan(
            size=ctypes.sizeof(_Scan),
            start=start,
            end=end,
            vec=self._regions.ctypes.data,
            vec_len=len(self._regions),
            category_anyof_mask=held,
        )
        count = fcntl.ioctl(file, _SCAN, scan)
        return [(first, last) for first, last, _ in self._regions[:count].tolist()], max(scan.walk_end, start + 1)


def _runs(held: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[tuple[int, int]]:
    """(first, behind the last) of each run of pages that are held."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], held, [False])).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
