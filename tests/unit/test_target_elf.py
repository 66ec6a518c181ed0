"""``Image``: what an ELF file says, made-up files and real ones."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile  # noqa: TID251 - the second opinion
from elftools.elf.sections import SymbolTableSection  # noqa: TID251

from latency.errors import MalformedImage, TargetError, UnsupportedBuild
from latency.target.elf import Image
from latency.target.headers import Segment
from latency.target.maps import Mapping
from latency.target.process import Process
from tests.unit import elf_builder
from tests.unit.elf_builder import ALLOC, CODE, DATA_SHIFT, DYN, EXEC, RELA, RELR, WRITE, Elf, Section


def text() -> Section:
    return Section(".text", b"\xc3" * 64, flags=ALLOC | CODE)


def data(content: bytes = bytes(256), name: str = ".data") -> Section:
    return Section(name, content, flags=ALLOC | WRITE)


@pytest.fixture
def image(tmp_path: Path) -> Callable[[Elf | bytes], Image]:
    def make(elf: Elf | bytes) -> Image:
        path = tmp_path / "image"
        path.write_bytes(elf.build() if isinstance(elf, Elf) else elf)
        return Image.open(path)

    return make


Make = Callable[[Elf | bytes], Image]


def mapping(start: int, size: int, offset: int, *, executable: bool = True) -> Mapping:
    return Mapping(start, start + size, True, not executable, executable, True, offset, "08:01", 1, "/image")


# -- headers -------------------------------------------------------------------------------------


def test_a_shared_object_can_be_loaded_anywhere(image: Make) -> None:
    assert image(Elf([text()], kind=DYN)).is_pie
    assert not image(Elf([text()], kind=EXEC)).is_pie


def test_segments_keep_their_rights(image: Make) -> None:
    code, writable = image(Elf([text(), data()])).segments
    assert (code.readable, code.writable, code.executable) == (True, False, True)
    assert (writable.readable, writable.writable, writable.executable) == (True, True, False)


def test_addresses_and_file_offsets_are_each_others_inverse(image: Make) -> None:
    elf = Elf([text(), data()], base=0x400000)
    it = image(elf)
    assert it.offset_of(elf[".text"].address) == elf[".text"].offset
    assert it.offset_of(elf[".data"].address + 8) == elf[".data"].offset + 8
    assert it.address_of(elf[".data"].offset) == elf[".data"].address == elf[".data"].offset + 0x400000 + DATA_SHIFT


def test_contents_are_read_by_address(image: Make) -> None:
    elf = Elf([text(), data(b"abcdefgh")])
    assert image(elf).read(elf[".data"].address + 2, 3) == b"cde"


def test_zeroed_memory_is_not_contents(image: Make) -> None:
    elf = Elf([text(), data(b"abcdefgh")])
    with pytest.raises(MalformedImage):
        image(elf).read(elf[".data"].address + 8, 1)
    with pytest.raises(MalformedImage):
        image(elf).read(elf[".data"].address + 4, 8)


def test_a_file_without_section_headers_has_no_names_but_its_build_id(image: Make) -> None:
    content = bytearray(
        Elf([text(), elf_builder.build_id(), *elf_builder.symbol_table([("main", 1, 1, "func")])]).build()
    )
    content[40:48] = bytes(8)  # e_shoff
    it = image(bytes(content))
    assert (it.sections, it.symbol("main"), it.markers()) == ((), None, [])
    assert it.build_id == bytes(range(20)).hex()


def test_a_file_without_a_build_id_has_the_empty_one(image: Make) -> None:
    assert image(Elf([text()])).build_id == ""


@pytest.mark.parametrize("machine", [3, 183, 243, 0])
def test_another_machine_is_refused_as_such(image: Make, machine: int) -> None:
    with pytest.raises(UnsupportedBuild, match="x86-64"):
        image(Elf([text()], machine=machine))


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"#!/bin/sh\n", b"\x7fELF\x02\x01\x01" + bytes(40)])
def test_what_is_no_elf_file_is_malformed(image: Make, content: bytes) -> None:
    with pytest.raises(MalformedImage):
        image(content)


def test_a_path_that_leads_to_no_file_is_an_error_of_ours(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "missing", tmp_path, tmp_path / "fifo", Path("/dev/null")):
        with pytest.raises(TargetError):
            Image.open(path)


def test_a_refused_file_leaves_no_descriptor_open(image: Make, tmp_path: Path) -> None:
    def leading_there() -> list[Path]:
        """Of this process's, among which others may come and go meanwhile."""
        return [it for it in Path("/proc/self/fd").iterdir() if it.exists() and it.resolve() == tmp_path / "image"]

    with pytest.raises(MalformedImage):
        image(b"no")
    assert not leading_there()
    with open(tmp_path / "image", "rb"):
        assert leading_there()


# -- symbols -------------------------------------------------------------------------------------

SYMBOLS = [
    ("PyCode_Type", 0x2000, 416, "object"),
    ("Py_GetVersion", 0x1000, 61, "func"),
    ("Version", 0x1100, 16, "func"),
    ("memcpy", 0, 0, "undefined"),
]


def test_a_symbol_is_found_with_its_kind(image: Make) -> None:
    it = image(Elf([text(), *elf_builder.symbol_table(SYMBOLS)]))
    found = it.symbol("PyCode_Type")
    assert found is not None
    assert (found.name, found.address, found.size, found.kind) == ("PyCode_Type", 0x2000, 416, "object")


def test_a_symbol_whose_name_is_the_tail_of_another_is_found(image: Make) -> None:
    # "Version" shares the string "Py_GetVersion"
    found = image(Elf([text(), *elf_builder.symbol_table(SYMBOLS)])).symbol("Version")
    assert found is not None
    assert (found.name, found.address) == ("Version", 0x1100)


@pytest.mark.parametrize("name", ["memcpy", "PyCode", "Code_Type", "", "no such"])
def test_undefined_symbols_and_parts_of_names_are_not_found(image: Make, name: str) -> None:
    assert image(Elf([text(), *elf_builder.symbol_table(SYMBOLS)])).symbol(name) is None


def test_the_dynamic_table_is_asked_before_the_full_one(image: Make) -> None:
    tables = [
        *elf_builder.symbol_table([("both", 1, 0, "func")]),
        *elf_builder.symbol_table([("both", 2, 0, "func"), ("hidden", 3, 0, "local")], name=".symtab"),
    ]
    found = image(Elf([text(), *tables])).symbols(["both", "hidden", "neither"])
    assert {name: symbol.address for name, symbol in found.items()} == {"both": 1, "hidden": 3}


def test_only_the_dynamic_table_exports(image: Make) -> None:
    it = image(Elf([text(), *elf_builder.symbol_table([("inner", 3, 0, "func")], name=".symtab")]))
    assert it.symbol("inner")
    assert it.exported_symbol("inner") is None


def test_a_global_symbol_goes_before_a_local_one_of_the_same_name(image: Make) -> None:
    found = image(Elf([text(), *elf_builder.symbol_table([("f", 1, 0, "local"), ("f", 2, 0, "func")])])).symbol("f")
    assert found is not None
    assert found.address == 2


def test_an_address_belongs_to_the_function_around_it_and_to_no_other(image: Make) -> None:
    it = image(Elf([text(), *elf_builder.symbol_table(SYMBOLS)]))

    def named(address: int) -> tuple[str, int] | None:
        found = it.symbol_at(address)
        return (found[0].name, found[1]) if found else None

    assert named(0x1000) == ("Py_GetVersion", 0)
    assert named(0x1000 + 60) == ("Py_GetVersion", 60)
    assert [named(address) for address in (0x1000 + 61, 0xFFF, 0x2000, -1, 1 << 64)] == [None] * 5


# -- markers -------------------------------------------------------------------------------------


def marked(base_moved: int = 0, **replaced: int) -> Elf:
    """An image with one marker in .text and its semaphore in .probes."""
    elf = Elf(
        base=0x400000,
        sections=[
            text(),
            Section(".stapsdt.base", b"\0", align=1),
            data(),
            data(bytes(16), ".probes"),
            Section(".note.stapsdt", elf_builder.marker(0), elf_builder.NOTE, 0, align=4),
        ],
    )
    places = {"address": elf[".text"].address + 4, "semaphore": elf[".probes"].address + 2} | replaced
    moved = {name: place - base_moved if place else 0 for name, place in places.items()}
    elf[".note.stapsdt"].data = elf_builder.marker(base=elf[".stapsdt.base"].address - base_moved, **moved)
    return elf


