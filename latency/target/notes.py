"""ELF notes: the build id, and the USDT markers that SystemTap's ``sys/sdt.h`` leaves."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from latency.errors import MalformedImage

_HEADER = struct.Struct("<III")  # Elf64_Nhdr: size of the owner's name, of the description, type
_BUILD_ID_TYPE = 3  # NT_GNU_BUILD_ID
_MARKER_TYPE = 3  # STAPSDT_NOTE_TYPE
_MARKER_ADDRESSES = struct.Struct("<QQQ")  # of the probe, of .stapsdt.base at link time, of the semaphore
_ADDRESS_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Note:
    """One note. ``owner`` is its name without the final NUL."""

    owner: bytes
    type: int
    description: bytes


@dataclass(frozen=True, slots=True)
class Marker:
    """A USDT marker at one site (a marker may have several).

    ``address`` and ``semaphore`` are unrelocated; ``semaphore`` is 0 when there is none.
    ``semaphore_offset`` is the semaphore's place in the file in bytes (the kernel's
    ``ref_ctr_offset``), 0 when there is none. ``arguments`` is text such as ``"8@%rbx -4@%eax"``.
    """

    provider: str
    name: str
    address: int
    semaphore: int
    semaphore_offset: int
    arguments: str


def notes(data: bytes, align: int = 4) -> Iterator[Note]:
    """The notes in a note section or segment.

    Args:
        data: its contents.
        align: the section's alignment: names and descriptions are padded to 8 if it is 8, else to 4.

    Raises:
        MalformedImage: a note ends outside of the data.
    """
    unit = 8 if align == 8 else 4
    position = 0
    while position + _HEADER.size <= len(data):
        name_size, size, kind = _HEADER.unpack_from(data, position)
        name_start = position + _HEADER.size
        start = _round_up(name_start + name_size, unit)
        end = start + size
        if end > len(data):
            raise MalformedImage("a note reaches beyond its section")
        yield Note(data[name_start : name_start + name_size].rstrip(b"\0"), kind, data[start:end])
        position = _round_up(end, unit)


def build_id(data: bytes, align: int = 4) -> str:
    """The GNU build id among the notes, in hexadecimal; ``""`` if there is none."""
    for note in notes(data, align):
        if note.owner == b"GNU" and note.type == _BUILD_ID_TYPE:
            return note.description.hex()
    return ""


def markers(data: bytes, base: int | None) -> Iterator[Marker]:
    """The markers of a ``.note.stapsdt`` section, with ``semaphore_offset`` still 0.

    Args:
        data: its contents.
        base: the address of ``.stapsdt.base``. Prelinking moves code, yet not what notes say
            about it: the distance from the base that a note remembers corrects that. None if the
            section is missing: then the addresses are taken as they stand.

    Raises:
        MalformedImage: a note is cut short.
    """
    for note in notes(data):
        if note.owner != b"stapsdt" or note.type != _MARKER_TYPE:
            continue
        texts = note.description[_MARKER_ADDRESSES.size :].split(b"\0")
        if len(note.description) < _MARKER_ADDRESSES.size or len(texts) < 4:
            raise MalformedImage("a USDT note is cut short")
        address, linked_base, semaphore = _MARKER_ADDRESSES.unpack_from(note.description)
        moved = 0 if base is None else base - linked_base
        provider, name, arguments = (text.decode("utf-8", "backslashreplace") for text in texts[:3])
        yield Marker(
            provider=provider,
            name=name,
            address=address + moved & _ADDRESS_MASK,
            semaphore=semaphore + moved & _ADDRESS_MASK if semaphore else 0,
            semaphore_offset=0,
            arguments=arguments,
        )


def _round_up(number: int, unit: int) -> int:
    return (number + unit - 1) // unit * unit
