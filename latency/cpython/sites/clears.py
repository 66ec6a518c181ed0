"""Exit sites of 3.12 and later: where frames are cleared, once for each return and each exception.

    _PyEval_FrameClearAndPop(tstate, frame)   all, or those of them that still call it, where
    RETURN_VALUE, RETURN_CONST, exit_unwind   hold copies of it: clang inlines it there, going by a profile

Each copy begins by asking ``frame->owner``. That a copy is there shows in what nothing else in the interpreter does:
``gen->gi_frame_state = FRAME_CLEARED``, by the frame within the generator.

Source: Python/ceval.c (_PyEval_FrameClearAndPop, clear_thread_frame, clear_gen_frame), Python/bytecodes.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from latency.cpython.offsets import Offsets
from latency.cpython.sites.code import (
    Instruction,
    copies,
    first_emulated,
    is_branch,
    is_jump,
    memory,
    target,
    text,
    written,
)
from latency.cpython.sites.dispatch import Handlers, falls_into, refused
from latency.cpython.sites.plan import Place, Role, Site

CLEAR = ("_PyEval_FrameClearAndPop", "_PyEvalFrameClearAndPop")  # exported from 3.13; local in 3.12

_RETURNS = ("RETURN_VALUE", "RETURN_CONST")
# Instructions up to frame->owner, from there to the store, and when an immortal constant is not counted.
_QUESTION_LIMIT, _COPY_LIMIT, _DETOUR_LIMIT = 32, 24, 8
_CALL_LIMIT, _UNWINDING_LIMIT, _ANSWER_LIMIT = 48, 8, 4


def clear_site(found: Handlers, offsets: Offsets) -> Site:
    """3.12 and later: the first emulated instruction of the function that every frame ends in."""
    image, code = found.code.image, found.code
    symbols = image.symbols(CLEAR)
    name = next((name for name in CLEAR if name in symbols), "")
    start = symbols[name].address if name else _called_on_return(found, offsets)
    if not any(_asks_owner(step, held, offsets) for step, held in copies(code.straight(start, limit=40), "rsi")):
        raise refused(image, f"has no {CLEAR[0]} that looks at frame->owner at {start:#x}")
    steps = list(code.straight(start, limit=24))
    chosen = first_emulated(
        copies(steps, "rsi"), lambda step, held: "rsi" in held and not found.sweep.jumps_into(start + 1, step.address)
    )
    return code.site(Role.EXIT, name or CLEAR[1], start, chosen[0] if chosen else steps[0])


def _asks_owner(step: Instruction, holders: Iterable[str], offsets: Offsets) -> bool:
    place = memory(step, 0)
    return step.mnemonic == "cmp" and place is not None and place[0] in holders and place[1] == offsets["frame.owner"]


def _called_on_return(found: Handlers, offsets: Offsets) -> int:
    """3.12, stripped: the first call behind ``tstate->py_recursion_remaining++`` on RETURN_VALUE's path."""
    counted = False
    for step in found.code.straight(found.by_name["RETURN_VALUE"], limit=64, follow=True):
        place = memory(step, 0)
        counted = counted or bool(step.mnemonic in ("add", "inc") and place and place[1] == offsets["tstate.recursion"])
        if counted and step.mnemonic == "call":
            goal = target(step)
            if goal is not None:
                return goal
    raise refused(found.code.image, f"does not call {CLEAR[0]} on the path of RETURN_VALUE")


def inlined_sites(found: Handlers, offsets: Offsets, clear: int) -> tuple[list[Site], dict[str, Place]]:
    """(the sites of the copies of the function at ``clear``, the places to read there).

    Raises:
        UnsupportedBuild: there is a copy that pylat cannot follow: frames could end unseen.
    """
    stores = _state_stores(found, offsets)
    places: dict[str, Place] = {}
    sites: list[Site] = []
    calling = [name for name in (*_RETURNS, *map("INSTRUMENTED_{}".format, _RETURNS)) if name in found.by_name]
    for name in _RETURNS:
        line = _up_to_the_answer(found, name, offsets) if name in found.by_name else []
        if line:
            calling.remove(name)
            copy = _copy_in_a_return(found, name, line, stores)
            stores.discard(copy)
            sites.append(found.code.site(Role.RETURN, name, line[0].address, line[-1]))
            places["return.frame"] = Place(found.frame)
    if len(stores) == 1 and all(_calls(found, name, clear) for name in calling):
        # The one that ends frames and is left.
        unwinding = _copy_of_unwinding(found, offsets, *stores)
        if unwinding:
            answers, frame, tstate = unwinding
            sites.append(found.code.site(Role.RAISE, "exit_unwind", answers.address, answers))
            places |= {"raise.frame": Place(frame), "raise.tstate": Place(tstate)}
            stores.clear()
    if stores:
        raise refused(
            found.code.image,
            f"has a copy of {CLEAR[0]} in the interpreter, at {min(stores):#x}: frames could end unseen",
        )
    return sites, places


def _copy_in_a_return(found: Handlers, name: str, line: list[Instruction], stores: set[int]) -> int:
    """The store that belongs to the copy in this handler."""
    image, start, answers = found.code.image, line[0].address, line[-1]
    copy = _copy_behind(found, answers, stores)
    if not copy:
        raise refused(image, f"asks whose frame it is in {name}, at {answers.address:#x}, and does not clear it there")
    others = _others(found, copy, answers) | found.sweep.jumps_into(start, answers.address)
    for branch in filter(is_branch, line[:-1]):
        detour = _detour(found, branch, answers.address)
        others |= _others(found, detour, branch)
        others -= {branch.address, *detour}
    if others:
        raise refused(image, f"clears a frame in {name}, at {copy[-1]:#x}, for {min(others):#x} too")
    return copy[-1]


