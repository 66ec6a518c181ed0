"""3.11: where a tracer's handler fetches a unit that a dispatch has fetched already, on its way there.

While a tracer is on, every unit is dispatched to DO_TRACING, which looks at it and goes on to the unit's own handler.
So of all fetches those of DO_TRACING are never the first one of a unit.

Source: Python/ceval.c of 3.11 (DISPATCH, TARGET(DO_TRACING), TRACING_NEXTOPARG).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import capstone
import capstone.x86_const as x86

from latency.cpython.sites.code import (
    CALLEE_SAVED,
    Instruction,
    is_branch,
    is_jump,
    memory,
    register,
    target,
    written,
)
from latency.cpython.sites.dispatch import Handlers, refused
from latency.cpython.sites.holding import changes
from latency.cpython.sites.plan import Place

_MOST_STEPS = 400  # of DO_TRACING, up to its fetches


class _Unit(NamedTuple):
    """What has the address of the unit: registers, and words of the machine's stack."""

    registers: frozenset[str]
    words: frozenset[Place]

    def behind(self, step: Instruction) -> _Unit:
        """The same behind an instruction."""
        changed, stored, loaded = written(step), memory(step, 0), memory(step, 1)
        registers = self.registers - changed
        if step.group(capstone.CS_GRP_CALL):
            registers &= CALLEE_SAVED
        words = frozenset(word for word in self.words if not changes(step, word))
        if step.id == x86.X86_INS_MOV:
            if (to := register(step, 0)) and (register(step, 1) in self.registers or _word(loaded) in self.words):
                registers |= {to}
            elif stored and stored[0] in ("rsp", "rbp") and register(step, 1) in self.registers:
                words |= {Place(stored[0], (stored[1],))}
        return _Unit(registers, words)


def tracing_fetches(found: Handlers) -> tuple[int, ...]:
    """The addresses behind the instructions by which DO_TRACING fetches the unit that it was given, the first one on
    each way through it.

    Raises:
        UnsupportedBuild: the unit cannot be followed that far, or others fetch units by the same instruction.
    """
    image, start = found.code.image, found.by_name["DO_TRACING"]
    if found.next_instr.path:
        raise refused(image, f"keeps its next unit in {found.next_instr}, where its fetches cannot be told apart")
    begin = (start, _Unit(frozenset({found.next_instr.register}), frozenset()))
    ways, seen, fetches = [begin], {begin}, set[int]()
    while ways:
        address, unit = ways.pop()
        step = found.code.at(address)
        after = step.address + step.size
        read = memory(step, 1)
        if read and read[0] in unit.registers and read[1] == 0:
            fetches.add(after)
            continue
        goal = target(step) if is_branch(step) or is_jump(step) else None
        goes_on = not (is_jump(step) or step.mnemonic.startswith("ret"))
        behind = unit.behind(step)
        if not (behind.registers or behind.words) or len(seen) > _MOST_STEPS:
            raise refused(image, f"fetches units for tracers where pylat cannot follow it, at {address:#x}")
        for each in ([after] if goes_on else []) + ([] if goal is None else [goal]):
            if (each, behind) not in seen:
                seen.add((each, behind))
                ways.append((each, behind))
    if shared := fetches & _behind_all(found, (address for address in found.starts if address != start)):
        raise refused(image, f"fetches units for tracers before {min(shared):#x}, and others there as well")
    return tuple(sorted(fetches))


def _word(place: tuple[str, int] | None) -> Place | None:
    return Place(place[0], (place[1],)) if place else None


def _behind_all(found: Handlers, starts: Iterable[int]) -> set[int]:
    """The addresses behind all instructions that are reached from these without a dispatch."""
    lines = {line.address: line for line in found.sweep.lines}
    waiting, seen, behind = list(starts), set[int](), set[int]()
    while waiting:
        line = lines.get(waiting.pop())
        if line is None or line.address in seen:
            continue
        seen.add(line.address)
        after = line.address + line.size
        behind.add(after)
        *_, word = line.mnemonic.split()
        if word[0] == "j" and line.operands.startswith("0x"):
            waiting.append(int(line.operands, 16))
        if word not in ("jmp", "ret"):
            waiting.append(after)
    return behind
