"""``ElfFile``: the headers and notes of one ELF file, its bytes by file offset and by address.

pyelftools parses; it trusts the counts and sizes that a file claims, so it reads through a stream
with a budget, and whatever it then trips over is a MalformedImage. Every piece that is read
otherwise has a limit that no real file reaches. The file is read with pread, never mapped: one
that shrinks while it is looked at is then an error, not a SIGBUS.
Addresses are those of the file: for a load bias of 0.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TypeVar, cast

from elftools.common.utils import struct_parse
from elftools.elf.constants import P_FLAGS, SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.notes import iter_notes
from elftools.elf.sections import StringTableSection

from latency.errors import MalformedImage, TargetError, UnsupportedBuild
from latency.target.notes import Note

_File = TypeVar("_File", bound="ElfFile")

TABLE_LIMIT_BYTES = 64 << 20
"""The largest piece of a file that is read at once."""
_PARSED_LIMIT_BYTES = 1 << 20  # of one file in all; real ones need some 20 KB
_READ_COST_BYTES = 32  # what a smaller read is charged, for it costs time
_ADDRESS_LIMIT = 1 << 63
_WANTED = ("PT_LOAD", "PT_NOTE")


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
    """A section header; ``size`` in bytes, of which a NOBITS section has none in the file.

    ``type`` is as pyelftools spells it: ``"SHT_RELA"``, or the number of an unknown one.
    """

    name: str
    address: int
    offset: int
    size: int
    type: str
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
        self._stream = _Stream(fd)
        try:
            self.size = os.fstat(fd).st_size
            self._check_header()
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
        fd, self.fd, self._stream.fd = self.fd, -1, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self: _File) -> _File:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_stream"):
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

    @property
    def entry(self) -> int:
        """The address at which a program begins that this file is."""
        return int(self._elf["e_entry"])

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """What is loaded into memory (PT_LOAD)."""
        return tuple(segment for kind, segment in self._programs if kind == "PT_LOAD")

    @cached_property
    def note_segments(self) -> tuple[Segment, ...]:
        """Where the notes lie that are loaded (PT_NOTE)."""
        return tuple(segment for kind, segment in self._programs if kind == "PT_NOTE")

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """The section headers; empty when they are stripped."""
        # Not iter_sections: it parses whole hash tables, which can be large, and fails on any bad link.
        with self._parsing("its section headers"):
            headers = self._headers(self._elf.structs.Elf_Shdr, "e_sh", self._elf.num_sections())
            if not headers:
                return ()
            names = StringTableSection(headers[self._elf.get_shstrndx()], "", self._elf)
            return tuple(
                Section(
                    name=names.get_string(header["sh_name"]),
                    address=header["sh_addr"],
                    offset=header["sh_offset"],
                    size=header["sh_size"],
                    type=str(header["sh_type"]),
                    link=header["sh_link"],
                    allocated=bool(header["sh_flags"] & SH_FLAGS.SHF_ALLOC),
                )
                for header in headers
            )

    def section(self, name: str) -> Section | None:
        """The first section of this name; None if there is none (they may be stripped)."""
        return next((section for section in self.sections if section.name == name), None)

    def notes(self, place: Segment | Section) -> Iterator[Note]:
        """The notes in a segment or section. Raises MalformedImage if one reaches beyond it."""
        size = place.file_size if isinstance(place, Segment) else place.size
        with self._parsing("its notes"):
            for note in iter_notes(self._elf, place.offset, size):
                padding = -note["n_descsz"] % 4
                if note["n_offset"] + note["n_size"] - padding > min(place.offset + size, self.size):
                    raise self.malformed("a note reaches beyond its section")
                yield Note(note["n_name"] or "", str(note["n_type"]), note["n_descdata"])

    # -- inside ------------------------------------------------------------------------------

    def _check_header(self) -> None:
        with self._parsing("its header"):
            self._elf = ELFFile(cast("BinaryIO", self._stream))
        kind, machine = self._elf["e_type"], self._elf["e_machine"]
        if (self._elf.elfclass, self._elf.little_endian, machine) != (64, True, "EM_X86_64"):
            raise UnsupportedBuild(f"{self.name} is not for x86-64", "pylat knows x86-64 only")
        if kind not in ("ET_EXEC", "ET_DYN"):
            raise self.malformed("neither an executable nor a shared object")
        self.is_pie = kind == "ET_DYN"
        """Whether it can be loaded anywhere: a PIE, or a shared object."""

    @cached_property
    def _programs(self) -> list[tuple[str, Segment]]:
        """(type, program header) of each that is loaded or holds notes."""
        # Not iter_segments: that makes sections as well.
        with self._parsing("its program headers"):
            headers = self._headers(self._elf.structs.Elf_Phdr, "e_ph", self._elf.num_segments())
        return [(header["p_type"], self._segment(header)) for header in headers if header["p_type"] in _WANTED]

    def _segment(self, header: Any) -> Segment:
        segment = Segment(
            offset=header["p_offset"],
            address=header["p_vaddr"],
            file_size=header["p_filesz"],
            memory_size=header["p_memsz"],
            align=header["p_align"],
            readable=bool(header["p_flags"] & P_FLAGS.PF_R),
            writable=bool(header["p_flags"] & P_FLAGS.PF_W),
            executable=bool(header["p_flags"] & P_FLAGS.PF_X),
        )
        if segment.address + max(segment.memory_size, segment.file_size) > _ADDRESS_LIMIT:
            raise self.malformed(f"a segment at {segment.address:#x} that no address space holds")
        if segment.file_size and segment.offset + segment.file_size > self.size:
            raise self.malformed(f"the segment at {segment.address:#x} lies beyond the end of the file")
        return segment

    def _headers(self, layout: Any, prefix: str, count: int) -> list[Any]:
        start, step = self._elf[f"{prefix}off"], self._elf[f"{prefix}entsize"]
        return [struct_parse(layout, self._elf.stream, start + number * step) for number in range(count)]

    @contextmanager
    def _parsing(self, what: str) -> Iterator[None]:
        """Around all that pyelftools does: any exception of it means that the file cannot be right."""
        try:
            yield
        except (TargetError, MemoryError):
            raise
        except Exception as error:
            raise self.malformed(f"{what} cannot be parsed: {error}") from error


class _Stream:
    """A file as pyelftools reads it, until the budget is spent.

    Whatever loop a hostile file leads it into, every turn reads: so this bounds time and memory.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._position = 0
        self._left_bytes = _PARSED_LIMIT_BYTES

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> None:
        self._position = offset + (os.fstat(self.fd).st_size if whence == os.SEEK_END else 0)

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        self._left_bytes -= max(size, _READ_COST_BYTES)
        if self._left_bytes < 0:
            raise ValueError("too many or too large")
        data = os.pread(self.fd, size, self._position)
        self._position += len(data)
        return data
