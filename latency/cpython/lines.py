"""The line at which a frame stands, as its own ``f_lineno`` says it (CPython 3.6 to 3.15).

From 3.11 on ``co_linetable`` is a list of locations (Objects/locations.md, Objects/codeobject.c); in 3.10 one of line
deltas with gaps (Objects/lnotab_notes.txt, PEP 626); to 3.9 ``co_lnotab`` is one of line deltas.
"""

from __future__ import annotations

from latency.cpython.offsets import Offsets

_UNIT_BYTES = 2
_LAST_LINE = (1 << 31) - 1  # an int; a table may say anything
_NO_LINE_DELTA = -128  # 3.10
# Codes of a location, 3.11 and later (enum _PyCodeLocationInfoKind); 0 to 9 are short forms, on the same line.
_ONE_LINE_0, _ONE_LINE_2, _NO_COLUMNS, _LONG, _NONE = 10, 12, 13, 14, 15


def line_of(
    table: bytes, offsets: Offsets, *, code: int, first_line: int, instruction: int, whole: bool = True
) -> int | None:
    """The line of an instruction, or None if it has none, or if the table does not tell.

    Args:
        table: ``co_linetable`` or ``co_lnotab``, or its beginning.
        code: address of the code object.
        first_line: ``co_firstlineno``.
        instruction: what the frame says of where it stands: ``f_lasti`` (to 3.10), ``prev_instr`` or ``instr_ptr``.
        whole: whether the table is all there.
    """
    if "frame.lasti" in offsets:
        lasti = instruction - (1 << 32) if instruction >> 31 else instruction  # an int
        at = lasti if "code.lnotab" in offsets else lasti * _UNIT_BYTES
    else:
        at = instruction - code - offsets["code.code_adaptive"]
    if at < 0:
        return first_line if at == -_UNIT_BYTES or "frame.lasti" in offsets else None
    if "code.lnotab" in offsets:
        line = _by_lnotab(table, first_line, at, whole=whole)
    elif "frame.lasti" in offsets:
        line = _by_deltas(table, first_line, at)
    else:
        line = _by_locations(table, first_line, at)
    return line if line and 0 < line <= _LAST_LINE else None


def _by_lnotab(table: bytes, line: int, at: int, *, whole: bool) -> int | None:
    address = 0
    for bytes_, delta in zip(table[::2], table[1::2], strict=False):
        address += bytes_
        if address > at:
            return line
        line += _signed(delta)
    return line if whole else None


def _by_deltas(table: bytes, line: int, at: int) -> int | None:
    end = 0
    for bytes_, unsigned in zip(table[::2], table[1::2], strict=False):
        end += bytes_
        delta = _signed(unsigned)
        if delta != _NO_LINE_DELTA:
            line += delta
        if at < end:
            return None if delta == _NO_LINE_DELTA else line
    return None


def _by_locations(table: bytes, line: int, at: int) -> int | None:
    end = place = 0
    while place < len(table):
        head = table[place]
        kind = head >> 3 & 15
        end += ((head & 7) + 1) * _UNIT_BYTES
        delta = 0
        if kind in (_NO_COLUMNS, _LONG):
            number = _varint(table, place + 1)
            if number is None:
                return None
            delta = -(number >> 1) if number & 1 else number >> 1
        elif _ONE_LINE_0 <= kind <= _ONE_LINE_2:
            delta = kind - _ONE_LINE_0
        line += delta
        if at < end:
            return None if kind == _NONE else line
        place += 1
        while place < len(table) and not table[place] & 0x80:  # the first byte of an entry has its highest bit set
            place += 1
    return None


def _varint(table: bytes, place: int) -> int | None:
    """Six bits to a byte, the lowest first; bit 6 says that more follow. None if the table ends before it does."""
    value = shift = 0
    while place < len(table):
        byte = table[place]
        value |= (byte & 63) << shift
        shift += 6
        place += 1
        if not byte & 64:
            return value
    return None


def _signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte
