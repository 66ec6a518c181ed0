"""Calls through the linkage table: which symbol of the file a slot is bound to, and where a call lands."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from latency.cpython.sites.code import Code
from latency.target import relocations
from latency.target.elf import Image
from latency.target.symbols import Symbol, SymbolTable
from tests.unit.elf_builder import ALLOC, CODE, DYNAMIC, RELA, STRTAB, Elf, Section, rela, symbol_table

RELATIVE, SLOT, GLOBAL = 8, 7, 6


def test_words_that_are_bound_to_symbols_are_those_of_slots_and_of_the_global_offset_table() -> None:
    entries = rela(
        [(0x10, RELATIVE, 1), (0x18, 5 << 32 | SLOT, 0), (0x20, 6 << 32 | GLOBAL, 0), (0x28, 7 << 32 | 1, 0)]
    )
    assert relocations.bound(entries).tolist() == [(0x18, 5), (0x20, 6)]
    assert relocations.bound(entries[:-1]).tolist() == [(0x18, 5), (0x20, 6)]  # a cut entry is ignored


def test_a_symbol_has_a_number_if_it_is_defined() -> None:
    entry = struct.Struct("<IBBHQQ")
    table = SymbolTable(entry.pack(0, 0, 0, 0, 0, 0) + entry.pack(1, 0x12, 0, 1, 0x100, 8), b"\0clear\0")
    assert table.numbered(1) == Symbol("clear", 0x100, 8, "func")
    assert [table.numbered(number) for number in (0, 2, -1)] == [None, None, None]


@pytest.mark.parametrize(
    ("stub", "goes_on"),
    [
        ("f30f1efa ff2500000000", True),  # endbr64; jmp [rip]
        ("ff2500000000", True),
        ("f3 0f1efa f2ff2500000000", True),  # endbr64; bnd jmp [rip]
        ("90 ff2500000000", False),
        ("ffe0", False),
        ("c3", False),
    ],
)
def test_a_call_lands_where_its_slot_is_bound_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stub: str, goes_on: bool
) -> None:
    elf = Elf([Section(".text", bytes.fromhex(stub) + bytes(16), flags=ALLOC | CODE)])
    (tmp_path / "image").write_bytes(elf.build())
    start = elf[".text"].address
    slot = start + len(bytes.fromhex(stub))
    monkeypatch.setattr(Image, "bound_symbol", lambda _, at: Symbol("clear", 0x4242, 8, "func") if at == slot else None)
    assert Code(Image.open(tmp_path / "image")).lands(start) == (0x4242 if goes_on else start)


def test_a_slot_is_found_in_the_file_by_its_address(tmp_path: Path) -> None:
    symbols = symbol_table([("clear", 0x4242, 8, "func"), ("elsewhere", 0, 0, "undefined")])
    entries = rela([(0x20, 2 << 32 | SLOT, 0), (0x18, 1 << 32 | SLOT, 0), (0x10, RELATIVE, 1)])
    (tmp_path / "image").write_bytes(Elf([*symbols, Section(".rela.plt", entries, RELA)]).build())
    image = Image.open(tmp_path / "image")
    assert image.bound_symbol(0x18) == Symbol("clear", 0x4242, 8, "func")
    assert [image.bound_symbol(at) for at in (0x10, 0x20, 0x28, -8, 1 << 64)] == [None] * 5


def test_a_dynamic_section_that_is_cut_short_says_what_there_is(tmp_path: Path) -> None:
    dynamic = struct.pack("<4Q", 1, 1, 1, 1 << 40) + b"\x01" * 7
    sections = [Section(".dynamic", dynamic, DYNAMIC, link=".dynstr"), Section(".dynstr", b"\0lib.so\0", STRTAB)]
    (tmp_path / "image").write_bytes(Elf(sections).build())
    assert Image.open(tmp_path / "image").needed() == (["lib.so", ""], [])


def test_a_file_without_relocations_binds_nothing(tmp_path: Path) -> None:
    elf = Elf([Section(".text", b"\xc3", flags=ALLOC | CODE)])
    (tmp_path / "image").write_bytes(elf.build())
    assert Image.open(tmp_path / "image").bound_symbol(elf[".text"].address) is None
