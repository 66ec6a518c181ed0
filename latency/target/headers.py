"""``ElfFile``: the headers of one ELF file, its bytes by file offset and by address.

Every byte is untrusted: whatever cannot be right is a MalformedImage, and each piece that is
read has a limit that no real file reaches. The headers are parsed with numpy rather than with
pyelftools, which trusts counts that come from the file. The file is read with pread, never
mapped: one that shrinks while it is looked at is then an error, not a SIGBUS.
Addresses are those of the file: for a load bias of 0.
"""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from latency.errors import MalformedImage, TargetError, UnsupportedBuild

_File = TypeVar("_File", bound="ElfFile")

TABLE_LIMIT_BYTES = 64 << 20
"""The largest piece of a file that is read at once."""
_PROGRAMS_LIMIT = 128  # real files have about ten
_SECTIONS_LIMIT = 8192  # real files have about forty; more than this only object files
_ADDRESS_LIMIT = 1 << 63
_NAME_LIMIT_BYTES = 64

# Elf64_Ehdr, from e_type on; Elf64_Phdr; Elf64_Shdr.
_HEADER = struct.Struct("<HHIQQQIHHHHHH")
_IDENT_BYTES = 16
_PROGRAM = np.dtype(
    {
        "names": ["type", "flags", "offset", "address", "physical", "file_size", "memory_size", "align"],
        "formats": ["<u4", "<u4", "<u8", "<u8", "<u8", "<u8", "<u8", "<u8"],
    }
)
_SECTION = np.dtype(
    {
        "names": ["name", "type", "flags", "address", "offset", "size", "link", "info", "align", "entry_size"],
        "formats": ["<u4", "<u4", "<u8", "<u8", "<u8", "<u8", "<u4", "<u4", "<u8", "<u8"],
    }
)
_ELF64_LITTLE_ENDIAN = b"\x02\x01"  # ELFCLASS64, ELFDATA2LSB
_X86_64 = 62  # EM_X86_64
_EXECUTABLE, _SHARED = 2, 3  # ET_EXEC, ET_DYN
_LOAD, _NOTE = 1, 4  # PT_LOAD, PT_NOTE
_ALLOCATED = 2  # SHF_ALLOC
_EXTENDED = 0xFFFF  # SHN_XINDEX: the number stands in section 0


@dataclass(frozen=True, slots=True)
class Segment:
    """A program header; offset and sizes in bytes."""

    offset: int
    address: int
    file_size: int
    memory_size: int
    align: int
    readable: bool
    writable: bool
    executable: bool


@dataclass(frozen=True, slots=True)
class Section:
    """A section header; ``size`` in bytes, of which a NOBITS section has none in the file."""

    name: str
    address: int
    offset: int
    size: int
    type: int
    link: int
    allocated: bool


