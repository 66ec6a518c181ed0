"""Text out of a target: ``str`` objects, wherever their characters lie (PEP 393: CPython 3.6 to 3.15).

Nothing is believed: a length may be wild, a type no type, a character no character.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from latency.cpython.offsets import Offsets
from latency.target.process import Process
from latency.target.vm import Bytes, Words

LIMIT = 10_000
"""Characters after which a name is cut."""
CUT = "…"
"""The end of a text that was cut."""
AT_ONCE = 1 << 12
"""Objects whose memory is read together: a megabyte at most, which stays in the cache until it was looked at."""

# Py_TPFLAGS_…_SUBCLASS of PyTypeObject.tp_flags (Include/object.h): the class itself has its flag too.
TUPLE_SUBCLASS = 1 << 26
_SUBCLASSES, _READY = 0xFF << 24, 1 << 12
UNICODE_SUBCLASS = 1 << 28

_FIRST_BYTES = 192  # the object, and all of the text of most names
_REST_BYTES = 64 << 20  # what longer texts may take in one batch; a target could claim much more
_LONGEST = 1 << 40  # characters: no machine holds such a string


class _Text(NamedTuple):
    """What the head of a ``str`` says: characters, bytes of each, and where in the object they begin."""

    length: int
    kind: int
    start: int | None  # None: elsewhere, where PyUnicodeObject.data.any points to


@dataclass(frozen=True)
class _Layout:
    """The offsets of a ``str``, at hand: they are looked up once for thousands of names."""

    length: int
    state: int
    ascii_data: int
    compact_data: int
    data_any: int
    kind: int

    @classmethod
    def of(cls, offsets: Offsets) -> _Layout:
        names = ("length", "state", "ascii_data", "compact_data", "data_any")
        places = {name: offsets[f"unicode.{name}"] for name in names}
        return cls(**places, kind=offsets.string_kind)

    def text(self, raw: bytes) -> _Text | None:
        if len(raw) < self.ascii_data:
            return None
        length = int.from_bytes(raw[self.length : self.length + 8], "little", signed=True)
        # PyASCIIObject.state, from the lowest bit: interned:2 (or :8), kind:3, compact:1, ascii:1 (3.6 to
        # 3.15). Kind 0 is a string that is not ready yet, to 3.11.
        state = int.from_bytes(raw[self.state : self.state + 2], "little") >> self.kind << 2
        kind, compact, ascii_ = state >> 2 & 7, state >> 5 & 1, state >> 6 & 1
        if kind not in (1, 2, 4) or (ascii_ and kind != 1) or not 0 <= length < _LONGEST:
            return None
        if not compact:
            return _Text(length, kind, None)
        return _Text(length, kind, self.ascii_data if ascii_ else self.compact_data)

    def plain(self, table: Bytes, limit: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Where in each row the text begins and ends, of those that are whole there with one byte for a character;
        of all others the end is beyond all rows."""
        lengths = column(table, self.length, 8)
        state = column(table, self.state, 2) >> np.uint16(self.kind) << np.uint16(2)
        ascii_ = state >> 6 & 1 == 1
        plain = (state >> 2 & 7 == 1) & (state >> 5 & 1 == 1) & (lengths <= min(limit, _FIRST_BYTES))
        begins = np.where(ascii_, self.ascii_data, self.compact_data)
        return begins, np.where(plain, begins + np.where(plain, lengths, 0).astype(np.int64), _LONGEST)


def decode(raw: bytes, offsets: Offsets) -> str | None:
    """The text of a compact ``str`` from the memory of the object itself: its head and as much text as there is.

    ``raw`` may be longer than the object. A text that does not fit ends with ``CUT``. None if it is no string, or if
    its text lies elsewhere (an instance of a subclass of ``str``).
    """
    text = _Layout.of(offsets).text(raw)
    if text is None or text.start is None:
        return None
    return _characters(raw[text.start :], text)


def read_string(process: Process, address: int, offsets: Offsets, *, limit: int = LIMIT) -> str | None:
    """The ``str`` at ``address``, cut after ``limit`` characters; None if there is none.

    Raises:
        TargetGone, NoPrivilege
    """
    return read_strings(process, [address], offsets, limit=limit).get(address)


def read_strings(process: Process, addresses: Iterable[int], offsets: Offsets, *, limit: int = LIMIT) -> dict[int, str]:
    """By address, the text of each ``str`` among the addresses: in batches, some 2 µs each.

    Texts are cut after ``limit`` characters, and all further long ones early once they take 64 MB together.

    Raises:
        TargetGone, NoPrivilege
    """
    unique = distinct(addresses if isinstance(addresses, np.ndarray) else np.fromiter(addresses, np.uint64))
    found: dict[int, str] = {}
    left_bytes = _REST_BYTES
    for begin in range(0, len(unique), AT_ONCE):
        left_bytes = _read_some(process, unique[begin : begin + AT_ONCE], offsets, limit, found, left_bytes)
    return found


