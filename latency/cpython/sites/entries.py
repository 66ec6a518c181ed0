"""Entry sites in the RESUME family, and where its unit is read from there, whose oparg tells a start from a resumption.

    behind the store   "frame->prev_instr (instr_ptr) = this unit" has run: the unit is read from the frame. clang can
                       have the address of that member on the machine's stack, beside that of the frame
    next_instr         where that store cannot be passed with the frame still in its register: clang copies the frame to
                       the stack and uses its register for the unit at once. Every handler starts with the unit in
                       next_instr. So the site lies before either register changes, at worst on the first instruction.

Source: Python/ceval_macros.h (INSTRUCTION_START, TARGET), Python/bytecodes.c (RESUME, RESUME_CHECK) from 3.12; the same
in Python/ceval.c of 3.11.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from latency.cpython.sites.code import (
    CALLEE_SAVED,
    Code,
    Instruction,
    emulated,
    is_branch,
    is_jump,
    memory,
    register,
    target,
    written,
)
from latency.cpython.sites.dispatch import Handlers, falls_into, refused
from latency.cpython.sites.holding import Held, changes, holding, origins
from latency.cpython.sites.plan import Place, Role, Site

ENTRY_OPCODES = ("RESUME", "RESUME_QUICK", "RESUME_CHECK", "RESUME_CHECK_JIT", "INSTRUMENTED_RESUME")

_DISPATCH_LIMIT = 24  # instructions up to a dispatch
_STORE_LIMIT = 32  # instructions up to the store, and to the site behind it


def entry_sites(found: Handlers) -> tuple[list[Site], dict[str, Place]]:
    """(the sites, the places to read at each of them: with ``entry.next_instr`` where the unit is read from that).

    Raises:
        UnsupportedBuild: neither way is there for each handler.
    """
    names = [name for name in ENTRY_OPCODES if name in found.by_name]
    pointers = _pointers_to_the_unit(found)
    steps = {name: _behind_the_store(found, name, pointers) for name in names}
    places = {"entry.frame": found.frame}
    if None in steps.values():
        steps = {name: _before_a_change(found, name) for name in names}
        places["entry.next_instr"] = found.next_instr
    sites = {
        step.address: found.code.site(Role.ENTRY, name, found.by_name[name], step)
        for name, step in reversed(steps.items())
        if step
    }  # two opcodes can have one handler, or one place in it
    return list(reversed(sites.values())), places


def _pointers_to_the_unit(found: Handlers) -> frozenset[Place]:
    """Words of the machine's stack that hold ``&frame->prev_instr`` (``instr_ptr``) when a handler starts: on a
    straight line to a dispatch the frame gets to its place, and the address of its member to these words."""
    member = re.compile(rf"r\w+, \[r\w+ \+ {found.instr_offset:#x}\]")
    pointers = set[Place]()
    for line in found.sweep.lines:
        if line.mnemonic == "lea" and member.fullmatch(line.operands):
            pointers |= _stored_up_to_a_dispatch(found, line.address)
    return frozenset(pointers)


def _stored_up_to_a_dispatch(found: Handlers, start: int) -> set[Place]:
    """The words to which an address is stored that the first instruction makes from the frame; none where it was made
    from something else."""
    steps = found.code.straight(start, limit=_DISPATCH_LIMIT, follow=True)
    first = next(steps)
    pointer, made_from = register(first, 0), memory(first, 1)
    frame = made_from[0] if made_from else ""
    there = not found.frame.path and found.frame.register == frame
    places = set[Place]()
    for step in steps:
        if is_jump(step) and target(step) is None:
            return places if there else set()
        stored, kept = memory(step, 0), register(step, 1)
        if is_branch(step) or step.mnemonic in ("call", "ret"):
            break
        places = {place for place in places if not changes(step, place)}
        there = there and not (found.frame.path and changes(step, found.frame))
        if step.mnemonic == "mov" and stored and kept and stored[0] in ("rsp", "rbp"):
            word = Place(stored[0], (stored[1],))
            if kept == pointer:
                places.add(word)
            there = there or (kept == frame and word == found.frame)
        changed = written(step)
        pointer = None if pointer in changed else pointer
        if frame in changed:
            frame, there = "", there and bool(found.frame.path)
    return set()


def _behind_the_store(found: Handlers, name: str, pointers: frozenset[Place]) -> Instruction | None:
    """Behind the store of the unit's address into the frame, so that its oparg can be read from there."""
    start = found.by_name[name]
    stored: Instruction | None = None
    fallback: Instruction | None = None
    steps = list(found.code.straight(start, limit=_STORE_LIMIT))
    came = (each for _, each in origins(steps, frame_pointer=found.frame.register == "rbp"))
    for (step, frame), before in zip(holding(steps, found.frame), came, strict=True):
        if not frame.intact:
            break
        if stored is None:
            if is_branch(step):
                break
            goal = memory(step, 0)
            through = step.mnemonic == "mov" and goal and goal[1] == 0 and before.get(goal[0]) in pointers
            if through or _stores_into(step, frame, found.instr_offset):
                stored = step
            continue
        if not _only_from_entries(found, start, step.address):
            break
        fallback = fallback or step
        if emulated(step):
            return step
    return fallback


