"""Find live objects of some types by scanning the memory that a process can write."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from latency.target.maps import Mapping
from latency.target.pages import Pages
from latency.target.process import Process
from latency.target.vm import Window

Addresses = np.ndarray[Any, np.dtype[np.uint64]]
Places = np.ndarray[Any, np.dtype[np.intp]]

CHUNK_BYTES = 1 << 20  # which stays in the cache from the reading to the looking, and is worth a call
_PART_BYTES = 16 << 20  # that one thread takes at once
_READERS = 2
"""Threads: memory is copied and compared without the GIL, and two are through in two thirds of the time."""
_WORTH_A_THREAD_BYTES = 64 << 20
_WORD_BYTES = 8
_TRIES = 10
# struct _object for x86-64, 3.6 to 3.15: ob_refcnt (or, from 3.12, a union with it), then ob_type. In free-threaded
# builds: ob_tid; flags, a lock and ob_ref_local; ob_ref_shared; ob_type. Py_TRACE_REFS builds have another head.
_TYPE_OFFSET_BYTES = 8
_TYPE_OFFSET_FREE_THREADED_BYTES = 24
_HEAD_WORDS = 2  # before the type, that count references, at most
_SHARED_FLAGS = 2  # the lowest bits of ob_ref_shared
_NOTHING = np.zeros(_HEAD_WORDS, np.uint64)
_KERNELS = frozenset({"[stack]", "[vvar]", "[vdso]", "[vsyscall]"})


class _Part(NamedTuple):
    """Where types are looked for, and from where on that is read: with the words before the first of them, and from the
    beginning of a page (``vm.Window``)."""

    start: int
    end: int
    read_from: int


def objects_of(
    process: Process,
    type_addresses: Collection[int],
    *,
    free_threaded: bool = False,
    wanted: Callable[[Mapping], bool] | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> dict[int, Addresses]:
    """By type, the addresses (uint64, ascending) at which an object of it may live: one pass over memory for all types.

    Args:
        process: where to look.
        type_addresses: the run-time addresses of the types: ``PyCode_Type``, say.
        free_threaded: it is a build without a GIL: its objects have another head.
        wanted: which mappings to scan; ``holds_objects`` by default.
        chunk_bytes: how much is read at once: a multiple of 8.

    Every live object is among them. So are words that only look like one: memory that was
    freed and not yet used again, for example. Who uses an address proves it first.
    Memory that vanishes meanwhile is passed over: what it held is no longer live.

    Raises:
        TargetGone, NoPrivilege
    """
    wanted = wanted or holds_objects
    mappings = process.maps()
    look = _Look(tuple(type_addresses), _Mapped(mappings), free_threaded=free_threaded)
    chosen = list(filter(wanted, mappings))
    large = sum(it.end - it.start for it in chosen) >= _WORTH_A_THREAD_BYTES
    readers = min(_READERS if large else 1, len(os.sched_getaffinity(0)))
    with (
        Pages(process) as pages,
        ThreadPoolExecutor(readers) as pool,
        _InTurn(_parts(chain.from_iterable(map(pages.stretches, chosen)))) as parts,
    ):
        reading = [pool.submit(_found, process, parts, look, chunk_bytes) for _ in range(readers - 1)]
        found = [_found(process, parts, look, chunk_bytes), *(it.result() for it in reading)]
    return {type_: np.sort(np.concatenate([each[type_] for each in found]), kind="stable") for type_ in type_addresses}


def code_objects(process: Process, code_type_address: int, *, free_threaded: bool = False) -> Addresses:
    """The addresses at which a code object may live; ``objects_of`` for the type ``PyCode_Type``."""
    return objects_of(process, (code_type_address,), free_threaded=free_threaded)[code_type_address]


def holds_objects(mapping: Mapping) -> bool:
    """Whether CPython may keep objects there: private and writable, and not the main stack.

    That includes the data of the interpreter's own file, where 3.11 and 3.12 keep the code of
    frozen modules (Python/deepfreeze/deepfreeze.c), some 770 objects.
    """
    return mapping.readable and mapping.writable and mapping.private and mapping.path not in _KERNELS


def _parts(stretches: Iterable[tuple[int, int]]) -> Iterator[_Part]:
    for start, end in stretches:
        for at in range(start, end, _PART_BYTES):
            yield _Part(at, min(at + _PART_BYTES, end), max(start, at - mmap.PAGESIZE))


class _InTurn:
    """The same parts for several threads, each part for one of them. After the block there are no more: where one of
    them fails, or is interrupted, the others stop."""

    def __init__(self, parts: Iterator[_Part]) -> None:
        self._parts = parts
        self._lock = threading.Lock()

    def __enter__(self) -> _InTurn:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._parts = iter(())

    def __iter__(self) -> Iterator[_Part]:
        while True:
            with self._lock:
                part = next(self._parts, None)
            if part is None:
                return
            yield part


def _found(process: Process, parts: Iterable[_Part], look: _Look, chunk_bytes: int) -> dict[int, Addresses]:
    """What ``objects_of`` finds in these parts, ascending in each."""
    window = Window(chunk_bytes)
    marks = bytearray(len(window.words))
    same = np.frombuffer(marks, np.bool_)
    found = {type_: [np.empty(0, np.uint64)] for type_ in look.types}
    for part in parts:
        end, before = 0, _NOTHING  # the words before the chunk: an object's head may lie across the border
        for start, words in _pieces(process, part.read_from, part.end, window):
            if start != end:
                before = _NOTHING
            for type_, chunks in found.items():
                which = np.equal(words, type_, out=same[: len(words)])
                if marks.find(1, 0, len(words)) >= 0:
                    at = start + look.living(words, which.nonzero()[0], before) * _WORD_BYTES
                    chunks.append(at[at >= part.start].astype(np.uint64) - look.type_offset)
            end = start + words.nbytes
            if end < part.end:
                before = np.concatenate((before, words[-_HEAD_WORDS:]))[-_HEAD_WORDS:]
    return {type_: np.concatenate(chunks) for type_, chunks in found.items()}


def _pieces(process: Process, start: int, end: int, window: Window) -> Iterator[tuple[int, Addresses]]:
    """(address, words) of all that can be read of a stretch, in pieces of the window's size, which holds the words.

    Parts of it may be away by now, and come back: the kernel makes one mapping of the stack of a thread and the memory
    beside it.
    """
    at, tries = start, 0
    while at < end:
        size = min(len(window.buffer), end - at)
        count = process.fill(window, at, size) // _WORD_BYTES
        if count:
            yield at, window.words[:count]
        at += count * _WORD_BYTES
        if count * _WORD_BYTES < size:
            tries = 0 if count else tries + 1
            there = (it for it in process.maps() if it.end > at and (it.start > at or tries < _TRIES))
            at = next((max(at, it.start) for it in there), end)


def _preceding(words: Addresses, places: np.ndarray[Any, Any], before: Addresses) -> tuple[Addresses, Addresses]:
    """Of each place the word before it, and the one before that."""
    found = []
    for distance in range(1, _HEAD_WORDS + 1):
        early = places < distance
        each = words[np.maximum(places - distance, 0)]
        each[early] = before[places[early] - distance]
        found.append(each)
    return found[0], found[1]


class _Mapped:
    """Which words are addresses."""

    def __init__(self, mappings: list[Mapping]) -> None:
        self._starts = np.array([mapping.start for mapping in mappings], np.uint64)
        self._ends = np.array([0, *(mapping.end for mapping in mappings)], np.uint64)

    def large(self, words: Addresses) -> np.ndarray[Any, Any]:
        """Those that cannot be a number as well.

        Below 2^32 a number may well be both, where a non-PIE executable is mapped.
        """
        mapped: np.ndarray[Any, Any] = words < self._ends[np.searchsorted(self._starts, words, side="right")]
        result: np.ndarray[Any, Any] = mapped & (words >= np.uint64(1 << 32))
        return result


class _Look:
    """How a live object of some types is told.

    Attributes:
        types: the run-time addresses of the types.
        type_offset: where in the object the address of its type stands, bytes.
    """

    def __init__(self, types: tuple[int, ...], mapped: _Mapped, *, free_threaded: bool) -> None:
        self.types = types
        self.type_offset = np.uint64(_TYPE_OFFSET_FREE_THREADED_BYTES if free_threaded else _TYPE_OFFSET_BYTES)
        self._mapped = mapped
        self._may_live = _may_live_free_threaded if free_threaded else _may_live

    def living(self, words: Addresses, places: Places, before: Addresses) -> Places:
        """Those of the places at which a type stands that have the head of a live object before them."""
        alive: Places = places[self._may_live(_preceding(words, places, before), self._mapped)]
        return alive


def _may_live(head: tuple[Addresses, Addresses], mapped: _Mapped) -> np.ndarray[Any, Any]:
    """Whether each word can be the reference count of a live object: not 0, and no address.

    The count is the lower half from 3.12 on, with flags in the upper quarter from 3.14 on; so a
    count with flags is no mapped address either.
    """
    counts, _ = head
    result: np.ndarray[Any, Any] = (counts & np.uint64(0xFFFFFFFF) != 0) & ~mapped.large(counts)
    return result


def _may_live_free_threaded(head: tuple[Addresses, Addresses], mapped: _Mapped) -> np.ndarray[Any, Any]:
    """The same of the two counts of a free-threaded build, of which one is enough: that of the thread that owns the
    object (ob_ref_local, the upper half of its word), and the one that all others share, with two flags."""
    shared, local = head
    counted = (local >> np.uint64(32) != 0) | (shared >> np.uint64(_SHARED_FLAGS) != 0)
    result: np.ndarray[Any, Any] = counted & ~mapped.large(shared)
    return result
