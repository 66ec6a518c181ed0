"""Copies of opcode handlers in others, which a profile makes in builds with tail calls.

A dispatch is a call through the table of handlers. Where a profile says which opcode follows, clang compares the opcode
with that one first, and may put the handler's code there. No jump leads from such a copy to the handler itself, so a
probe on that sees only some of the calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from latency.cpython.sites.code import Instruction, Line, full_register, memory, register, target, written
from latency.cpython.sites.dispatch import Handlers
from latency.cpython.sites.holding import changes, holding
from latency.cpython.sites.plan import Place
from latency.errors import UnsupportedBuild

_DISPATCH_LIMIT = 16  # instructions from the fetch of a unit to the last comparison of its opcode
_LEAVING_LIMIT = 10  # from the comparison to the jump to the handler: the end of a function
_FUNCTION_LIMIT = 256  # instructions from a handler's start to where it keeps the frame
_OF_THE_STACK = ("rsp", "rbp")
_ON_THE_STACK = re.compile(r"\[r[sb]p\b")
_FETCH = re.compile(r"(\w+), (?:byte|word) ptr \[r(?!sp|ip).*\]")
_COMPARED = re.compile(r"(\w+), (0x[0-9a-f]+|\d+)")
_COMPARED_THERE = re.compile(r"byte ptr \[r(?!sp|ip).*\], (0x[0-9a-f]+|\d+)")
_BY_DISTANCE = re.compile(r"\w+, \[rip ([+-]) (0x[0-9a-f]+|\d+)\]")


def require_no_copies(found: Handlers, lines: Sequence[Line], names: Iterable[str]) -> None:
    """Raises UnsupportedBuild if one of these handlers may run elsewhere than at its start.

    Args:
        lines: of all code that goes on at units.
        names: the opcodes.
    """
    numbers = {found.numbers[name]: name for name in names if name in found.by_name}
    starts = {found.by_name[name]: name for name in numbers.values()}
    for place, line in enumerate(lines):
        there = _COMPARED_THERE.fullmatch(line.operands) if line.mnemonic == "cmp" else None
        compared = [(place, int(there[1], 0))] if there else _comparisons(lines, place)
        for at, number in compared:
            if number in numbers and not _leads_to(found, lines[at + 1 : at + 2], found.by_name[numbers[number]]):
                raise _refused(found, numbers[number], line.address)
        if (name := starts.get(_address_taken(line) or -1)) is not None:
            raise _refused(found, name, line.address)


def words_of_the_frame(found: Handlers, address: int) -> frozenset[tuple[str, int]]:
    """Words of the machine's stack (base register, displacement) that have a handler's frame once they are written to:
    in the function around an address one instruction alone writes to each, and that stores what the frame's register
    held when the function began.

    Args:
        found: with all code that goes on at units in its sweep.
    """
    around = found.code.image.code_range(address)
    if around is None or found.frame.path:
        return frozenset()
    frame = found.frame
    steps = found.code.straight(around[0], limit=_FUNCTION_LIMIT, follow=True)
    stored = {
        step.address: word
        for step, held in holding(steps, frame)
        if step.mnemonic == "mov"
        and (word := memory(step, 0)) is not None
        and word[0] in _OF_THE_STACK
        and register(step, 1) in held.registers
    }
    inside = [line for line in found.sweep.lines if around[0] <= line.address < around[1]]
    inside += _parts_elsewhere(found, around)
    touching = [found.code.at(line.address) for line in inside if _ON_THE_STACK.search(line.operands)]
    return frozenset(
        word
        for at, word in stored.items()
        if not any(step.address != at and _writes_to(step, word) for step in touching)
    )


def _writes_to(step: Instruction, word: tuple[str, int]) -> bool:
    """Whether an instruction writes to a word of the stack; that it moves the stack is no matter here."""
    place = Place(word[0], (word[1],))
    return changes(step, place) and word[0] not in written(step)


def _parts_elsewhere(found: Handlers, around: tuple[int, int]) -> list[Line]:
    """What a compiler moved away of a function: stretches that jump into its midst."""
    sources = found.sweep.jumps_into(around[0] + 1, around[1] - 1)
    others = {found.code.image.code_range(source) for source in sources if not around[0] <= source < around[1]}
    return found.code.sweep(filter(None, others)).lines


def _comparisons(lines: Sequence[Line], place: int) -> Iterator[tuple[int, int]]:
    """(which line, the number) of each comparison of what an instruction fetched as a unit, up to the next handler."""
    fetch = _FETCH.fullmatch(lines[place].operands) if lines[place].mnemonic.startswith("mov") else None
    holders = {full_register(fetch[1])} if fetch else set[str]()
    for at in range(place + 1, min(place + 1 + _DISPATCH_LIMIT, len(lines) - 1)):
        line = lines[at]
        if not holders or line.mnemonic in ("jmp", "call", "ret"):
            return
        goal, _, source = line.operands.partition(", ")
        if line.mnemonic == "cmp" and (found := _COMPARED.fullmatch(line.operands)):
            if full_register(found[1]) in holders:
                yield at, int(found[2], 0)
        elif line.mnemonic.startswith("mov") and full_register(source) in holders:
            holders.add(full_register(goal))
        elif line.mnemonic not in ("cmp", "test", "and") and line.mnemonic[0] != "j":
            holders.discard(full_register(goal))


def _leads_to(found: Handlers, jump: Sequence[Line], start: int) -> bool:
    """Whether an answer of "equal" goes to a handler's start, by nothing but the end of a function."""
    if not jump or jump[0].mnemonic not in ("je", "jne") or not jump[0].operands.startswith("0x"):
        return False
    goal, behind = int(jump[0].operands, 16), jump[0].address + jump[0].size
    way = goal if jump[0].mnemonic == "je" else behind
    for step in found.code.straight(way, limit=_LEAVING_LIMIT):
        if step.address == start or (step.mnemonic == "jmp" and target(step) == start):
            return True
        if step.mnemonic not in ("mov", "add", "pop", "lea"):
            return False
    return False


def _address_taken(line: Line) -> int | None:
    """The address that an instruction that goes nowhere names, from its own end on or as such."""
    if line.mnemonic[0] == "j" or line.mnemonic == "call":
        return None
    if line.mnemonic == "lea" and (found := _BY_DISTANCE.fullmatch(line.operands)):
        return line.address + line.size + int(found[1] + found[2], 0)
    _, _, number = line.operands.partition(", ")
    return int(number, 16) if re.fullmatch(r"0x[0-9a-f]+", number) else None


def _refused(found: Handlers, name: str, address: int) -> UnsupportedBuild:
    return UnsupportedBuild(
        f"{found.code.image.name} has copies of its {name} handler in others, at {address:#x}", "try --engine watch"
    )