def _read_some(
    process: Process, unique: Words, offsets: Offsets, limit: int, found: dict[int, str], left_bytes: int
) -> int:
    """Adds the texts of some of them to those that were found; how many bytes are left for long ones."""
    layout = _Layout.of(offsets)
    table, good = process.read_table(unique, _FIRST_BYTES)
    place = offsets["object.type"]
    types = column(table, place, 8)
    whole = good.copy()
    # An object that lies at the end of its mapping is shorter than what was asked for.
    short = {int(unique[row]): process.read_some(int(unique[row]), _FIRST_BYTES) for row in np.flatnonzero(~good)}
    short_types = {address: int.from_bytes(raw[place : place + 8], "little") for address, raw in short.items()}
    strings = types_with(process, {*distinct(types[good]).tolist(), *short_types.values()}, UNICODE_SUBCLASS, offsets)
    whole &= among(types, distinct(np.fromiter(strings, np.uint64)))
    begins, ends = layout.plain(table, limit)
    plain = whole & (ends <= _FIRST_BYTES)
    rows = np.flatnonzero(plain)
    starts = (rows * _FIRST_BYTES).tolist()
    text_of_all = table.tobytes().decode("latin-1")
    bounds = zip(starts, begins[rows].tolist(), ends[rows].tolist(), strict=True)
    texts = [text_of_all[at + begin : at + end] for at, begin, end in bounds]
    found.update(zip(unique[rows].tolist(), texts, strict=True))

    other = {int(unique[row]): table[row].tobytes() for row in np.flatnonzero(whole & ~plain)}
    other.update((address, raw) for address, raw in short.items() if short_types[address] in strings)
    for address, raw in other.items():
        text = layout.text(raw)
        if text is None:
            continue
        size = min(text.length, limit) * text.kind
        data = b"" if text.start is None else raw[text.start : text.start + size]
        if len(data) < size and left_bytes > 0:
            data = process.read_some(_place(address, raw, text, layout), min(size, left_bytes))
            left_bytes -= len(data)
        decoded = _characters(data, text) if data or not size else None
        if decoded is not None:
            found[address] = decoded
    return left_bytes


def distinct(numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Each of them once, ascending: ``np.unique``, which for large arrays is several times slower since NumPy 2.3."""
    numbers = np.sort(numbers)
    return numbers[np.concatenate(([True], numbers[1:] != numbers[:-1]))] if len(numbers) else numbers


def among(numbers: np.ndarray[Any, Any], known: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Which of them are in an ascending array: ``np.isin``, likewise."""
    if not len(known):
        return np.zeros(len(numbers), np.bool_)
    places = np.minimum(np.searchsorted(known, numbers), len(known) - 1)
    found: np.ndarray[Any, Any] = known[places] == numbers
    return found


def column(table: Bytes, offset: int, size: int) -> np.ndarray[Any, Any]:
    """A member of each row's object: unsigned numbers of ``size`` bytes."""
    found: np.ndarray[Any, Any] = in_place(table, offset, size).copy()
    return found


def in_place(table: Bytes, offset: int, size: int) -> np.ndarray[Any, Any]:
    """The same where it lies in the table, whose memory it keeps."""
    found: np.ndarray[Any, Any] = table[:, offset : offset + size].view(f"<u{size}")[:, 0]
    return found


def types_with(process: Process, types: Collection[int], flag: int, offsets: Offsets) -> frozenset[int]:
    """Those of the addresses at which a type lies that has this one of the ``Py_TPFLAGS_*_SUBCLASS`` in ``tp_flags``.

    It has it alone, is ready, and has no bits beyond those that exist: else chance would make types of other memory.
    """
    place, size = offsets["type.flags"], offsets.size("type.flags")
    flags = process.read_many([address + place for address in types], size)
    told = ((address, int.from_bytes(raw or b"", "little")) for address, raw in zip(types, flags, strict=True))
    return frozenset(
        address for address, bits in told if bits & _SUBCLASSES == flag and bits & _READY and not bits >> 32
    )


def _place(address: int, raw: bytes, text: _Text, layout: _Layout) -> int:
    """Where the characters lie; 0, where nothing can be read, if the object does not say."""
    if text.start is not None:
        return address + text.start
    return int.from_bytes(raw[layout.data_any : layout.data_any + 8], "little")


def _characters(data: bytes, text: _Text) -> str | None:
    """The text that begins with ``data``; None if that is no text."""
    count = min(len(data) // text.kind, text.length)
    if text.kind == 1:
        found = data[:count].decode("latin-1")
    else:
        try:
            # Not as UTF-16 or UTF-32: two lone surrogates are two characters here, and remain so.
            found = "".join(map(chr, memoryview(data[: count * text.kind]).cast("H" if text.kind == 2 else "I")))
        except (ValueError, OverflowError):
            return None
    return found if count == text.length else found + CUT
