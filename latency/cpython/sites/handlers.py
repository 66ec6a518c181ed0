"""Sites in the opcode handlers, CPython 3.11 and later, where Python calls Python without entering a C function.

    entry:  the RESUME family (see entries)
    exit:   where frames end: all the ways out (see endings)
    yield:  the YIELD_VALUE family

Source: Python/ceval.c of 3.11, Python/bytecodes.c and Python/ceval.c from 3.12.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from latency.cpython.offsets import Offsets
from latency.cpython.sites.code import emulated, memory
from latency.cpython.sites.copied import require_no_copies
from latency.cpython.sites.dispatch import Handlers, opcode_handlers
from latency.cpython.sites.endings import ending_sites, endings
from latency.cpython.sites.entries import ENTRY_OPCODES, entry_sites
from latency.cpython.sites.fetches import by_tail_calls, fetching
from latency.cpython.sites.holding import holding
from latency.cpython.sites.plan import Place, Role, Site, SitePlan
from latency.target.elf import Image

YIELD_OPCODES = ("YIELD_VALUE", "INSTRUMENTED_YIELD_VALUE")

_MANY_LOADS = 16
_YIELD_LIMIT = 64  # instructions of a handler that yields

# Bits of RESUME's oparg that say where it stands: all to 3.12, RESUME_OPARG_LOCATION_MASK after (3.13: 3, 3.15: 7).
RESUME_MASKS = {(3, 11): 0xFF, (3, 12): 0xFF, (3, 13): 0x3, (3, 14): 0x3, (3, 15): 0x7}
# In 3.15 a generator expression runs one more RESUME before its generator is made.
_CREATOR_OPARGS = {(3, 15): 4}


def plan(image: Image, version: tuple[int, int, int], offsets: Offsets, known: Handlers | None = None) -> SitePlan:
    """The ``handlers`` engine's plan; ``known`` are the image's handlers, where somebody has just looked for them.

    Raises:
        UnsupportedBuild: what was not found is said.
    """
    minor = version[:2]
    found = known or opcode_handlers(image, minor, offsets)
    if by_tail_calls(found):
        lines = found.code.sweep(fetching(found)).lines
        require_no_copies(found, lines, (*ENTRY_OPCODES, *YIELD_OPCODES))
    entries, places = entry_sites(found)
    yields = [_yield_site(found, name) for name in YIELD_OPCODES if name in found.by_name]
    places["yield.frame"] = found.frame
    exits, where = ending_sites(found, offsets, endings(found, offsets))
    return plan_of(found, minor, (*exits, *yields, *entries), places | where)


def plan_of(found: Handlers, minor: tuple[int, int], sites: tuple[Site, ...], places: Mapping[str, Place]) -> SitePlan:
    """These sites and places, and what else holds for all plans of these handlers."""
    return SitePlan(
        engine="handlers",
        sites=sites,
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


def unwinding_sites(found: Handlers, offsets: Offsets) -> tuple[Site, ...]:
    """3.12: the calls of the function that every frame ends in, but for those of plain returns: exceptions, which leave
    by one of them (exit_unwind), and returns that are instrumented.

    Raises:
        UnsupportedBuild: the handlers are not as this version's are.
    """
    ends = endings(found, offsets)
    others = sorted({*ends.raises, *ends.returns} - ends.plain)
    return tuple(found.code.site(Role.RAISE, "exit_unwind", address, found.code.at(address)) for address in others)


def home_of_frames(found: Handlers) -> Place | None:
    """Where the interpreter keeps the frame on the stack while it uses its register for something else, as clang does
    again and again: the word from which that register is loaded in many places. None: in no such place."""
    if found.frame.path:
        return None
    load = re.compile(rf"{found.frame.register}, qword ptr \[r[sb]p(?: [+-] (?:0x)?[0-9a-f]+)?\]")
    lines = (line for line in found.sweep.lines if line.mnemonic == "mov" and load.fullmatch(line.operands))
    words = Counter(memory(found.code.at(line.address), 1) for line in lines)
    ((word, number),) = words.most_common(1) or [(None, 0)]
    frame_pointer = word is not None and (word[0] == "rsp" or found.frame_pointer)
    return Place(word[0], (word[1],)) if word and frame_pointer and number >= _MANY_LOADS else None


def _yield_site(found: Handlers, name: str) -> Site:
    """The first emulated instruction that only this handler reaches; its first instruction where there is none."""
    start = found.by_name[name]
    chosen = found.code.at(start)
    for step, frame in holding(found.code.straight(start, limit=_YIELD_LIMIT), found.frame):
        if found.sweep.jumps_into(start + 1, step.address) or not frame.intact:
            break
        if emulated(step):
            chosen = step
            break
    return found.code.site(Role.YIELD, name, start, chosen)
