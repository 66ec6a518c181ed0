"""Which pages hold anything, of the tests' own memory."""

from __future__ import annotations

import ctypes
import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from latency.target import pages
from latency.target.heap import objects_of
from latency.target.maps import Mapping
from latency.target.pages import Pages
from latency.target.process import Process

PAGE = mmap.PAGESIZE
OWN_KB = 32  # what the tests themselves may need meanwhile
NORESERVE = 0x4000  # MAP_NORESERVE, which the module mmap has from 3.11 on


def stretches(process: Process, mapping: Mapping, *, scans: bool = True) -> list[tuple[int, int]]:
    with Pages(process, scans=scans) as pages:
        return list(pages.stretches(mapping))


def anonymous(start: int, size: int, inode: int = 0, path: str = "") -> Mapping:
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
        path=path,
    )


@pytest.fixture
def reserved() -> Iterator[tuple[mmap.mmap, int]]:
    """64 GiB, and where they begin."""
    with mmap.mmap(-1, 64 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE) as memory:
        first = ctypes.c_char.from_buffer(memory)
        start = ctypes.addressof(first)
        del first
        yield memory, start


def page_tables_kb() -> int:
    found = re.search(r"VmPTE:\s+([0-9]+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


@pytest.mark.parametrize("scans", [True, False], ids=["scan", "each page"])
def test_runs_of_touched_pages_are_told(scans: bool) -> None:
    with mmap.mmap(-1, 16 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for page in (0, 3, 4, 15):
            memory[page * PAGE] = 1
        found = stretches(Process(os.getpid()), anonymous(start, len(memory)), scans=scans)
    assert [((first - start) // PAGE, (end - start) // PAGE) for first, end in found] == [(0, 1), (3, 5), (15, 16)]


def test_more_runs_than_the_kernel_tells_at_once_are_all_told() -> None:
    count = 3 * pages._REGIONS + 1
    with mmap.mmap(-1, 2 * count * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for page in range(0, 2 * count, 2):
            memory[page * PAGE] = 1
        found = stretches(Process(os.getpid()), anonymous(start, len(memory)))
    assert found == [(start + page * PAGE, start + (page + 1) * PAGE) for page in range(0, 2 * count, 2)]


@pytest.mark.parametrize("scans", [True, False], ids=["scan", "each page"])
def test_what_is_reserved_and_untouched_is_passed_over(reserved: tuple[mmap.mmap, int], scans: bool) -> None:
    memory, start = reserved
    places = [0, 31 << 30, (64 << 30) - PAGE]
    for place in places:
        memory[place] = 1
    found = stretches(Process(os.getpid()), anonymous(start, len(memory)), scans=scans)
    assert found == [(start + place, start + place + PAGE) for place in places]


@pytest.mark.parametrize("size", [64 << 30, PAGE << 9], ids=["large", "small"])
def test_the_search_for_objects_adds_no_page_tables_to_the_target(reserved: tuple[mmap.mmap, int], size: int) -> None:
    _, start = reserved
    memory_of_it = [anonymous(at, size) for at in range(start, start + (64 << 30), max(size, 1 << 30))]
    process = Process(os.getpid())
    process.maps = lambda: memory_of_it  # type: ignore[method-assign]
    objects_of(process, [id(int)])  # what the search itself needs
    before = page_tables_kb()
    objects_of(process, [id(int)])
    assert page_tables_kb() - before < OWN_KB  # each GiB of it would add 4


def test_a_files_pages_are_all_told() -> None:
    """Those that were not touched hold what is in the file."""
    assert stretches(Process(os.getpid()), anonymous(PAGE, 8 * PAGE, inode=7)) == [(PAGE, 9 * PAGE)]


@pytest.mark.parametrize("path", ["/dev/zero", "/anon_hugepage"])
def test_a_private_mapping_of_no_real_file_is_told_by_its_pages(path: str) -> None:
    """To read a huge page that was never touched would make one."""
    with mmap.mmap(-1, 4 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        memory[PAGE] = 1
        found = stretches(Process(os.getpid()), anonymous(start, len(memory), inode=7, path=path))
    assert found == [(start + PAGE, start + 2 * PAGE)]


@pytest.mark.parametrize("content", [None, b""])
def test_where_the_kernel_does_not_tell_all_pages_are_told(tmp_path: Path, content: bytes | None) -> None:
    process = Process(os.getpid())
    process.proc = tmp_path
    (tmp_path / str(process.pid)).mkdir()
    if content is not None:
        (tmp_path / str(process.pid) / "pagemap").write_bytes(content)
    assert stretches(process, anonymous(PAGE, 8 * PAGE)) == [(PAGE, 9 * PAGE)]
