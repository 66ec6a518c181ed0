"""Makes small ELF files in memory: what a test wants to read, and no more."""

from __future__ import annotations

import struct
from dataclasses import dataclass

PROGBITS, SYMTAB, STRTAB, RELA, HASH, DYNAMIC, NOTE, NOBITS, DYNSYM, RELR = 1, 2, 3, 4, 5, 6, 7, 8, 11, 19
GNU_HASH = 0x6FFFFFF6
WRITE, ALLOC, CODE = 1, 2, 4
EXEC, DYN = 2, 3
PAGE_BYTES = 4096
DATA_SHIFT = 0x1000
"""How much further the writable segment lies in memory than in the file."""

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_SHDR = struct.Struct("<IIQQQQIIQQ")
_PROGRAMS = 3


@dataclass
class Section:
    """A section to be laid out; ``link`` names another section."""

    name: str
    data: bytes
    type: int = PROGBITS
    flags: int = ALLOC
    link: str = ""
    info: int = 0
    align: int = 16
    address: int = 0
    offset: int = 0


class Elf:
    """Sections laid out in one read-execute and one writable segment, each in file order.

    ``address`` of a section is known once ``layout`` (or ``build``) was called, so that notes and
    relocations can be made from addresses: build twice, the sizes being the same.
    """

    def __init__(self, sections: list[Section], *, kind: int = DYN, machine: int = 62, base: int = 0) -> None:
        self.sections = sections
        self.kind = kind
        self.machine = machine
        self.base = base
        self.layout()

    def __getitem__(self, name: str) -> Section:
        return next(section for section in self.sections if section.name == name)

    def layout(self) -> None:
        place = _EHDR.size + _PROGRAMS * _PHDR.size
        groups = (
            [section for section in self.sections if section.flags & ALLOC and not section.flags & WRITE],
            [section for section in self.sections if section.flags & WRITE],
            [section for section in self.sections if not section.flags & ALLOC],
        )
        self.bounds = []
        for group, shift in zip(groups, (0, DATA_SHIFT, 0), strict=True):
            start = place
            for section in group:
                place = -(-place // section.align) * section.align
                section.offset = place
                section.address = self.base + place + shift if section.flags & ALLOC else 0
                place += len(section.data)
            self.bounds.append((start, place))
        self.end = place

    def build(self) -> bytes:
        self.layout()
        order = [Section("", b"", 0, 0), *self.sections]
        names = bytearray(b"\0")
        name_places = []
        for section in [*order, Section(".shstrtab", b"")]:
            name_places.append(len(names) if section.name else 0)
            if section.name:
                names += section.name.encode() + b"\0"
        order.append(Section(".shstrtab", bytes(names), STRTAB, 0, align=1, offset=self.end))
        headers = -(-(self.end + len(names)) // 8) * 8
        out = bytearray(headers)
        for section in order[1:]:
            out[section.offset : section.offset + len(section.data)] = section.data
        index = {section.name: number for number, section in enumerate(order)}
        for section, name in zip(order, name_places, strict=True):
            out += _SHDR.pack(
                name,
                section.type,
                section.flags,
                section.address,
                section.offset,
                len(section.data),
                index.get(section.link, 0) if section.link else 0,
                section.info,
                section.align if section.name else 0,
                0,
            )
        ident = b"\x7fELF\x02\x01\x01" + bytes(9)
        sizes = (_EHDR.size, _PHDR.size, _PROGRAMS, _SHDR.size, len(order), len(order) - 1)
        out[: _EHDR.size] = _EHDR.pack(ident, self.kind, self.machine, 1, 0, _EHDR.size, headers, 0, *sizes)
        out[_EHDR.size : _EHDR.size + _PROGRAMS * _PHDR.size] = self._programs()
        return bytes(out)

    def _programs(self) -> bytes:
        _, code_end = self.bounds[0]
        data_start, data_end = self.bounds[1]
        data_size = data_end - data_start
        note = next((section for section in self.sections if section.name == ".note.gnu.build-id"), None)
        headers = [
            _PHDR.pack(1, 5, 0, self.base, self.base, code_end, code_end, PAGE_BYTES),
            _PHDR.pack(
                1,
                6,
                data_start,
                self.base + data_start + DATA_SHIFT,
                0,
                data_size,
                data_size + 64,
                PAGE_BYTES,
            ),
        ]
        if note:
            size = len(note.data)
            headers.append(_PHDR.pack(4, 4, note.offset, note.address, 0, size, size, 4))
        else:
            headers.append(bytes(_PHDR.size))
        return b"".join(headers)


def note(owner: bytes, kind: int, description: bytes, align: int = 4) -> bytes:
    """One ELF note, padded."""
    name = owner + b"\0"
    head = struct.pack("<III", len(name), len(description), kind) + name
    head += bytes(-len(head) % align)
    return head + description + bytes(-len(description) % align)


def build_id(digest: bytes = bytes(range(20))) -> Section:
    """The section of a GNU build id."""
    return Section(".note.gnu.build-id", note(b"GNU", 3, digest), NOTE, align=4)


def marker(
    address: int, base: int = 0, semaphore: int = 0, provider: str = "python", name: str = "entry", args: str = "8@%rbx"
) -> bytes:
    """One USDT note."""
    texts = b"".join(text.encode() + b"\0" for text in (provider, name, args))
    return note(b"stapsdt", 3, struct.pack("<QQQ", address, base, semaphore) + texts)


def symbol_table(
    symbols: list[tuple[str, int, int, str]], *, name: str = ".dynsym", names: bytes = b""
) -> list[Section]:
    """A symbol table section and its string table, for (name, address, size, kind) each.

    ``kind`` is "func", "object", "notype", "undefined" or "local" (a local function). ``names`` is put in front of the
    string table, and symbols share its tails as linkers make them.
    """
    strings = bytearray(b"\0" + names)
    entries = bytearray(24)
    for symbol, address, size, kind in symbols:
        encoded = symbol.encode() + b"\0"
        place = strings.find(encoded)
        if place < 0:
            place = len(strings)
            strings += encoded
        binding = 0 if kind == "local" else 1
        type_ = {"object": 1, "func": 2, "local": 2}.get(kind, 0)
        entries += struct.pack(
            "<IBBHQQ", place, binding << 4 | type_, 0, 0 if kind == "undefined" else 1, address, size
        )
    dynamic = name == ".dynsym"
    strings_name = ".dynstr" if dynamic else ".strtab"
    flags = ALLOC if dynamic else 0
    return [
        Section(name, bytes(entries), DYNSYM if dynamic else SYMTAB, flags, link=strings_name, align=8),
        Section(strings_name, bytes(strings), STRTAB, flags, align=1),
    ]


def rela(entries: list[tuple[int, int, int]]) -> bytes:
    """A RELA table of (address, type, addend)."""
    return b"".join(struct.pack("<QQQ", address, kind, addend) for address, kind, addend in entries)
