"""What a place of a plan held when a straight line of code began: which registers have it further on, and how long the
place itself does. A place on the machine's stack (a local variable that got no register) is written to by nobody but
the function itself: its address is never taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import capstone
import capstone.x86_const as x86

from latency.cpython.sites.code import Instruction, full_register, memory, register, written
from latency.cpython.sites.plan import Place

_POINTER_BYTES = 8
_ONLY_READ = frozenset(  # what they are given first
    {
        *(x86.X86_INS_CMP, x86.X86_INS_TEST, x86.X86_INS_BT, x86.X86_INS_PUSH, x86.X86_INS_CALL, x86.X86_INS_JMP),
        *(x86.X86_INS_MUL, x86.X86_INS_IMUL, x86.X86_INS_DIV, x86.X86_INS_IDIV, x86.X86_INS_NOP),
    }
)
_OF_THE_STACK = ("rsp", "rbp")


class Held(NamedTuple):
    """What still has it before an instruction: these registers, and (``intact``) the place as such."""

    registers: frozenset[str]
    intact: bool


def holding(steps: Iterable[Instruction], place: Place) -> Iterator[tuple[Instruction, Held]]:
    """Each step of a straight line, with who has *before* it what the place had before the first one."""
    held = Held(frozenset() if place.path else frozenset({place.register}), intact=True)
    for step in steps:
        yield step, held
        held = _behind(step, held, place)


def _behind(step: Instruction, held: Held, place: Place) -> Held:
    registers = held.registers - written(step)
    if step.id == x86.X86_INS_MOV and (destination := register(step, 0)):
        source = register(step, 1)
        if source in held.registers or (
            held.intact and place.path and memory(step, 1) == (place.register, place.path[0])
        ):
            registers |= {destination}
    return Held(registers, held.intact and not changes(step, place))


def changes(step: Instruction, place: Place) -> bool:
    """Whether an instruction may change what a place holds."""
    if place.register in written(step):
        return True
    return bool(place.path) and any(
        writes(step, number) and _may_lie_there(step, operand, place) for number, operand in enumerate(step.operands)
    )


def writes(step: Instruction, number: int = 0) -> bool:
    """Whether an instruction may write to the memory that an operand is: capstone does not know it of all vector
    instructions, whose goal is the first one as well."""
    operand = step.operands[number]
    if operand.type != x86.X86_OP_MEM:
        return False
    return bool(operand.access & capstone.CS_AC_WRITE) or (number == 0 and step.id not in _ONLY_READ)


def _may_lie_there(step: Instruction, operand: capstone.x86.X86Op, place: Place) -> bool:
    base = full_register(step.reg_name(operand.mem.base)) if operand.mem.base else ""
    if base != place.register:
        # beside a frame pointer the stack pointer, from which the distance is not known
        return place.register == "rbp" and base == "rsp"
    if operand.mem.index:
        return True
    return bool(operand.mem.disp < place.path[0] + _POINTER_BYTES and place.path[0] < operand.mem.disp + operand.size)


def origins(
    steps: Iterable[Instruction], *, frame_pointer: bool
) -> Iterator[tuple[Instruction, dict[str, Place | None]]]:
    """Each step of a straight line, with where from the registers that have changed have *before* it what they hold: a
    place of the first step's, or None. What is not in there holds what it held at first.

    Args:
        frame_pointer: rbp points to the function's own stack frame.
    """
    bases = _OF_THE_STACK if frame_pointer else _OF_THE_STACK[:1]
    came: dict[str, Place | None] = {}
    lost: list[Instruction] = []
    for step in steps:
        yield step, came
        new: Place | None = None
        destination = register(step, 0) if step.id == x86.X86_INS_MOV else None
        if destination:
            source, loaded = register(step, 1), memory(step, 1)
            if source:
                new = came.get(source, Place(source))
            elif loaded and loaded[0] in bases and loaded[0] not in came:
                place = Place(loaded[0], (loaded[1],))
                new = None if any(changes(each, place) for each in lost) else place
        came = {**came, **dict.fromkeys(written(step))}
        if destination:
            came[destination] = new
        lost.append(step)