def _stores_into(step: Instruction, frame: Held, offset: int) -> bool:
    place = memory(step, 0)
    return step.mnemonic == "mov" and place is not None and place[0] in frame.registers and place[1] == offset


def _only_from_entries(found: Handlers, start: int, last: int) -> bool:
    """Whether all jumps past the handler's start come from the handlers of its own family: RESUME_CHECK goes on in
    RESUME when its check fails, which is one entry seen twice, and the matching drops the second."""
    family = [found.by_name[name] for name in ENTRY_OPCODES if name in found.by_name]
    for source in found.sweep.jumps_into(start + 1, last):
        if not any(_in_straight_line(found.code, handler, source) for handler in family):
            return False
    return True


def _in_straight_line(code: Code, start: int, address: int, *, limit: int = 24) -> bool:
    return any(step.address == address for step in code.straight(start, limit=limit))


def _before_a_change(found: Handlers, name: str) -> Instruction:
    """The first emulated instruction before which nothing changes the registers of the frame and of next_instr, or the
    first one of all.

    That these hold the frame and the unit at the handler's start follows from what the handler stores where; that it is
    reached in no other way than by dispatch, from its being nobody's goal or successor.
    """
    image, start = found.code.image, found.by_name[name]
    if not _stores_its_unit(found, start):
        raise refused(
            image,
            f"has a {name} handler at {start:#x} that does not store next_instr ({found.next_instr}) into the frame "
            f"({found.frame}) where pylat can follow it",
        )
    if others := found.sweep.jumps_into(start, start):
        raise refused(image, f"jumps to its {name} handler at {start:#x} from {min(others):#x}")
    before = falls_into(found, start)
    # A call before it does not return if next_instr would not outlive it (_Py_FatalErrorFunc).
    outlives = all(place.path or place.register in CALLEE_SAVED for place in (found.frame, found.next_instr))
    if before and (before.mnemonic != "call" or outlives):
        raise refused(image, f"runs into its {name} handler at {start:#x} from {before.address:#x}")
    for step, frame, unit in _both(found, start):
        if found.sweep.jumps_into(start + 1, step.address) or not (frame.intact and unit.intact):
            break
        if emulated(step):
            return step
    return found.code.at(start)


def _both(found: Handlers, start: int) -> Iterator[tuple[Instruction, Held, Held]]:
    """The straight line from a handler's start, with who has the frame and the unit."""
    steps = list(found.code.straight(start, limit=_STORE_LIMIT))
    for (step, frame), (_, unit) in zip(holding(steps, found.frame), holding(steps, found.next_instr), strict=True):
        yield step, frame, unit


def _stores_its_unit(found: Handlers, start: int) -> bool:
    """Whether, on the straight line from the start, what next_instr held there is stored into the frame, if the frame's
    register held that; copies of both are followed."""
    for step, frame, unit in _both(found, start):
        if is_branch(step):
            return False
        if _stores_into(step, frame, found.instr_offset):
            return register(step, 1) in unit.registers
    return False