@pytest.mark.parametrize("moved", [0, 0x1000, -0x2000])
def test_a_marker_is_where_the_base_section_went(image: Make, moved: int) -> None:
    elf = marked(moved)
    (found,) = image(elf).markers()
    assert (found.provider, found.name, found.arguments) == ("python", "entry", "8@%rbx")
    assert found.address == elf[".text"].address + 4
    assert found.semaphore == elf[".probes"].address + 2
    assert found.semaphore_offset == elf[".probes"].offset + 2


def test_a_marker_without_a_semaphore_has_no_offset_of_one(image: Make) -> None:
    (found,) = image(marked(0x1000, semaphore=0)).markers()
    assert (found.semaphore, found.semaphore_offset) == (0, 0)


@pytest.mark.parametrize(
    "replaced", [{"address": 1 << 40}, {"semaphore": 1 << 40}, {"address": 0x400000 + DATA_SHIFT + 0x200}]
)
def test_a_marker_outside_of_the_code_is_malformed(image: Make, replaced: dict[str, int]) -> None:
    with pytest.raises(MalformedImage):
        image(marked(**replaced)).markers()


def test_a_note_that_reaches_beyond_its_section_is_malformed(image: Make) -> None:
    for size in (0xFFFFFFFF, 0x80000000, 1000):
        elf = marked()
        note = bytearray(elf[".note.stapsdt"].data)
        note[4:8] = struct.pack("<I", size)
        elf[".note.stapsdt"].data = bytes(note)
        with pytest.raises(MalformedImage):
            image(elf).markers()


def test_a_note_without_room_for_its_texts_is_malformed(image: Make) -> None:
    elf = marked()
    elf[".note.stapsdt"].data = elf_builder.note(b"stapsdt", 3, bytes(26))
    with pytest.raises(MalformedImage):
        image(elf).markers()


# -- pointers ------------------------------------------------------------------------------------


def test_pointers_are_read_as_relocated(image: Make) -> None:
    elf = Elf([text(), data(struct.pack("<4Q", 1, 2, 3, 4)), Section(".rela.dyn", bytes(48), RELA)])
    start = elf[".data"].address
    elf[".rela.dyn"].data = elf_builder.rela([(start + 16, 8, 0x1234), (start + 8, 6, 0x99)])
    it = image(elf)
    assert it.pointers(start, 4).tolist() == [1, 2, 0x1234, 4]
    assert it.pointers(start + 16, 1).tolist() == [0x1234]
    assert it.relative_relocations().tolist() == [(start + 16, 0x1234)]


def relr_reference(words: list[int]) -> list[int]:
    """The decoder that the generic ABI's text spells out."""
    addresses, base = [], 0
    for word in words:
        if word & 1 == 0:
            addresses.append(word)
            base = word + 8
        else:
            addresses += [base + 8 * bit for bit in range(63) if word >> bit + 1 & 1]
            base += 63 * 8
    return addresses


def test_packed_relocations_name_the_words_that_the_abi_says(image: Make) -> None:
    elf = Elf([text(), data(bytes(range(256)) * 8), Section(".relr.dyn", bytes(40), RELR)])
    start = elf[".data"].address
    words = [start, 0b1011, 1 | 1 << 63, start + 1600, 0b101]
    elf[".relr.dyn"].data = struct.pack("<5Q", *words)
    found = image(elf).relative_relocations()
    expected = relr_reference(words)
    assert found["address"].tolist() == expected
    content = elf[".data"].data
    assert found["value"].tolist() == [int.from_bytes(content[a - start : a - start + 8], "little") for a in expected]


@pytest.mark.parametrize("words", [[3], [0, 1 << 63 | 1], [1 << 62], [0xFFFFFFFFFFFFFFFE, 0xFFFFFFFFFFFFFFFF]])
def test_packed_relocations_outside_of_the_file_are_malformed(image: Make, words: list[int]) -> None:
    elf = Elf([text(), data(), Section(".relr.dyn", struct.pack(f"<{len(words)}Q", *words), RELR)])
    with pytest.raises(MalformedImage):
        image(elf).relative_relocations()


# -- code ranges ---------------------------------------------------------------------------------


