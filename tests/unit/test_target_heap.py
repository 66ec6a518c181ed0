"""Objects are found by scanning memory: here, that of the tests' own process."""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import struct
import types
from collections.abc import Iterator

import pytest

from latency.target import heap
from latency.target.heap import holds_objects, objects_of
from latency.target.maps import Mapping
from latency.target.process import Process

TYPE = 0x7EFD_1234_5678
PAGE_BYTES = mmap.PAGESIZE


@pytest.fixture
def page() -> Iterator[mmap.mmap]:
    """Eight pages of private memory of our own, in a mapping of their own.

    Beside other memory with the same rights the kernel makes one mapping of both; in it may lie the buffer into
    which the finder reads, with a copy of what is looked for.
    """
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    with mmap.mmap(-1, 8 * PAGE_BYTES, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as memory:
        yield memory


def address_of(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def found(memory: mmap.mmap, *, chunk_bytes: int = 1 << 20) -> list[int]:
    """The offsets in ``memory`` of what looks like an object of type TYPE."""
    start = address_of(memory)
    objects = objects_of(Process(os.getpid()), [TYPE], wanted=lambda it: start in it, chunk_bytes=chunk_bytes)[TYPE]
    return [address - start for address in objects.tolist() if 0 <= address - start < len(memory)]


def put(memory: mmap.mmap, offset: int, count: int, type_: int = TYPE) -> None:
    memory[offset : offset + 16] = struct.pack("<QQ", count, type_)


def test_every_live_code_object_is_found() -> None:
    functions = [it.__code__ for it in gc.get_objects() if isinstance(it, types.FunctionType)]
    candidates = objects_of(Process(os.getpid()), [id(types.CodeType)])[id(types.CodeType)]
    assert len(functions) > 1000
    assert {id(code) for code in functions} <= set(candidates.tolist())


def test_several_types_are_found_in_one_pass_and_kept_apart(page: mmap.mmap) -> None:
    put(page, 64, 1)
    put(page, 4096, 1, TYPE + 64)
    start = address_of(page)
    objects = objects_of(Process(os.getpid()), [TYPE, TYPE + 64, TYPE + 128], wanted=lambda it: start in it)
    assert [objects[type_].tolist() for type_ in objects] == [[start + 64], [start + 4096], []]


def test_an_object_is_its_count_and_its_type(page: mmap.mmap) -> None:
    put(page, 64, 1)
    put(page, 4096, 1, TYPE + 8)
    assert found(page) == [64]


@pytest.mark.parametrize(
    ("count", "live"),
    [
        (1, True),
        (999_999_999, True),  # immortal, 3.11's frozen modules
        (0xFFFFFFFF, True),  # immortal, 3.12 and 3.13
        (0x0004_0000_C000_0000, True),  # flags in the upper quarter, 3.14 and 3.15
        (0x400_0000, True),  # where a non-PIE executable may be mapped, yet a possible count
        (0, False),
        (0x0004_0000_0000_0000, False),
    ],
)
def test_a_count_is_not_zero(page: mmap.mmap, count: int, live: bool) -> None:
    put(page, 64, count)
    assert found(page) == ([64] if live else [])


def test_an_address_is_no_count(page: mmap.mmap) -> None:
    put(page, 64, address_of(page))
    assert found(page) == []


def test_an_unaligned_word_is_no_type(page: mmap.mmap) -> None:
    put(page, 68, 1)
    assert found(page) == []


def test_an_object_across_the_border_of_two_chunks_is_found(page: mmap.mmap) -> None:
    put(page, PAGE_BYTES - 8, 1)
    put(page, 2 * PAGE_BYTES - 8, 0)
    assert found(page, chunk_bytes=PAGE_BYTES) == [PAGE_BYTES - 8]


@pytest.mark.parametrize("chunk_bytes", [PAGE_BYTES, 1 << 20])
def test_an_object_behind_memory_that_goes_away_meanwhile_is_found(page: mmap.mmap, chunk_bytes: int) -> None:
    """As the stack of a thread does, which is one mapping with the memory beside it."""
    put(page, 64, 1)
    put(page, 6 * PAGE_BYTES, 1)
    start = address_of(page)

    def wanted(mapping: Mapping) -> bool:
        if start in mapping:
            assert ctypes.CDLL(None).munmap(ctypes.c_void_p(start + 2 * PAGE_BYTES), 3 * PAGE_BYTES) == 0
        return start in mapping

    objects = objects_of(Process(os.getpid()), [TYPE], wanted=wanted, chunk_bytes=chunk_bytes)[TYPE]
    assert {start + 64, start + 6 * PAGE_BYTES} <= set(objects.tolist())


@pytest.mark.parametrize("free_threaded", [False, True])
def test_what_two_threads_find_is_what_one_finds_each_object_once(
    page: mmap.mmap, monkeypatch: pytest.MonkeyPatch, free_threaded: bool
) -> None:
    """Also where its head lies before the border of two parts, and its type behind it."""
    page[:] = struct.pack("<QQQQ", 5 << 32 | 1, 4, TYPE, 7) * (len(page) // 32)
    for number in range(1, 8):
        place = number * PAGE_BYTES
        page[place - 16 : place + 16] = struct.pack(
            "<QQQQ", 1 << 32 | 1, 1 << 32 | 1, *((TYPE, 0), (0, TYPE))[number % 2]
        )
    look = found_free_threaded if free_threaded else found
    one = look(page)
    monkeypatch.setattr(heap, "_WORTH_A_THREAD_BYTES", 0)
    monkeypatch.setattr(heap, "_PART_BYTES", PAGE_BYTES)
    assert len(one) > 500
    assert look(page) == one


def test_where_one_thread_fails_the_others_stop() -> None:
    with heap._InTurn(iter([heap._Part(0, 1, 0), heap._Part(1, 2, 1)])) as parts:
        assert next(iter(parts)).start == 0
    assert list(parts) == []


def test_a_type_in_the_first_word_of_memory_has_no_count(page: mmap.mmap) -> None:
    page[0:8] = struct.pack("<Q", TYPE)
    page[-8:] = struct.pack("<Q", 1)
    assert found(page) == []


@pytest.mark.parametrize(
    ("change", "scanned"),
    [
        ({}, True),
        ({"path": "/usr/lib/libpython3.12.so.1.0", "inode": 7}, True),
        ({"path": "[heap]"}, True),
        ({"path": "[stack]"}, False),
        ({"writable": False}, False),
        ({"private": False}, False),
        ({"readable": False}, False),
    ],
)
def test_private_writable_memory_is_scanned_but_no_stack(change: dict[str, object], scanned: bool) -> None:
    usual: dict[str, object] = {
        "start": 0x1000,
        "end": 0x2000,
        "readable": True,
        "writable": True,
        "executable": False,
        "private": True,
        "offset": 0,
        "device": "00:00",
        "inode": 0,
        "path": "",
    }
    assert holds_objects(Mapping(**(usual | change))) == scanned  # type: ignore[arg-type]


def put_free_threaded(memory: mmap.mmap, offset: int, local: int, shared: int) -> None:
    memory[offset : offset + 32] = struct.pack("<QIIQQ", address_of(memory), 0, local, shared, TYPE)


def found_free_threaded(memory: mmap.mmap, *, chunk_bytes: int = 1 << 20) -> list[int]:
    start = address_of(memory)
    objects = objects_of(
        Process(os.getpid()), [TYPE], free_threaded=True, wanted=lambda it: start in it, chunk_bytes=chunk_bytes
    )[TYPE]
    return [address - start for address in objects.tolist() if 0 <= address - start < len(memory)]


@pytest.mark.parametrize(
    ("local", "shared", "live"),
    [
        (1, 0, True),
        (0xFFFF_FFFF, 0, True),  # immortal
        (0, 1 << 2, True),  # of other threads alone
        (0, 1 << 2 | 3, True),  # merged
        (3, (1 << 64) - (1 << 2), True),  # another thread gave one back that it had from the owner
        (0, (1 << 63) // 4, True),  # its count is put off
        (0, 0, False),
        (0, 3, False),  # merged, and freed
    ],
)
def test_one_of_two_counts_is_enough_in_a_free_threaded_build(
    page: mmap.mmap, local: int, shared: int, live: bool
) -> None:
    put_free_threaded(page, 64, local, shared)
    assert found_free_threaded(page) == ([64] if live else [])


@pytest.mark.parametrize("before", [8, 16, 24])
def test_a_free_threaded_head_across_the_border_of_two_chunks_is_found(page: mmap.mmap, before: int) -> None:
    put_free_threaded(page, PAGE_BYTES - before, 1, 0)
    put_free_threaded(page, 3 * PAGE_BYTES - before, 0, 1 << 2)
    put_free_threaded(page, 5 * PAGE_BYTES - before, 0, 3)
    found = found_free_threaded(page, chunk_bytes=PAGE_BYTES)
    assert found == [PAGE_BYTES - before, 3 * PAGE_BYTES - before]


def test_an_address_is_no_shared_count(page: mmap.mmap) -> None:
    put_free_threaded(page, 64, 1, address_of(page))
    assert found_free_threaded(page) == []


def test_of_large_reserved_memory_only_what_was_touched_is_read() -> None:
    """As mimalloc reserves a gigabyte: to read the rest would add page tables to the target."""
    size = 1 << 28
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        start = address_of(memory)
        assert ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), 15) == 0  # MADV_NOHUGEPAGE
        for offset in (64, 5 * PAGE_BYTES - 8, 6 * PAGE_BYTES + 64, size - PAGE_BYTES):
            put(memory, offset, 1)
        before = page_table_bytes()
        assert found(memory) == [64, 5 * PAGE_BYTES - 8, 6 * PAGE_BYTES + 64, size - PAGE_BYTES]
        assert page_table_bytes() - before < size // PAGE_BYTES * 8 // 2
        del start


def page_table_bytes() -> int:
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmPTE"))
