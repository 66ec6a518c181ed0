"""Where the opcode handlers lie, and in which registers each of them finds what it runs (CPython 3.11 and later)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from latency.cpython.offsets import Offsets
from latency.cpython.sites.code import Code, Instruction, Line, Sweep, memory, register, text, written
from latency.cpython.sites.opcodes import find_table, opcodes
from latency.errors import UnsupportedBuild
from latency.target.elf import Image

_GOES_ELSEWHERE = ("jmp", "ret", "ud2", "int3", "hlt")


@dataclass(frozen=True)
class Handlers:
    """The opcode handlers of an image and what follows from RETURN_VALUE's: where every handler finds the frame."""

    code: Code
    sweep: Sweep
    numbers: Mapping[str, int]
    by_name: dict[str, int]
    table: int
    frame: str
    next_instr: str
    stack_pointer: str
    instr_offset: int


def opcode_handlers(image: Image, minor: tuple[int, int], offsets: Offsets) -> Handlers:
    """What other engines need too. Raises UnsupportedBuild, saying what was not found."""
    numbers = opcodes(minor)
    table, targets = find_table(image, numbers)
    code = Code(image)
    by_name = {name: targets[number] for name, number in numbers.items()}
    sweep = code.sweep(parts_of(image, targets))
    frame, next_instr, stack_pointer = _registers(image, code, by_name["RETURN_VALUE"], offsets["frame.instr"])
    return Handlers(code, sweep, numbers, by_name, table, frame, next_instr, stack_pointer, offsets["frame.instr"])


def _registers(image: Image, code: Code, start: int, instr_offset: int) -> tuple[str, str, str]:
    """(frame, next_instr, stack pointer): what RETURN_VALUE uses as such before it changes it."""
    frame = next_instr = stack_pointer = ""
    changed: dict[str, Instruction] = {}
    for step in code.straight(start, limit=40):
        stored, loaded = memory(step, 0), memory(step, 1)
        if step.mnemonic == "mov":
            if not frame and stored and stored[1] == instr_offset and (source := register(step, 1)):
                frame, next_instr = stored[0], source
                if frame in changed:
                    raise refused(image, f"has its frames in no register when a handler starts: {text(changed[frame])}")
            if not stack_pointer and loaded and loaded[1] == -8 and register(step, 0):
                stack_pointer = loaded[0]
        changed |= dict.fromkeys(written(step), step)
    if not frame or not stack_pointer or frame in ("rsp", "rip"):
        raise refused(image, "has a RETURN_VALUE handler that shows no frame register")
    return frame, next_instr, stack_pointer


def parts_of(image: Image, targets: Iterable[int]) -> list[tuple[int, int]]:
    """All parts of the interpreter's function, wherever the compiler put them: gcc 16 puts every handler into
    ``.cold``."""
    parts = {image.code_range(address) for address in set(targets)}
    if None in parts:
        raise refused(image, "has opcode handlers outside the unwinder's table")
    return sorted(part for part in parts if part)


def falls_into(found: Handlers, address: int) -> Line | None:
    """The instruction before an address, behind which the code goes on there; None: there is none."""
    lines = found.sweep.lines
    place = bisect_left(lines, address, key=lambda line: line.address) - 1
    while place >= 0 and (line := lines[place]).address + line.size == address:
        if line.mnemonic != "nop":
            stays = line.mnemonic.split()[-1] in _GOES_ELSEWHERE or _never_returns(found, line)
            return None if stays else line
        address, place = line.address, place - 1
    return None


def _never_returns(found: Handlers, line: Line) -> bool:
    """Whether this is the call of a function that has no way out (_Py_FatalErrorFunc)."""
    if line.mnemonic != "call" or not line.operands.startswith("0x"):
        return False
    around = found.code.image.code_range(int(line.operands, 16))
    if around is None:
        return False
    sweep = found.code.sweep([around])
    leaves = any(not around[0] <= goal < around[1] for _, goal in sweep.jumps)
    jumps = sum(each.mnemonic.split()[-1][0] == "j" for each in sweep.lines)
    return not leaves and jumps == len(sweep.jumps) and not any("ret" in each.mnemonic for each in sweep.lines)


def refused(image: Image, what: str) -> UnsupportedBuild:
    return UnsupportedBuild(f"{image.name} {what}", "report this build to pylat, with its origin and build id")
