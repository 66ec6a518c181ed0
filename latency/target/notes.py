"""ELF notes, and the USDT markers that SystemTap's ``sys/sdt.h`` leaves in them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from latency.errors import MalformedImage

_MARKER_ADDRESSES = struct.Struct("<QQQ")  # of the probe, of .stapsdt.base at link time, of the semaphore
_ADDRESS_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Note:
    """One note. ``type`` is as pyelftools spells the numbers of the owner GNU: ``"NT_GNU_BUILD_ID"``."""

    owner: str
    type: str
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


def markers(notes: Iterable[Note], base: int | None) -> Iterator[Marker]:
    """The markers of a ``.note.stapsdt`` section, with ``semaphore_offset`` still 0.

    Args:
        notes: its notes.
        base: the address of ``.stapsdt.base``. Prelinking moves code, yet not what notes say
            about it: the distance from the base that a note remembers corrects that. None if the
            section is missing: then the addresses are taken as they stand.

    Raises:
        MalformedImage: a note is cut short.
    """
    for note in notes:
        if note.owner != "stapsdt":
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
