"""Where the opcode handlers lie, and where each of them finds what it runs (CPython 3.11 and later).

Every dispatch can go to every handler, so at each of them what RETURN_VALUE begins with is where RETURN_VALUE looks for
it: when a handler starts, the frame and the next unit are in one place each, a register or a word of the machine's
stack.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from latency.cpython.offsets import Offsets
from latency.cpython.sites.code import Code, Line, Sweep, memory, register, text
from latency.cpython.sites.holding import origins
from latency.cpython.sites.opcodes import find_table, opcodes
from latency.cpython.sites.plan import Place
from latency.errors import UnsupportedBuild
from latency.target.elf import Image

_RETURN_LIMIT = 48  # instructions of RETURN_VALUE
NEVER_RUN = ("CACHE", "RESERVED")
_LONGEST_BYTES = 4096  # of a function that never returns
_GOES_ELSEWHERE = ("jmp", "ret", "ud2", "int3", "hlt")


@dataclass(frozen=True)
class Handlers:
    """The opcode handlers of an image and what follows from RETURN_VALUE's: where every handler finds the frame.

    ``parts`` are the stretches of code (begin and end addresses) that hold them, which fetch the units;
    ``frame_pointer`` says whether the interpreter's function has rbp as such.
    """

    code: Code
    sweep: Sweep
    numbers: Mapping[str, int]
    by_name: dict[str, int]
    table: int
    frame: Place
    next_instr: Place
    stack_pointer: Place
    instr_offset: int
    frame_pointer: bool
    parts: tuple[tuple[int, int], ...] = ()

    def lines_before(self, address: int, number: int) -> list[Line]:
        """The instructions that lie before one, at most so many, in their order."""
        place = bisect_left(self.sweep.lines, address, key=lambda line: line.address)
        return self.sweep.lines[max(0, place - number) : place]

    @cached_property
    def starts(self) -> frozenset[int]:
        """Where handlers begin, of all opcodes."""
        return frozenset(self.by_name.values())


def opcode_handlers(image: Image, minor: tuple[int, int], offsets: Offsets) -> Handlers:
    """What other engines need too.

    Raises:
        UnsupportedBuild: there is no table of handlers, or they lie outside the unwinder's table, or what RETURN_VALUE
            begins with is in no place.
    """
    numbers = opcodes(minor)
    table, targets = find_table(image, numbers)
    code = Code(image)
    by_name = {name: targets[number] for name, number in numbers.items()}
    parts = _parts(image, numbers, targets)
    sweep = code.sweep(parts)
    frame_pointer = has_frame_pointer(sweep.lines)
    places = _places(code, by_name["RETURN_VALUE"], offsets["frame.instr"], frame_pointer=frame_pointer)
    instr_offset = offsets["frame.instr"]
    return Handlers(code, sweep, numbers, by_name, table, *places, instr_offset, frame_pointer, tuple(parts))


def has_frame_pointer(lines: Sequence[Line]) -> bool:
    """Whether rbp is made one in this code."""
    return any(line.mnemonic == "mov" and line.operands == "rbp, rsp" for line in lines)


def _places(code: Code, start: int, instr_offset: int, *, frame_pointer: bool) -> tuple[Place, Place, Place]:
    """(frame, next_instr, stack pointer): what RETURN_VALUE uses as such, and where it had that at its start.

    Args:
        frame_pointer: the interpreter's function has rbp as such.

    Raises:
        UnsupportedBuild: they are not what one place held then.
    """
    frame: Place | None = None
    next_instr: Place | None = None
    stack_pointer: Place | None = None
    for step, came in origins(code.straight(start, limit=_RETURN_LIMIT), frame_pointer=frame_pointer):
        if step.mnemonic != "mov":
            continue
        stored, loaded = memory(step, 0), memory(step, 1)
        own = ("rsp", "rip", "rbp") if frame_pointer else ("rsp", "rip")  # words of the function's own, not of a frame
        if not frame and stored and stored[1] == instr_offset and (source := register(step, 1)):
            if stored[0] in own:
                continue
            frame = came.get(stored[0], Place(stored[0]))
            next_instr = came.get(source, Place(source))
            if not frame or not next_instr:
                lost = "frames" if not frame else "next unit"
                raise refused(
                    code.image, f"has its {lost} in no place that pylat knows when a handler starts: {text(step)}"
                )
        if not stack_pointer and loaded and loaded[0] not in own and loaded[1] == -8 and register(step, 0):
            stack_pointer = came.get(loaded[0], Place(loaded[0]))
    if not frame or not next_instr or not stack_pointer:
        raise refused(code.image, "has a RETURN_VALUE handler that shows no frame")
    return frame, next_instr, stack_pointer


def _parts(image: Image, numbers: Mapping[str, int], targets: Sequence[int]) -> list[tuple[int, int]]:
    """All parts of the interpreter's function, wherever the compiler put them: gcc 16 puts every handler into
    ``.cold``.

    An opcode that is never dispatched to need not lead anywhere: clang has CACHE point behind the function's end.
    """
    never_run = {numbers[name] for name in NEVER_RUN if name in numbers}
    parts = {image.code_range(target) for number, target in enumerate(targets) if number not in never_run}
    if None in parts:
        raise refused(image, "has opcode handlers outside the unwinder's table")
    return sorted(part for part in parts if part)


def falls_into(found: Handlers, address: int) -> Line | None:
    """The instruction before an address, behind which the code goes on there; None: there is none."""
    lines = found.sweep.lines
    place = bisect_left(lines, address, key=lambda line: line.address) - 1
    while place >= 0 and (line := lines[place]).address + line.size == address:
        if line.mnemonic != "nop":
            stays = line.mnemonic.split()[-1] in _GOES_ELSEWHERE or never_returns(found, line)
            return None if stays else line
        address, place = line.address, place - 1
    return None


def never_returns(found: Handlers, line: Line) -> bool:
    """Whether this instruction is the call of a function that has no way out (_Py_FatalErrorFunc)."""
    if line.mnemonic != "call" or not line.operands.startswith("0x"):
        return False
    around = found.code.image.code_range(int(line.operands, 16))
    if around is None or around[1] - around[0] > _LONGEST_BYTES:
        return False
    sweep = found.code.sweep([around])
    leaves = any(not around[0] <= goal < around[1] for _, goal in sweep.jumps)
    jumps = sum(each.mnemonic.split()[-1][0] == "j" for each in sweep.lines)
    return not leaves and jumps == len(sweep.jumps) and not any("ret" in each.mnemonic for each in sweep.lines)


def refused(image: Image, what: str) -> UnsupportedBuild:
    return UnsupportedBuild(
        f"{image.name} {what}", "send pylat what pylat check -p PID --report FILE writes of this build"
    )