def _calls(found: Handlers, name: str, clear: int) -> bool:
    """Whether a handler calls the function on its straight line, or on the other way of one of its branches: an
    instrumented return goes on when its callback has not failed."""
    call = f"call {clear:#x}"
    for step in found.code.straight(found.by_name[name], limit=_CALL_LIMIT):
        if text(step) == call:
            return True
        way = target(step) if is_branch(step) else None
        if way and any(text(each) == call for each in found.code.straight(way, limit=_COPY_LIMIT, follow=True)):
            return True
    return False


def _copy_of_unwinding(found: Handlers, offsets: Offsets, store: int) -> tuple[Instruction, str, str] | None:
    """(the jump by whose frame it is, the registers of frame and thread state there) of exit_unwind: behind
    ``tstate->py_recursion_remaining++``, with nothing that jumps in between."""
    lines = found.sweep.lines
    for place, line in enumerate(lines):
        if line.mnemonic != "cmp" or not line.operands.endswith(f"+ {offsets['frame.owner']:#x}], 0"):
            continue
        asks = memory(found.code.at(line.address), 0)
        answers = _answer(found, line.address, asks[0]) if asks else None
        copy = _copy_behind(found, answers, {store}) if answers else []
        if not asks or not answers or not copy:
            continue
        for before in reversed(lines[max(0, place - _UNWINDING_LIMIT) : place]):
            step = found.code.at(before.address)
            counted = memory(step, 0)
            if step.mnemonic in ("inc", "add") and counted and counted[1] == offsets["tstate.recursion"]:
                between = list(found.code.straight(before.address, limit=_UNWINDING_LIMIT + _ANSWER_LIMIT))
                between = [each for each in between if each.address < answers.address]
                held = not any({asks[0], counted[0]} & written(each) for each in between)
                alone = not found.sweep.jumps_into(before.address + 1, answers.address)
                if held and alone and not _others(found, copy, answers):
                    return answers, asks[0], counted[0]
                return None
            if is_branch(step) or is_jump(step) or step.mnemonic in ("call", "ret"):
                return None
    return None


def _answer(found: Handlers, question: int, frame: str) -> Instruction | None:
    """The jump by the answer of a comparison; None if the frame's register changes before it."""
    for step in found.code.straight(question, limit=_ANSWER_LIMIT):
        if is_branch(step):
            return step
        if frame in written(step) or (step.address != question and step.mnemonic != "mov"):
            return None
    return None


def _copy_behind(found: Handlers, answers: Instruction, stores: set[int]) -> list[int]:
    """The addresses from the jump to the store, with it; none if neither way reaches one."""
    after = answers.address + answers.size
    ways = [_way(found, way, stores) for way in (after, target(answers) or after)]
    return next((way for way in ways if way), [])


def _state_stores(found: Handlers, offsets: Offsets) -> set[int]:
    below, cleared = offsets["gen.iframe"] - offsets["gen.frame_state"], offsets.constants["FRAME_CLEARED"]
    store = re.compile(rf"byte ptr \[r\w+ - (0x)?{below:x}\], (0x)?{cleared:x}")
    return {line.address for line in found.sweep.lines if line.mnemonic == "mov" and store.fullmatch(line.operands)}


def _up_to_the_answer(found: Handlers, name: str, offsets: Offsets) -> list[Instruction]:
    """The straight line from the handler's start to the jump by what ``frame->owner`` is, behind the stores of what a
    returned value is found by (the unit, the stack pointer). Empty if there is none with the frame in its register."""
    wanted = {found.instr_offset}
    if name == "RETURN_VALUE":
        wanted.add(offsets["frame.stackpointer" if "frame.stackpointer" in offsets else "frame.stacktop"])
    line: list[Instruction] = []
    for step in found.code.straight(found.by_name[name], limit=_QUESTION_LIMIT):
        line.append(step)
        if step.mnemonic == "call" or found.frame in written(step):
            return []
        if _asks_owner(step, (found.frame,), offsets):
            answers = _answer(found, step.address, found.frame)
            return [*line, answers] if answers and not wanted else []
        place = memory(step, 0)
        if place and place[0] == found.frame and step.mnemonic == "mov":
            wanted.discard(place[1])
    return []


def _detour(found: Handlers, branch: Instruction, last: int) -> list[int]:
    """The addresses of what runs when a branch is taken, up to where it comes back to the line that ends at ``last``.

    Raises:
        UnsupportedBuild: it does not come back with the frame in its register.
    """
    detour: list[int] = []
    for step in found.code.straight(target(branch) or branch.address, limit=_DETOUR_LIMIT, follow=True):
        if branch.address < step.address <= last:
            return detour
        if step.mnemonic == "call" or is_branch(step) or found.frame in written(step):
            break
        detour.append(step.address)
    raise refused(found.code.image, f"leaves the way to the end of a frame at {branch.address:#x}")


def _way(found: Handlers, address: int, stores: set[int]) -> list[int]:
    """The addresses from there to the store, with it; none if it is not reached."""
    steps = [step.address for step in found.code.straight(address, limit=_COPY_LIMIT, follow=True)]
    end = next((place for place, at in enumerate(steps, 1) if at in stores), 0)
    return steps[:end]


def _others(found: Handlers, steps: list[int], branch: Instruction) -> set[int]:
    """Who comes to these steps and is none of them, nor the branch that leads to them."""
    sources = {source for step in steps for source in found.sweep.jumps_into(step, step)}
    sources |= {before.address for step in steps if (before := falls_into(found, step))}
    return sources - {branch.address, *steps}
