"""``Image``: what an ELF file says about code: build id, symbols, markers, pointers, load bias.

Addresses are those of the file (a load bias of 0) unless said otherwise. A whole libpython
takes a few milliseconds: tables are searched as arrays, and only when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from latency.errors import UnsupportedBuild
from latency.target import relocations
from latency.target.headers import ElfFile, Section, Segment
from latency.target.maps import Mapping
from latency.target.notes import Marker, markers
from latency.target.symbols import Symbol, SymbolTable
from latency.target.unwind import CodeRanges

# No real file comes near these; they bound what a hostile one can cost in time and memory.
_RELOCATIONS_LIMIT_BYTES = 32 << 20
_PACKED_LIMIT_BYTES = 8 << 20
_PACKED_LIMIT_WORDS = 2 << 20
_CODE_RANGES_LIMIT_BYTES = 16 << 20
_SYMBOLS_LIMIT_BYTES = 64 << 20
_DYNAMIC_LIMIT_BYTES = 1 << 16
_NAME_LIMIT_BYTES = 4096
_DT_NEEDED, _DT_INIT, _DT_RPATH, _DT_RUNPATH = 1, 12, 15, 29  # System V ABI, dynamic section


class Image(ElfFile):
    """An x86-64 ELF executable or shared object. ``Image.open(path or descriptor)``."""

    def load_bias(self, mappings: Iterable[Mapping], *, entry: int = 0) -> int:
        """What a process added to the addresses of this file: 0 for a non-PIE executable.

        A page of its code may be mapped elsewhere once more, as libffi does for callbacks. The file is loaded where
        all of its segments are.

        Args:
            mappings: the mappings of this file (not of others) in the process.
            entry: where the process was started, if this is the file that it executes.

        Raises:
            UnsupportedBuild: its code is not mapped, or it is loaded at several places.
        """
        mappings = list(mappings)
        code = {bias for it in self.segments if it.executable for bias in _biases(it, mappings)}
        biases = code
        if len(code) > 1:
            all_of_it = (set(_biases(it, mappings)) for it in self.segments if it.file_size)
            written = [mapping for mapping in mappings if mapping.writable]
            biases = code.intersection(*all_of_it)
            biases &= {bias for it in self.segments if it.writable for bias in _biases(it, written)}
        if len(biases) > 1 and entry - self.entry in biases:
            biases = {entry - self.entry}
        if len(biases) != 1:
            raise UnsupportedBuild(
                f"the code of {self.name} is mapped at {len(code)} places, and loaded at {len(biases)} of them",
                "pylat needs an interpreter that is loaded once, from its file",
            )
        return biases.pop()

    # -- names -------------------------------------------------------------------------------

    def symbol(self, name: str) -> Symbol | None:
        """The defined symbol of this name: from ``.dynsym``, else from ``.symtab``."""
        for table in (self._dynamic_symbols, self._all_symbols):
            if table and (found := table.find(name)):
                return found
        return None

    def exported_symbol(self, name: str) -> Symbol | None:
        """The defined symbol of this name in ``.dynsym``: one that other files can be bound to."""
        return self._dynamic_symbols.find(name) if self._dynamic_symbols else None

    def symbols(self, names: Iterable[str]) -> dict[str, Symbol]:
        """Those of the symbols that are defined, by name."""
        return {name: found for name in names if (found := self.symbol(name))}

    def symbol_at(self, address: int) -> tuple[Symbol, int] | None:
        """The function symbol around an address and the offset into it, if symbols know it."""
        # The full table, when there is one, also knows local functions: it is asked first.
        for table in (self._all_symbols, self._dynamic_symbols):
            if table and (found := table.function_at(address)):
                return found
        return None

    @cached_property
    def build_id(self) -> str:
        """The GNU build id in hexadecimal, ``""`` if there is none."""
        for segment in self.note_segments:
            for note in self.notes(segment):
                if note.owner == "GNU" and note.type == "NT_GNU_BUILD_ID":
                    return note.description.hex()
        return ""

    def markers(self) -> list[Marker]:
        """The USDT markers, every site of each. Raises MalformedImage if one lies outside the code."""
        return list(self._markers)

    @cached_property
    def _markers(self) -> tuple[Marker, ...]:
        section = self.section(".note.stapsdt")
        if section is None:
            return ()
        base = self.section(".stapsdt.base")
        found = []
        for marker in markers(self.notes(section), base.address if base else None):
            if not self.segment_at(marker.address).executable:
                raise self.malformed(f"the USDT marker at {marker.address:#x} is not in its code")
            place = self.offset_of(marker.semaphore) if marker.semaphore else 0
            found.append(replace(marker, semaphore_offset=place))
        return tuple(found)

    def needed(self) -> tuple[list[str], list[str]]:
        """(the libraries that it needs, the folders in which it says that they lie, ``$ORIGIN`` as it is)."""
        section = self.section(".dynamic")
        if section is None or section.link >= len(self.sections):
            return [], []
        names = self._table(self.sections[section.link])
        found: dict[int, list[str]] = {tag: [] for tag in (_DT_NEEDED, _DT_RPATH, _DT_RUNPATH)}
        for tag, offset in self._dynamic_entries():
            if tag in found:
                text = names[offset : offset + _NAME_LIMIT_BYTES].partition(b"\0")[0]
                found[tag].append(text.decode("utf-8", "surrogateescape"))
        paths = found[_DT_RUNPATH] or found[_DT_RPATH]
        return found[_DT_NEEDED], [folder for path in paths for folder in path.split(":") if folder]

    def initialization(self) -> int | None:
        """Where the linker begins to run it, when it has relocated it; None where the file does not say."""
        return next((address for tag, address in self._dynamic_entries() if tag == _DT_INIT), None)

    # -- pointers and code -------------------------------------------------------------------

    def relative_relocations(self) -> np.ndarray[Any, Any]:
        """All relative relocations by ascending address: an array of ``relocations.RELATIVE``.

        Raises:
            MalformedImage: the tables are too large, or lie outside of the file or its segments.
        """
        return self._relocations

    def pointers(self, address: int, count: int) -> np.ndarray[Any, Any]:
        """``count`` 8-byte words at an address as they are after relocation (uint64).

        Raises:
            MalformedImage: the file does not hold them.
        """
        words: np.ndarray[Any, Any] = np.frombuffer(self.read(address, count * 8), "<u8").copy()
        table = self._relocations
        first, last = np.searchsorted(table["address"], np.array([address, address + count * 8], np.uint64))
        within = table[first:last]
        places = (within["address"] - np.uint64(address)).astype(np.int64)
        aligned = places % 8 == 0
        words[places[aligned] // 8] = within["value"][aligned]
        return words

    def bound_symbol(self, address: int) -> Symbol | None:
        """The symbol of this file that a word is bound to when it is loaded (a slot of the global offset table); None
        for any other word, and where another file has the symbol. Another file can still come before this one."""
        table = self._dynamic_symbols if 0 <= address < 1 << 64 else None
        place = int(np.searchsorted(self._bound["address"], np.uint64(address))) if table else 0
        if table is None or place == len(self._bound) or self._bound["address"][place] != address:
            return None
        return table.numbered(int(self._bound["symbol"][place]))

    def code_range(self, address: int) -> tuple[int, int] | None:
        """[start, end) of the code fragment (function, or ``.cold`` part) around an address.

        From the unwinder's table, which survives stripping; None when it does not know.
        """
        return self.code_ranges.around(address) if self.code_ranges else None

    @cached_property
    def code_ranges(self) -> CodeRanges | None:
        """All code fragments; None without ``.eh_frame_hdr``."""
        section = self.section(".eh_frame_hdr")
        if section is None or section.type == "SHT_NOBITS":
            return None
        data = self.read_file(section.offset, section.size, limit=_CODE_RANGES_LIMIT_BYTES)
        return CodeRanges(data, section.address, self.read)

    # -- inside ------------------------------------------------------------------------------

    def _dynamic_entries(self) -> list[list[int]]:
        section = self.section(".dynamic")
        if section is None or section.type != "SHT_DYNAMIC":
            return []
        data = self.read_file(section.offset, section.size, limit=_DYNAMIC_LIMIT_BYTES)
        entries: list[list[int]] = np.frombuffer(data, "<u8", len(data) // 16 * 2).reshape(-1, 2).tolist()
        return entries

    @cached_property
    def _dynamic_symbols(self) -> SymbolTable | None:
        return self._symbol_table(".dynsym")

    @cached_property
    def _all_symbols(self) -> SymbolTable | None:
        return self._symbol_table(".symtab")

    def _symbol_table(self, name: str) -> SymbolTable | None:
        section = self.section(name)
        if section is None or section.type == "SHT_NOBITS":  # a file of debug information alone
            return None
        if section.link >= len(self.sections):
            raise self.malformed(f"{name} has no string table")
        strings = self.sections[section.link]
        return SymbolTable(self._table(section), self._table(strings))

    def _table(self, section: Section) -> bytes:
        return self.read_file(section.offset, section.size, limit=_SYMBOLS_LIMIT_BYTES)

    @cached_property
    def _relocations(self) -> np.ndarray[Any, Any]:
        tables = [np.empty(0, relocations.RELATIVE)]
        left, packed_left = _RELOCATIONS_LIMIT_BYTES, _PACKED_LIMIT_BYTES
        for section in self.sections:
            if section.allocated and section.type == "SHT_RELA":
                tables.append(relocations.from_rela(self.read_file(section.offset, section.size, limit=left)))
                left -= section.size
            elif section.allocated and section.type == "SHT_RELR":
                data = self.read_file(section.offset, section.size, limit=packed_left)
                addresses = relocations.relr_addresses(data, limit=_PACKED_LIMIT_WORDS)
                tables.append(self._with_values(addresses))
                packed_left -= section.size
        merged = np.concatenate(tables)
        ordered: np.ndarray[Any, Any] = merged[np.argsort(merged["address"], kind="stable")]
        return ordered

    @cached_property
    def _bound(self) -> np.ndarray[Any, Any]:
        tables = [np.empty(0, relocations.BOUND)]
        left = _RELOCATIONS_LIMIT_BYTES
        for section in self.sections:
            if section.allocated and section.type == "SHT_RELA":
                tables.append(relocations.bound(self.read_file(section.offset, section.size, limit=left)))
                left -= section.size
        merged = np.concatenate(tables)
        ordered: np.ndarray[Any, Any] = merged[np.argsort(merged["address"], kind="stable")]
        return ordered

    def _with_values(self, addresses: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """RELATIVE entries for RELR addresses, whose values stand in the segments."""
        found = np.empty(len(addresses), relocations.RELATIVE)
        found["address"] = addresses
        seen = 0
        for segment in self.segments:
            ends = np.array([segment.address, segment.address + max(segment.file_size - 7, 0)], np.uint64)
            first, last = np.searchsorted(addresses, ends)
            if first == last:
                continue
            octets = np.frombuffer(self.read_file(segment.offset, segment.file_size), np.uint8)
            places = (addresses[first:last] - np.uint64(segment.address)).astype(np.int64)
            values = np.zeros(len(places), np.uint64)
            for octet in range(8):  # one octet at a time: an address need not be aligned
                values |= octets[places + octet].astype(np.uint64) << np.uint64(8 * octet)
            found["value"][first:last] = values
            seen += len(places)
        if seen != len(addresses):
            raise self.malformed("its packed relocations lie outside of its segments")
        return found


def _biases(segment: Segment, mappings: Iterable[Mapping]) -> Iterator[int]:
    """What was added to the addresses of a segment, by each mapping that holds some of it."""
    end = segment.offset + segment.file_size
    for mapping in mappings:
        holds = mapping.offset < end and segment.offset < mapping.offset + mapping.size
        if holds and (mapping.executable or not segment.executable):
            yield mapping.start - (segment.address - segment.offset + mapping.offset)
