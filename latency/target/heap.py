"""Find live objects of some types by scanning the memory that a process can write."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np

from latency.target.maps import Mapping
from latency.target.process import Process

Addresses = np.ndarray[Any, np.dtype[np.uint64]]

CHUNK_BYTES = 4 << 20
_WORD_BYTES = 8
_TRIES = 10
# struct _object, ordinary builds for x86-64, 3.6 to 3.15: ob_refcnt (or, from 3.12, a union with
# it), then ob_type. Free-threaded and Py_TRACE_REFS builds have another head.
_TYPE_OFFSET_BYTES = 8
_KERNELS = frozenset({"[stack]", "[vvar]", "[vdso]", "[vsyscall]"})


def objects_of(
    process: Process,
    type_addresses: Collection[int],
    *,
    wanted: Callable[[Mapping], bool] | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> dict[int, Addresses]:
    """By type, the addresses (uint64, ascending) at which an object of it may live: one pass over memory for all types.

    Args:
        process: where to look.
        type_addresses: the run-time addresses of the types: ``PyCode_Type``, say.
        wanted: which mappings to scan; ``holds_objects`` by default.
        chunk_bytes: how much is read at once: a multiple of 8.

    Every live object is among them. So are words that only look like one: memory that was
    freed and not yet used again, for example. Who uses an address proves it first.
    Memory that vanishes meanwhile is passed over: what it held is no longer live.

    Raises:
        TargetGone, NoPrivilege
    """
    wanted = wanted or holds_objects
    buffer = bytearray(chunk_bytes)
    mappings = process.maps()
    found = {type_: [np.empty(0, np.uint64)] for type_ in type_addresses}
    for mapping in mappings:
        if not wanted(mapping):
            continue
        end = before = 0  # the word before the chunk: an object's head may lie across the border
        for start, words in _chunks(process, mapping, buffer):
            if start != end:
                before = 0
            for type_, chunks in found.items():
                places = np.flatnonzero(words == type_)
                counts = words[places - 1]
                counts[places == 0] = before
                places = places[_may_be_a_count(counts, mappings)].astype(np.uint64)
                chunks.append(np.uint64(start) + places * np.uint64(_WORD_BYTES) - np.uint64(_TYPE_OFFSET_BYTES))
            end, before = start + words.nbytes, int(words[-1])
    return {type_: np.concatenate(chunks) for type_, chunks in found.items()}


def code_objects(process: Process, code_type_address: int) -> Addresses:
    """The addresses at which a code object may live; ``objects_of`` for the type ``PyCode_Type``."""
    return objects_of(process, (code_type_address,))[code_type_address]


def holds_objects(mapping: Mapping) -> bool:
    """Whether CPython may keep objects there: private and writable, and not the main stack.

    That includes the data of the interpreter's own file, where 3.11 and 3.12 keep the code of
    frozen modules (Python/deepfreeze/deepfreeze.c), some 770 objects.
    """
    return mapping.readable and mapping.writable and mapping.private and mapping.path not in _KERNELS


def _chunks(process: Process, mapping: Mapping, buffer: bytearray) -> Iterator[tuple[int, Addresses]]:
    """(address, words) of all that can be read of a mapping, in pieces of the buffer's size, which holds the words.

    Parts of it may be away by now, and come back: the kernel makes one mapping of the stack of a thread and the memory
    beside it.
    """
    at, tries = mapping.start, 0
    while at < mapping.end:
        size = min(len(buffer), mapping.end - at)
        count = process.read_into(at, memoryview(buffer)[:size]) // _WORD_BYTES
        if count:
            yield at, np.frombuffer(buffer, "<u8", count)
        at += count * _WORD_BYTES
        if count * _WORD_BYTES < size:
            tries = 0 if count else tries + 1
            there = (it for it in process.maps() if it.end > at and (it.start > at or tries < _TRIES))
            at = next((max(at, it.start) for it in there), mapping.end)


def _may_be_a_count(words: np.ndarray[Any, Any], mappings: list[Mapping]) -> np.ndarray[Any, Any]:
    """Whether each word can be the reference count of a live object: not 0, and no address.

    The count is the lower half from 3.12 on, with flags in the upper quarter from 3.14 on; so a
    count with flags is no mapped address either. Below 2^32 a number may well be both, where a
    non-PIE executable is mapped: it is let through.
    """
    starts = np.array([mapping.start for mapping in mappings], np.uint64)
    ends = np.array([0, *(mapping.end for mapping in mappings)], np.uint64)
    mapped = words < ends[np.searchsorted(starts, words, side="right")]
    large = words >= np.uint64(1 << 32)
    result: np.ndarray[Any, Any] = (words & np.uint64(0xFFFFFFFF) != 0) & ~(mapped & large)
    return result
