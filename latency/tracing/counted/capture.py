"""What ``bpf/capture.h`` took along at the moment of an event, laid over the process as it is later."""

from __future__ import annotations

import numpy as np

from latency.cpython.offsets import Offsets
from latency.cpython.values import Captured, Memory
from latency.cpython.values.memory import Spent
from latency.errors import TargetError

BLOCK = np.dtype([("address", "<u8"), ("size", "<u4"), ("object", "<u4")])
SNAPSHOT_BYTES, BLOCK_BYTES, QUEUED = 16384, 1024, 256
SNAPSHOT = np.dtype(
    [("bytes", "<u4"), ("blocks", "<u4"), ("stream", "u1", (SNAPSHOT_BYTES + BLOCK_BYTES + BLOCK.itemsize,))]
)
EXTENT = np.dtype(
    [(it, "<u8") for it in ("start", "size", "object", "follow", "mask", "array", "array_words", "keys", "values")]
)
WORKLIST = np.dtype(
    [
        ("queue", "<u8", (QUEUED,)),
        ("seen", "<u8", (QUEUED,)),
        *((name, "<u8") for name in ("head", "tail", "number")),
        ("extent", EXTENT),
    ]
)


def capture_flags(offsets: Offsets) -> dict[str, int]:
    """The compiler flags (``PYLAT_…``) that ``bpf/capture.h`` needs beside those of ``parameters.cflags``.

    Raises:
        UnsupportedBuild: the offsets lack a member.
    """
    return {
        "REFCNT_BYTES": 0 if offsets.free_threaded else offsets.size("object.refcnt"),
        "TYPE_BASICSIZE": offsets["type.basicsize"],
        "TYPE_FLAGS": offsets["type.flags"],
        "TYPE_CACHED_KEYS": offsets["heaptype.cached_keys"],
        "LONG_HAS_TAG": int("long.tag" in offsets),
        "UNICODE_COMPACT_DATA": offsets["unicode.compact_data"],
        "UNICODE_DATA": offsets["unicode.data_any"],
        "LIST_ITEMS": offsets["list.items"],
        "DICT_KEYS": offsets["dict.keys"],
        "DICT_VALUES": offsets["dict.values"],
        "KEYS_NENTRIES": offsets["keys.nentries"],
        "KEYS_SIZE": _or_absent(offsets.get("keys.size")),
        "KEYS_LOG2_INDEX_BYTES": _or_absent(offsets.get("keys.log2_index_bytes")),
        "KEYS_INDICES": offsets["keys.indices"],
        "ENTRY_BYTES": offsets["entry.sizeof"],
        "SET_MASK": offsets["set.mask"],
        "SET_TABLE": offsets["set.table"],
        "SET_BYTES": offsets["set.sizeof"],
        "MANAGED_DICT": offsets.get("object.managed_dict") or 0,
        "MANAGED_VALUES": offsets.get("object.managed_values") or 0,
        "VALUES_CAPACITY": _or_absent(offsets.get("values.capacity")),
        "VALUES_ITEMS": offsets.get("values.items") or 0,
    }


class Snapshot:
    """The memory of the moment, over a memory of later. It is a ``Memory``.

    Args:
        stream: of a ``struct pylat_snapshot``, the part in use.
        beneath: what is asked for everything that was not taken along.
        classes: from where classes are read, if not from there.

    Attributes:
        later: how often that was asked; whoever describes a value sets it to 0 before.
        classes: where classes are read.
        first: the bytes of the first block.
    """

    def __init__(self, stream: bytes, beneath: Memory | None, *, classes: Memory | None = None) -> None:
        self.later = 0
        # They are not taken along, and asking for them is no reading of values.
        self.classes = classes or beneath or self
        self._objects: dict[int, bytes] = {}
        self.first = b""
        blocks: list[tuple[int, bytes]] = []
        at = 0
        while at + BLOCK.itemsize <= len(stream):
            address = int.from_bytes(stream[at : at + 8], "little")
            size = int.from_bytes(stream[at + 8 : at + 12], "little")
            inside = int.from_bytes(stream[at + 12 : at + 16], "little")
            at += BLOCK.itemsize
            data = stream[at : at + size]
            at += size
            if inside:
                self._objects[address + inside - 1] = data[inside - 1 :]
            self.first = self.first or data
            blocks.append((address, data))
        self._memory = Captured(_apart(blocks), _Later(self, beneath))

    def read_some(self, address: int, size: int) -> bytes:
        """The bytes from ``address`` on, at most ``size``: those of the moment where there are, else those of later."""
        return self._memory.read_some(address, size)

    def head(self, address: int, size: int) -> bytes:
        """The first bytes of an object, at most ``size``: no more than are the object's own, if that is known."""
        known = self._objects.get(address)
        return self.read_some(address, size) if known is None else known[:size]


class _Later:
    """What was not taken along: it is counted that it was asked for."""

    def __init__(self, snapshot: Snapshot, beneath: Memory | None) -> None:
        self._snapshot = snapshot
        self._beneath = beneath

    def read_some(self, address: int, size: int) -> bytes:
        self._snapshot.later += 1
        return b"" if self._beneath is None else self._beneath.read_some(address, size)


class _Nothing:
    """Of what was not taken along nothing is known: a bound is reached there, and not the end of memory."""

    def read_some(self, address: int, size: int) -> bytes:
        """Raises Spent."""
        raise Spent


NOTHING: Memory = _Nothing()


class Quiet:
    """A process's memory, which holds nothing any more once the process has ended."""

    def __init__(self, process: Memory) -> None:
        self._process = process

    def read_some(self, address: int, size: int) -> bytes:
        """As ``Process.read_some``, but raises nothing."""
        try:
            return self._process.read_some(address, size)
        except TargetError:
            return b""


def _apart(blocks: list[tuple[int, bytes]]) -> dict[int, bytes]:
    """The blocks in order, without what several of them hold: all are of one moment."""
    found: dict[int, bytes] = {}
    end = 0
    for address, data in sorted(blocks, key=lambda block: (block[0], -len(block[1]))):
        if address < end:
            data = data[end - address :]
            address = end
        if data:
            found[address] = data
            end = address + len(data)
    return found


def _or_absent(offset: int | None) -> int:
    return -1 if offset is None else offset
