"""Opcode handlers made up for a test, from machine code in hexadecimal."""

from __future__ import annotations

from pathlib import Path

from latency.cpython.sites.code import Code
from latency.cpython.sites.dispatch import Handlers, has_frame_pointer
from latency.cpython.sites.plan import Place
from latency.target.elf import Image
from tests.unit.elf_builder import ALLOC, CODE, Elf, Section

_BY_NAME = {"call": "e8", "jmp": "e9", "je": "0f84", "jne": "0f85"}
_DISTANCE_BYTES = 4


def place(text: str) -> Place:
    """``"rbx"``, ``"rsp+16"``, ``"rbp-8"``."""
    register, sign, distance = text.partition("+" if "+" in text else "-")
    return Place(register, (int(sign + distance),)) if sign else Place(register)


def assembled(code: dict[str, str]) -> dict[str, bytes]:
    """Each part's bytes: hexadecimal, and ``call:part``, ``jmp:part``, ``je:part`` and ``jne:part`` to another part."""
    sizes = {name: sum(map(_size, text.split())) for name, text in code.items()}
    begins = dict(zip(code, (sum(list(sizes.values())[:place]) for place in range(len(sizes))), strict=True))
    parts = {}
    for name, text in code.items():
        made = b""
        for token in text.split():
            kind, _, goal = token.partition(":")
            if goal:
                distance = begins[goal] - begins[name] - len(made) - _size(token)
                made += bytes.fromhex(_BY_NAME[kind]) + distance.to_bytes(_DISTANCE_BYTES, "little", signed=True)
            else:
                made += bytes.fromhex(token)
        parts[name] = made
    return parts


def made_handlers(directory: Path, code: dict[str, str], *, frame: str = "rbp", next_instr: str = "r10") -> Handlers:
    """Handlers of this code, by opcode, one behind the other; what has a name in lower case is other code between, and
    ``function`` no part of the interpreter's."""
    parts = assembled(code)
    elf = Elf([Section(".text", b"".join(parts.values()), flags=ALLOC | CODE)])
    (directory / "image").write_bytes(elf.build())
    at = elf[".text"].address
    by_name, stretches = {}, []
    for name, part in parts.items():
        if name.isupper():
            by_name[name] = at
        if name != "function":
            stretches.append((at, at + len(part)))
        at += len(part)
    read = Code(Image.open(directory / "image"))
    sweep = read.sweep(stretches)
    return Handlers(
        read, sweep, {}, by_name, 0, place(frame), place(next_instr), Place("r11"), 0x38, has_frame_pointer(sweep.lines)
    )


def address_of(found: Handlers, code: dict[str, str], name: str) -> int:
    """Where a part of this code begins."""
    begins, at = {}, 0
    for each, part in assembled(code).items():
        begins[each] = at
        at += len(part)
    opcode, start = next(iter(found.by_name.items()))
    return start - begins[opcode] + begins[name]


def _size(token: str) -> int:
    kind, _, goal = token.partition(":")
    return len(bytes.fromhex(_BY_NAME[kind])) + _DISTANCE_BYTES if goal else len(bytes.fromhex(token))
