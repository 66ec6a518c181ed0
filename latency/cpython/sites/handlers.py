"""Sites in the opcode handlers, CPython 3.11 and later, where Python calls Python without entering a C function.

    entry:  the RESUME family (see entries)
    exit:   3.11: RETURN_VALUE and exception_unwind, where each asks frame->is_entry
            3.12 and later: _PyEval_FrameClearAndPop(tstate, frame), once per return and exception (see clears)
    yield:  the YIELD_VALUE family

Source: Python/ceval.c of 3.11, Python/bytecodes.c and Python/ceval.c from 3.12.
"""

from __future__ import annotations

from latency.cpython.offsets import Offsets
from latency.cpython.sites.clears import clear_site, inlined_sites
from latency.cpython.sites.code import (
    Code,
    emulated,
    first_emulated,
    is_branch,
    is_jump,
    memory,
    target,
    written,
)
from latency.cpython.sites.dispatch import Handlers, opcode_handlers, parts_of, refused
from latency.cpython.sites.entries import entry_sites
from latency.cpython.sites.opcodes import find_table, opcodes
from latency.cpython.sites.plan import Place, Role, Site, SitePlan
from latency.target.elf import Image

YIELD_OPCODES = ("YIELD_VALUE", "INSTRUMENTED_YIELD_VALUE")

_TRACING_LIMIT = 400  # instructions of DO_TRACING

# Bits of RESUME's oparg that say where it stands: all to 3.12, RESUME_OPARG_LOCATION_MASK after (3.13: 3, 3.15: 7).
RESUME_MASKS = {(3, 11): 0xFF, (3, 12): 0xFF, (3, 13): 0x3, (3, 14): 0x3, (3, 15): 0x7}
# 3.15 runs RESUME once more in the call that creates a generator expression.
_CREATOR_OPARGS = {(3, 15): 4}


def plan(image: Image, version: tuple[int, int, int], offsets: Offsets) -> SitePlan:
    """The ``handlers`` engine's plan. Raises UnsupportedBuild, saying what was not found."""
    minor = version[:2]
    found = opcode_handlers(image, minor, offsets)
    entries, places = entry_sites(found)
    yields = [_yield_site(found, name) for name in YIELD_OPCODES if name in found.by_name]
    places["yield.frame"] = Place(found.frame)
    if "frame.is_entry" in offsets:  # 3.11
        exits, tstate = _exits_asking_is_entry(found, offsets)
        frame = Place(found.frame)
        places |= {"return.frame": frame, "raise.frame": frame, "raise.tstate": Place(tstate)}
    else:
        cleared = clear_site(found, offsets)
        copies, where = inlined_sites(found, offsets, cleared.start)
        exits = [cleared, *copies]
        places |= {"exit.frame": Place("rsi"), "exit.tstate": Place("rdi"), **where}
    return SitePlan(
        engine="handlers",
        sites=(*exits, *yields, *entries),
        places=places,
        start_by="oparg",
        resume_mask=RESUME_MASKS[minor],
        creator_oparg=_CREATOR_OPARGS.get(minor),
        may_repeat=True,
        notes=(
            f"opcode handlers at {found.table:#x}: frame in {found.frame}, next_instr in {found.next_instr}, "
            f"stack pointer in {found.stack_pointer}",
        ),
    )


