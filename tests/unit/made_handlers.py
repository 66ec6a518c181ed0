"""Opcode handlers made up for a test, from machine code in hexadecimal."""

from __future__ import annotations

from pathlib import Path

from latency.cpython.sites.code import Code
from latency.cpython.sites.dispatch import Handlers
from latency.target.elf import Image
from tests.unit.elf_builder import ALLOC, CODE, Elf, Section


def made_handlers(directory: Path, code: dict[str, str], *, frame: str = "rbp", next_instr: str = "r10") -> Handlers:
    """Handlers of this code, by opcode, one behind the other; what has a name in lower case is other code between."""
    parts = {name: bytes.fromhex(text) for name, text in code.items()}
    elf = Elf([Section(".text", b"".join(parts.values()), flags=ALLOC | CODE)])
    (directory / "image").write_bytes(elf.build())
    begin = at = elf[".text"].address
    by_name = {}
    for name, part in parts.items():
        if name.isupper():
            by_name[name] = at
        at += len(part)
    read = Code(Image.open(directory / "image"))
    return Handlers(read, read.sweep([(begin, at)]), {}, by_name, 0, frame, next_instr, "r11", 0x38)