class ElfFile:
    """An x86-64 ELF executable or shared object.

    Args:
        fd: a readable descriptor of a regular file, which this object owns from now on.
        name: what messages call the file.

    Raises:
        MalformedImage: not an ELF file, or one that cannot be right.
        UnsupportedBuild: an ELF file of another machine.
    """

    machine = "x86_64"

    def __init__(self, fd: int, *, name: str = "") -> None:
        self.fd = fd
        self.name = name or f"descriptor {fd}"
        try:
            self.size = os.fstat(fd).st_size
            self._parse_header()
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls: type[_File], file: int | str | Path) -> _File:
        """The ELF file at a path, or behind a descriptor (then owned).

        Raises:
            TargetError: it cannot be opened, or is not a regular file.
            MalformedImage, UnsupportedBuild
        """
        if isinstance(file, int):
            return cls(file)
        try:
            fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except (OSError, ValueError) as error:
            reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
            raise TargetError(f"cannot open {file}: {reason}", "give the path of an ELF file") from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise TargetError(f"{file} is not a regular file", "give the path of an ELF file")
        return cls(fd, name=str(file))

    def close(self) -> None:
        """Close the descriptor."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self: _File) -> _File:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            self.close()

    def malformed(self, what: str) -> MalformedImage:
        """The error that says what is wrong with this file."""
        return MalformedImage(f"{self.name}: {what}", "the file is damaged, or made to mislead")

    # -- bytes -------------------------------------------------------------------------------

    def read_file(self, offset: int, size: int, *, limit: int = TABLE_LIMIT_BYTES) -> bytes:
        """Exactly ``size`` bytes at a file offset.

        Raises:
            MalformedImage: the file does not have them, or they are more than ``limit``.
        """
        if size > limit:
            raise self.malformed(f"a table of {size} bytes is too large")
        if offset < 0 or size < 0 or offset + size > self.size:
            raise self.malformed(f"{size} bytes at offset {offset:#x} lie beyond the end of the file")
        data = os.pread(self.fd, size, offset)
        if len(data) != size:
            raise self.malformed("it was cut short while it was read")
        return data

    def read(self, address: int, size: int) -> bytes:
        """The file's ``size`` bytes for an address. Raises MalformedImage outside of its contents."""
        segment = self.segment_at(address)
        if size > segment.address + segment.file_size - address:
            raise self.malformed(f"{size} bytes at {address:#x} lie beyond their segment's contents")
        return self.read_file(address - segment.address + segment.offset, size)

    def segment_at(self, address: int) -> Segment:
        """The segment whose file contents hold an address. Raises MalformedImage if none does."""
        for segment in self.segments:
            if segment.address <= address < segment.address + segment.file_size:
                return segment
        raise self.malformed(f"the file has nothing for the address {address:#x}")

    def offset_of(self, address: int) -> int:
        """The file offset of an address. Raises MalformedImage if the file does not hold it."""
        segment = self.segment_at(address)
        return address - segment.address + segment.offset

    def address_of(self, offset: int) -> int:
        """The address of a file offset. Raises MalformedImage if no segment loads it."""
        for segment in self.segments:
            if segment.offset <= offset < segment.offset + segment.file_size:
                return offset - segment.offset + segment.address
        raise self.malformed(f"no segment loads the file offset {offset:#x}")

    # -- headers -----------------------------------------------------------------------------

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """What is loaded into memory (PT_LOAD)."""
        return self._programs(_LOAD)

    @cached_property
    def note_segments(self) -> tuple[Segment, ...]:
        """Where the notes lie that are loaded (PT_NOTE)."""
        return self._programs(_NOTE)

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """The section headers; empty when they are stripped."""
        headers = self._section_headers()
        if not len(headers):
            return ()
        strings = self._names_index if self._names_index != _EXTENDED else int(headers[0]["link"])
        names = b""
        if strings < len(headers):
            names = self.read_file(int(headers[strings]["offset"]), int(headers[strings]["size"]))
        return tuple(
            Section(
                name=_section_name(names, int(header["name"])),
                address=int(header["address"]),
                offset=int(header["offset"]),
                size=int(header["size"]),
                type=int(header["type"]),
                link=int(header["link"]),
                allocated=bool(int(header["flags"]) & _ALLOCATED),
            )
            for header in headers
        )

    def section(self, name: str) -> Section | None:
        """The first section of this name; None if there is none (they may be stripped)."""
        return next((section for section in self.sections if section.name == name), None)

    def _parse_header(self) -> None:
        start = os.pread(self.fd, _IDENT_BYTES + _HEADER.size, 0)
        if start[:4] != b"\x7fELF":
            raise self.malformed("not an ELF file")
        if len(start) < _IDENT_BYTES + _HEADER.size:
            raise self.malformed("its header is cut short")
        kind, machine, _, _, self._programs_offset, self._sections_offset, _, _, *counts = _HEADER.unpack_from(
            start, _IDENT_BYTES
        )
        self._program_bytes, self._program_count, self._section_bytes, self._section_count, self._names_index = counts
        if start[4:6] != _ELF64_LITTLE_ENDIAN or machine != _X86_64:
            raise UnsupportedBuild(f"{self.name} is not for x86-64", "pylat knows x86-64 only")
        if kind not in (_EXECUTABLE, _SHARED):
            raise self.malformed("neither an executable nor a shared object")
        self.is_pie = kind == _SHARED
        """Whether it can be loaded anywhere: a PIE, or a shared object."""

    def _programs(self, kind: int) -> tuple[Segment, ...]:
        if self._program_count and self._program_bytes != _PROGRAM.itemsize:
            raise self.malformed(f"program headers of {self._program_bytes} bytes")
        headers = self._array(_PROGRAM, self._programs_offset, self._program_count, _PROGRAMS_LIMIT)
        found = tuple(
            Segment(
                offset=int(header["offset"]),
                address=int(header["address"]),
                file_size=int(header["file_size"]),
                memory_size=int(header["memory_size"]),
                align=int(header["align"]),
                readable=bool(header["flags"] & 4),
                writable=bool(header["flags"] & 2),
                executable=bool(header["flags"] & 1),
            )
            for header in headers[headers["type"] == kind]
        )
        for segment in found:
            if segment.address + max(segment.memory_size, segment.file_size) > _ADDRESS_LIMIT:
                raise self.malformed(f"a segment at {segment.address:#x} that no address space holds")
            if segment.file_size and segment.offset + segment.file_size > self.size:
                raise self.malformed(f"the segment at {segment.address:#x} lies beyond the end of the file")
        return found

    def _section_headers(self) -> np.ndarray[Any, Any]:
        if not self._sections_offset:
            return np.empty(0, _SECTION)
        if self._section_bytes != _SECTION.itemsize:
            raise self.malformed(f"section headers of {self._section_bytes} bytes")
        count = self._section_count or int(self._array(_SECTION, self._sections_offset, 1, 1)[0]["size"])
        return self._array(_SECTION, self._sections_offset, count, _SECTIONS_LIMIT)

    def _array(self, dtype: np.dtype[Any], offset: int, count: int, limit: int) -> np.ndarray[Any, Any]:
        return np.frombuffer(self.read_file(offset, count * dtype.itemsize, limit=limit * dtype.itemsize), dtype)


def _section_name(names: bytes, start: int) -> str:
    end = names.find(b"\0", start, start + _NAME_LIMIT_BYTES)
    return names[start : end if end >= 0 else start + _NAME_LIMIT_BYTES].decode("utf-8", "backslashreplace")