def unwound(ranges: list[tuple[int, int]], *, wide: bool = False) -> Elf:
    """An image whose unwinder's table names [start, start + size) relative to .text."""
    size = 24 if wide else 16
    elf = Elf(
        [
            Section(".text", bytes(4096), flags=ALLOC | CODE),
            Section(".eh_frame_hdr", bytes(12 + 8 * len(ranges))),
            Section(".eh_frame", bytes(size * len(ranges) + 32)),
        ]
    )
    code, header, frames = elf[".text"].address, elf[".eh_frame_hdr"], elf[".eh_frame"]
    table = struct.pack("<BBBBiI", 1, 0x1B, 0x03, 0x3B, frames.address - header.address - 4, len(ranges))
    records = b""
    for number, (start, length) in enumerate(ranges):
        place = frames.address + size * number
        table += struct.pack("<ii", code + start - header.address, place - header.address)
        records += struct.pack("<II", size - 4, 0)
        records += struct.pack("<qQ" if wide else "<iI", code + start - place - 8, length)
    header.data, frames.data = table, records + bytes(32)
    return elf


@pytest.mark.parametrize("wide", [False, True])
def test_a_code_range_ends_where_its_record_says(image: Make, wide: bool) -> None:
    elf = unwound([(16, 100), (200, 50)], wide=wide)
    it, code = image(elf), elf[".text"].address
    assert it.code_range(code + 16) == it.code_range(code + 115) == (code + 16, code + 116)
    assert it.code_range(code + 200) == (code + 200, code + 250)
    assert [it.code_range(address) for address in (code + 15, code + 116, code + 250, 0, -1, 1 << 64)] == [None] * 6


def test_a_file_without_a_table_of_code_ranges_knows_none(image: Make) -> None:
    assert image(Elf([text()])).code_range(0x100) is None


def test_a_record_that_contradicts_the_table_is_malformed(image: Make) -> None:
    elf = unwound([(16, 100)])
    elf[".eh_frame"].data = b"\xff" * 48
    with pytest.raises(MalformedImage):
        image(elf).code_range(elf[".text"].address + 20)


def test_a_table_with_more_entries_than_bytes_is_malformed(image: Make) -> None:
    elf = unwound([(16, 100)])
    elf[".eh_frame_hdr"].data = elf[".eh_frame_hdr"].data[:8] + b"\xff" * 12
    with pytest.raises(MalformedImage):
        image(elf).code_range(elf[".text"].address + 20)


# -- load bias -----------------------------------------------------------------------------------


def test_the_load_bias_is_the_distance_of_the_code(image: Make) -> None:
    it = image(Elf([text(), data()]))
    assert it.load_bias([mapping(0x7F0000000000, 0x1000, 0)]) == 0x7F0000000000


def test_the_load_bias_of_an_executable_at_its_address_is_zero(image: Make) -> None:
    it = image(Elf([text(), data()], kind=EXEC, base=0x400000))
    assert it.load_bias([mapping(0x400000, 0x1000, 0), mapping(0x401000, 0x1000, 0, executable=False)]) == 0


def test_code_that_is_mapped_in_pieces_has_one_load_bias(image: Make) -> None:
    it = image(Elf([Section(".text", bytes(0x3000), flags=ALLOC | CODE)]))
    assert it.load_bias([mapping(0x70000000, 0x1000, 0), mapping(0x70001000, 0x2000, 0x1000)]) == 0x70000000


@pytest.mark.parametrize("starts", [[], [0x10000, 0x20000]])
def test_code_that_is_not_mapped_once_has_no_load_bias(image: Make, starts: list[int]) -> None:
    with pytest.raises(UnsupportedBuild):
        image(Elf([text()])).load_bias([mapping(start, 0x1000, 0) for start in starts])


SEGMENTS = [(0x0, False), (0x1000, True), (0x2000, False)]
"""Where headers, code and data lie in a file; whether it is code."""


@pytest.fixture
def loaded(image: Make) -> Callable[..., int]:
    """``loaded(mapping, …, entry=0)``: the load bias of a file of headers, code and data."""
    it = image(Elf([Section(".text", bytes(0x1000), flags=ALLOC | CODE), data()], base=0))
    it.__dict__["segments"] = tuple(
        Segment(offset, offset, 0x1000, 0x1000, 0x1000, readable=True, writable=offset == 0x2000, executable=is_code)
        for offset, is_code in SEGMENTS
    )
    return lambda *mappings, entry=0: it.load_bias([each for some in mappings for each in some], entry=entry)


