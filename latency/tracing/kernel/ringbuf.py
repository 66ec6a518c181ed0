"""Reading a BPF ring buffer through its memory mapping (Linux kernel/bpf/ringbuf.c, Documentation/bpf/ringbuf.rst)."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator

_POSITION = struct.Struct("<Q")
_HEADER = struct.Struct("<II")  # length with flags, page offset
_BUSY, _DISCARDED = 1 << 31, 1 << 30


class RingBuffer:
    """The consumer's side of one ring buffer.

    Args:
        fd: of the map.
        size_bytes: its ``max_entries``: a power of two, and a multiple of the page size.
    """

    def __init__(self, fd: int, size_bytes: int) -> None:
        page = mmap.PAGESIZE
        self._mask = size_bytes - 1
        self._consumer = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        # The data is mapped twice in a row behind the producer's page, so that no record is torn at the end.
        self._data = mmap.mmap(fd, page + 2 * size_bytes, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)

    def read(self) -> Iterator[bytes]:
        """The records that have come since, oldest first."""
        (consumed,) = _POSITION.unpack_from(self._consumer)
        while consumed < _POSITION.unpack_from(self._data)[0]:
            at = mmap.PAGESIZE + (consumed & self._mask)
            length, _ = _HEADER.unpack_from(self._data, at)
            if length & _BUSY:
                return  # reserved and not yet written
            size = length & ~(_BUSY | _DISCARDED)
            begin = at + _HEADER.size
            record = None if length & _DISCARDED else self._data[begin : begin + size]
            consumed += -(-(size + _HEADER.size) // 8) * 8
            _POSITION.pack_into(self._consumer, 0, consumed)
            if record is not None:
                yield record

    def close(self) -> None:
        """Unmap it."""
        self._consumer.close()
        self._data.close()
