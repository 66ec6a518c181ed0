"""Files made to mislead: our own errors only, within 300 MB, and soon: see ``fuzz_elf.check``."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from latency.errors import MalformedImage, TargetError
from latency.target.elf import Image
from tests.fuzz import fuzz_elf
from tests.unit import elf_builder
from tests.unit.elf_builder import (
    ALLOC,
    CODE,
    DYNAMIC,
    GNU_HASH,
    HASH,
    NOTE,
    RELA,
    RELR,
    STRTAB,
    SYMTAB,
    WRITE,
    Elf,
    Section,
)

HANGS_S = 60.0
"""Of CPU time, for what takes milliseconds: then it does not end."""
HUGE_BYTES = 1 << 30
# the largest that is read of each
LIMITS_BYTES = {
    ".dynsym": 64 << 20,
    ".dynstr": 64 << 20,
    ".symtab": 64 << 20,
    ".strtab": 64 << 20,
    ".rela.dyn": 32 << 20,
    ".relr.dyn": 8 << 20,
    ".eh_frame_hdr": 16 << 20,
    ".note.stapsdt": 1 << 20,
}


def whole() -> Elf:
    """An image with every table that is read."""
    return Elf(
        [
            Section(".text", b"\xc3" * 64, flags=ALLOC | CODE),
            elf_builder.build_id(),
            *elf_builder.symbol_table([("PyCode_Type", 0x1000, 8, "object"), ("Py_GetVersion", 240, 64, "func")]),
            *elf_builder.symbol_table([("local", 240, 64, "local")], name=".symtab"),
            Section(".rela.dyn", bytes(24), RELA),
            Section(".relr.dyn", bytes(8), RELR),
            Section(".eh_frame_hdr", struct.pack("<BBBBiI", 1, 0x1B, 0x03, 0x3B, 0, 0)),
            Section(".note.stapsdt", b"", NOTE, 0, align=4),
            Section(".data", bytes(64), flags=ALLOC | WRITE),
        ]
    )


def section_header(content: bytes, elf: Elf, name: str) -> int:
    """Where the file holds the header of a section."""
    (table,) = struct.unpack_from("<Q", content, 40)
    return int(table) + 64 * (1 + [section.name for section in elf.sections].index(name))


def with_section(content: bytes, elf: Elf, name: str, *, offset: int | None = None, size: int | None = None) -> bytes:
    changed = bytearray(content)
    header = section_header(content, elf, name)
    for place, value in ((24, offset), (32, size)):
        if value is not None:
            struct.pack_into("<Q", changed, header + place, value)
    return bytes(changed)


def ask_everything(path: Path) -> None:
    """Within the limit of memory, and with no exception that is not ours."""
    tracemalloc.start()
    try:
        with Image.open(path) as image:
            fuzz_elf.exercise(image)
    except TargetError:
        pass
    finally:
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak_bytes < fuzz_elf.MEMORY_LIMIT_BYTES


@pytest.mark.parametrize("length", range(0, 2400, 61))
def test_a_file_that_is_cut_short_is_an_error_of_ours(tmp_path: Path, length: int) -> None:
    (tmp_path / "image").write_bytes(whole().build()[:length])
    ask_everything(tmp_path / "image")


@pytest.mark.parametrize("size", [HUGE_BYTES, 1 << 63, (1 << 64) - 1])
@pytest.mark.parametrize("name", LIMITS_BYTES)
def test_a_table_larger_than_the_file_is_an_error_of_ours(tmp_path: Path, name: str, size: int) -> None:
    elf = whole()
    (tmp_path / "image").write_bytes(with_section(elf.build(), elf, name, size=size))
    ask_everything(tmp_path / "image")


@pytest.mark.parametrize("filler", [0x00, 0x01, 0xFF])
@pytest.mark.parametrize("name", LIMITS_BYTES)
def test_the_largest_table_that_is_read_at_all_costs_little(tmp_path: Path, name: str, filler: int) -> None:
    elf = whole()
    with (tmp_path / "image").open("wb") as file:
        file.write(with_section(elf.build(), elf, name, offset=8192, size=LIMITS_BYTES[name]))
        if filler:
            file.seek(8192)
            file.write(bytes([filler]) * LIMITS_BYTES[name])
        file.truncate(HUGE_BYTES)
    ask_everything(tmp_path / "image")
    (tmp_path / "image").unlink()


def test_as_many_section_headers_as_can_be_cost_little(tmp_path: Path) -> None:
    content = bytearray(whole().build())
    (table,) = struct.unpack_from("<Q", content, 40)
    rela = bytearray(64)
    struct.pack_into("<IIQQQQ", rela, 0, 0, RELA, ALLOC, 0, 0, 1 << 20)
    struct.pack_into("<H", content, 60, 2500)
    content = content[:table] + rela * 2500
    (tmp_path / "image").write_bytes(content)
    ask_everything(tmp_path / "image")


def test_headers_beyond_all_count_are_refused(tmp_path: Path) -> None:
    content = bytearray(whole().build())
    (table,) = struct.unpack_from("<Q", content, 40)
    struct.pack_into("<H", content, 60, 0)  # then the number stands in the first header
    struct.pack_into("<Q", content, table + 32, 1 << 40)
    (tmp_path / "image").write_bytes(content)
    with pytest.raises(MalformedImage), Image.open(tmp_path / "image") as image:
        image.sections  # noqa: B018


def first_section(kind: int, *, size: int, link: int = 0) -> bytes:
    """A file that sends its reader to section 0, for the number of its program headers."""
    content = bytearray(whole().build())
    struct.pack_into("<H", content, 56, 0xFFFF)
    (table,) = struct.unpack_from("<Q", content, 40)
    struct.pack_into("<IIQQQQII", content, table, 0, kind, 0, 0, len(content), size, link, 0xFFFFFFFF)
    return bytes(content)


@pytest.mark.parametrize("kind", [HASH, GNU_HASH])
def test_a_hash_table_of_four_thousand_million_buckets_is_not_read(tmp_path: Path, kind: int) -> None:
    head = bytearray(first_section(kind, size=HUGE_BYTES, link=1))
    (table,) = struct.unpack_from("<Q", head, 40)
    struct.pack_into("<IIQQQQIIQQ", head, table + 64, 0, SYMTAB, 0, 0, 0, 24, 2, 0, 8, 24)
    struct.pack_into("<I", head, table + 128 + 4, STRTAB)
    with (tmp_path / "image").open("wb") as file:
        file.write(head + b"\xff" * 16)
        file.truncate(HUGE_BYTES)
    ask_everything(tmp_path / "image")
    (tmp_path / "image").unlink()


def test_a_section_that_is_linked_to_itself_is_malformed(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(first_section(DYNAMIC, size=64))
    ask_everything(tmp_path / "image")
    with pytest.raises(MalformedImage), Image.open(tmp_path / "image") as image:
        image.segments  # noqa: B018


@pytest.mark.parametrize("sizes", [(4, 0xFFFFFFFF), (0xFFFFFFFF, 4), (0xFFFFFFFF, 0xFFFFFFFF), (4, 1 << 20)])
def test_a_note_of_countless_properties_costs_little(tmp_path: Path, sizes: tuple[int, int]) -> None:
    elf = whole()
    properties = struct.pack("<II", 0xC0000002, 0) * (128 << 10)
    elf[".note.gnu.build-id"].data = struct.pack("<III", *sizes, 5) + b"GNU\0" + properties
    (tmp_path / "image").write_bytes(elf.build())
    ask_everything(tmp_path / "image")


def test_section_names_without_an_end_cost_little(tmp_path: Path) -> None:
    elf = whole()
    content = bytearray(elf.build())
    (table,) = struct.unpack_from("<Q", content, 40)
    names = table + 64 * (len(elf.sections) + 1)
    struct.pack_into("<Q", content, names + 24, len(content))
    (tmp_path / "image").write_bytes(content + b"a" * (4 << 20))
    ask_everything(tmp_path / "image")


def test_a_file_that_shrinks_while_it_is_read_is_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(whole().build())
    with Image.open(path) as image:
        os.truncate(path, 100)
        with pytest.raises(MalformedImage):
            image.symbol("PyCode_Type")


@pytest.mark.parametrize("name", [b"\x1b[2J\x1b]0;owned\x07", b"\xff\xfe", b"a" * 100_000, b"\n\r"])
def test_a_name_is_text_whatever_its_bytes(tmp_path: Path, name: bytes) -> None:
    elf = Elf([Section(".text", bytes(64), flags=ALLOC | CODE), *elf_builder.symbol_table([("f", 240, 64, "func")])])
    table = bytearray(elf[".dynsym"].data)
    struct.pack_into("<I", table, 24, 1)
    elf[".dynsym"].data, elf[".dynstr"].data = bytes(table), b"\0" + name + b"\0"
    (tmp_path / "image").write_bytes(elf.build())
    with Image.open(tmp_path / "image") as image:
        found = image.symbol_at(240)
        assert found is not None
        assert found[0].name == name[:4096].decode("utf-8", "backslashreplace")


@pytest.mark.parametrize("path", sorted(fuzz_elf.CORPUS.iterdir()), ids=lambda path: path.name)
@pytest.mark.parametrize("sparse_bytes", [0, HUGE_BYTES])
def test_the_corpus_breaks_no_rule(path: Path, sparse_bytes: int) -> None:
    fuzz_elf.check(path.read_bytes(), sparse_bytes=sparse_bytes, limit_s=HANGS_S)


def test_five_hundred_mutants_break_no_rule(repository: Path) -> None:
    options = ["--seed", "2", "--count", "500", "--limit", str(HANGS_S)]
    command = [sys.executable, repository / "tests/fuzz/fuzz_elf.py", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "500 inputs" in done.stdout
