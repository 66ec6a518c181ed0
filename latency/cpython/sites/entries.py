"""Entry sites in the RESUME family, and where its unit is read from there, whose oparg tells a start from a resumption.

    behind the store   "frame->prev_instr (instr_ptr) = this unit" has run: the unit is read from the frame
    next_instr         where that store cannot be passed with the frame still in its register: clang copies the frame to
                       the stack and uses its register for the unit at once. Every handler starts with the unit in
                       next_instr. So the site lies before either register changes, at worst on the first instruction.

Source: Python/ceval_macros.h (INSTRUCTION_START, TARGET), Python/bytecodes.c (RESUME, RESUME_CHECK) from 3.12; the same
in Python/ceval.c of 3.11.
"""

from __future__ import annotations

from latency.cpython.sites.code import (
    CALLEE_SAVED,
    Code,
    Instruction,
    copies,
    emulated,
    is_branch,
    memory,
    register,
    written,
)
from latency.cpython.sites.dispatch import Handlers, falls_into, refused
from latency.cpython.sites.plan import Place, Role, Site

ENTRY_OPCODES = ("RESUME", "RESUME_QUICK", "RESUME_CHECK", "RESUME_CHECK_JIT", "INSTRUMENTED_RESUME")

_STORE_LIMIT = 32  # instructions up to the store, and to the site behind it


def entry_sites(found: Handlers) -> tuple[list[Site], dict[str, Place]]:
    """(the sites, the places to read at each of them: with ``entry.next_instr`` where the unit is read from that).

    Raises:
        UnsupportedBuild: neither way is there for each handler.
    """
    names = [name for name in ENTRY_OPCODES if name in found.by_name]
    steps = {name: _behind_the_store(found, name) for name in names}
    places = {"entry.frame": Place(found.frame)}
    if None in steps.values():
        steps = {name: _before_a_change(found, name) for name in names}
        places["entry.next_instr"] = Place(found.next_instr)
    return [
        found.code.site(Role.ENTRY, name, found.by_name[name], step) for name, step in steps.items() if step
    ], places


def _behind_the_store(found: Handlers, name: str) -> Instruction | None:
    """Behind the store of the unit's address into the frame, so that its oparg can be read from there."""
    start = found.by_name[name]
    stored: Instruction | None = None
    fallback: Instruction | None = None
    for step in found.code.straight(start, limit=_STORE_LIMIT):
        if stored is None:
            if is_branch(step) or found.frame in written(step):
                break
            if step.mnemonic == "mov" and memory(step, 0) == (found.frame, found.instr_offset):
                stored = step
            continue
        if not _only_from_entries(found, start, step.address):
            break
        fallback = fallback or step
        if emulated(step):
            return step
        if found.frame in written(step):
            break
    return fallback


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
    if before and (before.mnemonic != "call" or {found.frame, found.next_instr} <= CALLEE_SAVED):
        raise refused(image, f"runs into its {name} handler at {start:#x} from {before.address:#x}")
    for step in found.code.straight(start, limit=_STORE_LIMIT):
        if found.sweep.jumps_into(start + 1, step.address):
            break
        if emulated(step):
            return step
        if {found.frame, found.next_instr} & written(step):
            break
    return found.code.at(start)


def _stores_its_unit(found: Handlers, start: int) -> bool:
    """Whether, on the straight line from the start, what next_instr held there is stored into the frame, if the frame's
    register held that; copies of both are followed."""
    units = copies(found.code.straight(start, limit=_STORE_LIMIT), found.next_instr)
    frames = copies(found.code.straight(start, limit=_STORE_LIMIT), found.frame)
    for (step, holding_unit), (_, holding_frame) in zip(units, frames, strict=True):
        if is_branch(step):
            return False
        place = memory(step, 0)
        if step.mnemonic == "mov" and place and place[1] == found.instr_offset and place[0] in holding_frame:
            return register(step, 1) in holding_unit
    return False
