"""Which pages hold anything, of the tests' own memory."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

import pytest

from latency.target.maps import Mapping
from latency.target.pages import stretches
from latency.target.process import Process

PAGE = mmap.PAGESIZE


def anonymous(start: int, size: int, inode: int = 0) -> Mapping:
    return Mapping(
        start=start,
        end=start + size,
        readable=True,
        writable=True,
        executable=False,
        private=True,
        offset=0,
        device="00:00",
        inode=inode,
        path="",
    )


def test_runs_of_touched_pages_are_told() -> None:
    with mmap.mmap(-1, 16 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for page in (0, 3, 4, 15):
            memory[page * PAGE] = 1
        found = list(stretches(Process(os.getpid()), anonymous(start, len(memory))))
    assert [((first - start) // PAGE, (end - start) // PAGE) for first, end in found] == [(0, 1), (3, 5), (15, 16)]


def test_a_files_pages_are_all_told() -> None:
    """Those that were not touched hold what is in the file."""
    assert list(stretches(Process(os.getpid()), anonymous(PAGE, 8 * PAGE, inode=7))) == [(PAGE, 9 * PAGE)]


@pytest.mark.parametrize("content", [None, b""])
def test_where_the_kernel_does_not_tell_all_pages_are_told(tmp_path: Path, content: bytes | None) -> None:
    process = Process(os.getpid())
    process.proc = tmp_path
    (tmp_path / str(process.pid)).mkdir()
    if content is not None:
        (tmp_path / str(process.pid) / "pagemap").write_bytes(content)
    assert list(stretches(process, anonymous(PAGE, 8 * PAGE))) == [(PAGE, 9 * PAGE)]
