"""Where objects are read from: the live process, or bytes that were captured at the moment of an event."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Protocol


class Unreadable(Exception):
    """There is no such object: the memory is gone, or what it holds cannot be right."""


class Spent(Exception):
    """A bound of ``Limits`` is reached: nothing more is read."""


class Memory(Protocol):
    """Anything that has bytes at addresses; ``Process`` is one."""

    def read_some(self, address: int, size: int) -> bytes:
        """The readable bytes from ``address`` on, at most ``size``: ``b""`` if there are none."""


class Captured:
    """Bytes as they were when they were captured, over a memory as it is now.

    Args:
        ranges: the captured bytes by the address they begin at; they do not overlap.
        beneath: what is asked for all other bytes; None if those are unreadable.
    """

    def __init__(self, ranges: Mapping[int, bytes], beneath: Memory | None = None) -> None:
        self._starts = sorted(ranges)
        self._ranges = ranges
        self._beneath = beneath

    def read_some(self, address: int, size: int) -> bytes:
        """The bytes from ``address`` on, at most ``size``: captured ones where there are, else those beneath."""
        parts: list[bytes] = []
        while size > 0:
            part, whole = self._part(address, size)
            parts.append(part)
            address += len(part)
            size -= len(part)
            if not whole:
                break
        return b"".join(parts)

    def _part(self, address: int, size: int) -> tuple[bytes, bool]:
        """(the bytes up to the next border of a range, whether reading may go on after them)."""
        index = bisect_right(self._starts, address)
        if index:
            start = self._starts[index - 1]
            captured = self._ranges[start]
            if address < start + len(captured):
                return captured[address - start : address - start + size], True
        if index < len(self._starts):
            size = min(size, self._starts[index] - address)
        below = b"" if self._beneath is None else self._beneath.read_some(address, size)
        return below, len(below) == size
