"""``.eh_frame_hdr``: where each fragment of machine code begins and ends.

The unwinder's table survives stripping, so it bounds functions that have no symbol, and the
``.cold`` parts that compilers move away from their functions. Format: Linux Standard Base,
"Exception Frames" (table), and DWARF's FDE for the length. pyelftools does not read this table,
and takes 2.6 s to read all records of an interpreter instead.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from latency.errors import MalformedImage

_HEADER = struct.Struct("<BBBBiI")  # version, three encodings, .eh_frame's address, number of entries
_VERSION = 1
# The only encodings that GNU ld, gold, lld and mold write: see DW_EH_PE_*.
_POINTER_RELATIVE_I4 = 0x1B
_COUNT_U4 = 0x03
_TABLE_RELATIVE_I4 = 0x3B
_ENTRY = np.dtype([("start", "<i4"), ("record", "<i4")])
# An FDE: length (4 bytes), CIE pointer (4), start, size. The CIE says how wide the last two are;
# the table already knows the start, so the width at which it reads right is the width.
_FDE_HEAD_BYTES = 8
_FDE_PROBE_BYTES = 24
_ADDRESS_MASK = (1 << 64) - 1


class CodeRanges:
    """The code fragments of an image.

    Args:
        header: the contents of ``.eh_frame_hdr``.
        address: its address.
        read: reads (address, size) from the image.

    Raises:
        MalformedImage: not a version 1 table in the usual encodings, or cut short.
    """

    def __init__(self, header: bytes, address: int, read: Callable[[int, int], bytes]) -> None:
        if len(header) < _HEADER.size:
            raise MalformedImage("its table of code ranges is cut short")
        version, pointer, count_encoding, table, _, count = _HEADER.unpack_from(header)
        if (version, pointer, count_encoding, table) != (_VERSION, _POINTER_RELATIVE_I4, _COUNT_U4, _TABLE_RELATIVE_I4):
            raise MalformedImage("its table of code ranges has an unknown encoding")
        if count > (len(header) - _HEADER.size) // _ENTRY.itemsize:
            raise MalformedImage("its table of code ranges is cut short")
        entries = np.frombuffer(header, _ENTRY, count, _HEADER.size)
        starts = entries["start"].astype(np.int64).view(np.uint64) + np.uint64(address)
        records = entries["record"].astype(np.int64).view(np.uint64) + np.uint64(address)
        order = np.argsort(starts, kind="stable")
        self.starts: np.ndarray[Any, Any] = starts[order]
        """The unrelocated start addresses, ascending (uint64)."""
        self._records = records[order]
        self._read = read

    def around(self, address: int) -> tuple[int, int] | None:
        """[start, end) of the fragment that contains ``address``; None if none does."""
        if not 0 <= address <= _ADDRESS_MASK:
            return None
        position = int(np.searchsorted(self.starts, np.uint64(address), side="right")) - 1
        if position < 0:
            return None
        start = int(self.starts[position])
        end = start + self._size(int(self._records[position]), start)
        return (start, end) if address < end else None

    def _size(self, record: int, start: int) -> int:
        data = self._read(record, _FDE_PROBE_BYTES)
        # Wide first: read narrow, a wide start looks right as well, but leaves a size of 0 or 2^32 - 1.
        far, size = struct.unpack_from("<QQ", data, _FDE_HEAD_BYTES)
        if start in (far, record + _FDE_HEAD_BYTES + far & _ADDRESS_MASK):
            return int(size)
        near, size = struct.unpack_from("<iI", data, _FDE_HEAD_BYTES)
        if record + _FDE_HEAD_BYTES + near == start:
            return int(size)
        raise MalformedImage(f"its unwind record at {record:#x} does not match the table of code ranges")