def whole(start: int) -> list[Mapping]:
    """The file as it is loaded."""
    return [mapping(start + offset, 0x1000, offset, executable=is_code) for offset, is_code in SEGMENTS]


PAGE_OF_CODE = [mapping(0x66660000, 0x1000, 0x1000)]


def test_a_page_of_code_that_is_mapped_once_more_is_not_where_the_file_is_loaded(loaded: Callable[..., int]) -> None:
    assert loaded(whole(0x70000000), PAGE_OF_CODE) == loaded(PAGE_OF_CODE, whole(0x70000000)) == 0x70000000


def test_nor_is_the_whole_file_that_nobody_can_write_to(loaded: Callable[..., int]) -> None:
    assert loaded([mapping(0x66660000, 0x3000, 0)], whole(0x70000000)) == 0x70000000


def test_of_two_that_are_loaded_it_is_the_one_where_the_program_began(loaded: Callable[..., int], image: Make) -> None:
    entry = image(Elf([text(), data()])).entry
    assert loaded(whole(0x70000000), whole(0x80000000), entry=0x80000000 + entry) == 0x80000000


def test_a_file_that_is_loaded_twice_has_no_load_bias(loaded: Callable[..., int]) -> None:
    with pytest.raises(UnsupportedBuild, match="2 places, and loaded at 2 of them"):
        loaded(whole(0x70000000), whole(0x80000000))


# -- real files ----------------------------------------------------------------------------------


def real_files() -> list[Path]:
    """The interpreter of the tests, and all libraries that are mapped into it."""
    found = {Path(it.path) for it in Process(os.getpid()).maps() if it.executable and it.inode and not it.deleted}
    return sorted(found | {Path(sys.executable).resolve()})


@pytest.mark.parametrize("path", real_files(), ids=lambda path: path.name)
def test_a_real_file_says_the_same_as_pyelftools_reads(path: Path) -> None:
    it = Image.open(path)
    with path.open("rb") as file:
        elf = ELFFile(file)
        assert [(s.name, s.address, s.offset, s.size) for s in it.sections] == [
            (s.name, s["sh_addr"], s["sh_offset"], s["sh_size"]) for s in elf.iter_sections()
        ]
        assert [(s.offset, s.address, s.file_size, s.memory_size) for s in it.segments] == [
            (s["p_offset"], s["p_vaddr"], s["p_filesz"], s["p_memsz"]) for s in elf.iter_segments("PT_LOAD")
        ]
        ids = [
            note["n_desc"]
            for s in elf.iter_segments("PT_NOTE")
            for note in s.iter_notes()
            if "BUILD_ID" in str(note["n_type"])
        ]
        assert it.build_id == (ids[0] if ids else "")
        table = elf.get_section_by_name(".dynsym")
        assert isinstance(table, SymbolTableSection)
        defined = {s.name: s["st_value"] for s in table.iter_symbols() if s["st_shndx"] != "SHN_UNDEF" and s.name}
        for name in sorted(defined)[:: max(1, len(defined) // 20)]:
            found = it.symbol(name)
            assert found is not None
            assert found.address in {s["st_value"] for s in table.get_symbol_by_name(name)}
        relocations = [s for s in elf.iter_sections() if s["sh_type"] == "SHT_RELA" and s["sh_flags"] & 2]
        expected = {
            (r["r_offset"], r["r_addend"]) for s in relocations for r in s.iter_relocations() if r["r_info_type"] == 8
        }
        relr = elf.get_section_by_name(".relr.dyn")
        packed = {r["r_offset"] for r in relr.iter_relocations()} if relr else set()
    rows = it.relative_relocations()
    assert {row for row in rows.tolist() if row[0] not in packed} == expected
    assert packed <= set(rows["address"].tolist())


def test_every_code_range_of_the_interpreter_lies_in_its_code() -> None:
    it = Image.open(Path(sys.executable).resolve())
    assert it.code_ranges is not None
    starts = it.code_ranges.starts
    assert np.all(starts[:-1] <= starts[1:])
    for start in starts[:: max(1, len(starts) // 200)].tolist():
        found = it.code_range(start)
        assert found is not None
        assert found[0] == start
        assert it.segment_at(start).executable
        assert it.segment_at(found[1] - 1).executable