def interpreter_parts(image: Image, minor: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """The stretches of code (begin and end addresses) that hold the opcode handlers, which fetch the units.

    Raises:
        UnsupportedBuild: there is no table of handlers, or they lie outside the unwinder's table.
    """
    _, targets = find_table(image, opcodes(minor))
    return tuple(parts_of(image, targets))


def unwinding_sites(image: Image, minor: tuple[int, int], offsets: Offsets) -> tuple[Site, ...]:
    """3.12: the calls of the function that every frame ends in, but for those of plain returns: exceptions, which leave
    by one of them (exit_unwind), and returns that are instrumented.

    Raises:
        UnsupportedBuild: the handlers are not as this version's are.
    """
    found = opcode_handlers(image, minor, offsets)
    start = clear_site(found, offsets).start
    returns = {
        address
        for name in ("RETURN_VALUE", "RETURN_CONST")
        if name in found.by_name
        for address in _reached(found.code, found.by_name[name])
    }
    calls = [line.address for line in found.sweep.lines if line.mnemonic == "call" and line.operands == f"{start:#x}"]
    others = [address for address in calls if address not in returns]
    if len(others) == len(calls):
        return ()  # it is called in another way, which is not known
    return tuple(found.code.site(Role.RAISE, "exit_unwind", address, found.code.at(address)) for address in others)


def tracing_fetches(image: Image, minor: tuple[int, int], offsets: Offsets) -> tuple[int, ...]:
    """3.11: the addresses behind the instructions by which DO_TRACING fetches a unit that was fetched already.

    Every unit is dispatched to that handler while a tracer is on. On each way through it the first load from
    ``next_instr`` is the one.

    Raises:
        UnsupportedBuild: the handlers are not as this version's are.
    """
    found = opcode_handlers(image, minor, offsets)
    ways, seen, fetches = [found.by_name["DO_TRACING"]], set[int](), set[int]()
    while ways and len(seen) < _TRACING_LIMIT:
        step = found.code.at(ways.pop())
        if step.address in seen:
            continue
        seen.add(step.address)
        after = step.address + step.size
        if memory(step, 1) == (found.next_instr, 0):
            fetches.add(after)
            continue
        goal = target(step)
        if goal is not None and (is_branch(step) or is_jump(step)):
            ways.append(goal)
        if not (is_jump(step) or step.mnemonic.startswith("ret")):
            ways.append(after)
    return tuple(sorted(fetches))


def _yield_site(found: Handlers, name: str) -> Site:
    """The first emulated instruction that only this handler reaches; its first instruction where there is none."""
    start = found.by_name[name]
    chosen = found.code.at(start)
    for step in found.code.straight(start, limit=24):
        if found.sweep.jumps_into(start + 1, step.address):
            break
        if emulated(step):
            chosen = step
            break
        if found.frame in written(step):
            break
    return found.code.site(Role.YIELD, name, start, chosen)


def _exits_asking_is_entry(found: Handlers, offsets: Offsets) -> tuple[list[Site], str]:
    """3.11: (the sites of RETURN_VALUE and of exception_unwind, the register of the thread state).

    Three places ask ``frame->is_entry``: RETURN_VALUE, RETURN_GENERATOR (which creates, and ends no call), and the end
    of exception_unwind: the one that neither handler reaches.
    """
    image = found.code.image
    question = f"byte ptr [{found.frame} + {offsets['frame.is_entry']:#x}], 0"
    asked = {line.address for line in found.sweep.lines if line.mnemonic == "cmp" and line.operands == question}
    of_return = asked & _reached(found.code, found.by_name["RETURN_VALUE"])
    of_generator = asked & _reached(found.code, found.by_name["RETURN_GENERATOR"])
    unwinding = asked - of_return - of_generator
    if len(of_return) != 1 or len(unwinding) != 1:
        raise refused(
            image, f"asks frame->is_entry at {len(of_return)} places on return and {len(unwinding)} on exceptions"
        )
    tstate = _thread_state(found, offsets)
    return [
        _question_site(found, Role.RETURN, "RETURN_VALUE", found.by_name["RETURN_VALUE"], of_return.pop()),
        _question_site(found, Role.RAISE, "exception_unwind", min(unwinding), unwinding.pop()),
    ], tstate


def _reached(code: Code, start: int) -> set[int]:
    return {step.address for step in code.straight(start, limit=48, follow=True)}


def _question_site(found: Handlers, role: Role, name: str, start: int, question: int) -> Site:
    """The jump that answers the comparison (emulated), if nothing else jumps between the two; else the comparison."""
    steps = found.code.straight(question, limit=8)
    chosen = first_emulated(
        ((step, frozenset[str]()) for step in steps),
        lambda step, _: not found.sweep.jumps_into(question + 1, step.address),
    )
    return found.code.site(role, name, start, chosen[0] if chosen else found.code.at(question))


def _thread_state(found: Handlers, offsets: Offsets) -> str:
    """The register of the thread state, from RETURN_VALUE's ``tstate->recursion_remaining++``."""
    for step in found.code.straight(found.by_name["RETURN_VALUE"], limit=48, follow=True):
        place = memory(step, 0)
        if place and place[1] == offsets["tstate.recursion"] and place[0] not in (found.frame, "rsp"):
            return place[0]
    raise refused(found.code.image, "has a RETURN_VALUE handler that does not touch the recursion counter")
