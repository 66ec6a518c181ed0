"""Where frames give back their code objects (3.12 and later): the stretch of code in which the watch engine's
watchpoint on a code object's reference count must be hit at the end of each call.

    _PyEval_FrameClearAndPop   itself; or where it goes on to: ``clear_thread_frame``, if that is a function of its own;
                               or what all its copies in the interpreter call, if there is nothing else

Source: Python/ceval.c (clear_thread_frame: ``Py_DECREF(frame->f_executable)``).
"""

from __future__ import annotations

from typing import NamedTuple

import capstone
import capstone.x86_const as x86

from latency.cpython.offsets import Offsets
from latency.cpython.sites.code import Code, Instruction, is_branch, is_jump, memory, register, target, written
from latency.cpython.sites.holding import writes
from latency.cpython.sites.plan import Role, Site, SitePlan
from latency.errors import UnsupportedBuild

_FUNCTION_LIMIT = 2048  # instructions of a function that releases frames, and states of its registers
_WAY_LIMIT = 8  # from whose frame it is to the call of what releases it


def releasing(code: Code, plan: SitePlan, offsets: Offsets) -> tuple[int, int]:
    """(begin, end) of the function in which every frame of a thread gives back its code object.

    Raises:
        UnsupportedBuild: there is no one such function.
    """
    called, copied = list(plan.of(Role.EXIT)), [*plan.of(Role.RETURN), *plan.of(Role.RAISE)]
    if called and copied:
        raise _refused(code, f"releases frames in {copied[0].name} too")
    if called:
        start = called[0].start
        starts = {start} if _releases(code, start, offsets) else _goals(code, start, offsets)
    else:
        starts = set.intersection(*(_behind(code, site, offsets) for site in copied))
    around = code.image.code_range(starts.pop()) if len(starts) == 1 else None
    if around is None:
        raise _refused(code, "does not show one function in which frames give back their code objects")
    return around


def _behind(code: Code, site: Site, offsets: Offsets) -> set[int]:
    """What is called on either way behind a jump, and releases a frame."""
    jump = code.at(site.address)
    ways = [jump.address + jump.size, target(jump) or 0]
    found = set()
    for way in filter(None, ways):
        for step in code.straight(way, limit=_WAY_LIMIT):
            if step.group(capstone.CS_GRP_CALL):
                goal = target(step)
                if goal is not None and _releases(code, code.lands(goal), offsets):
                    found.add(code.lands(goal))
                break
    return found


def _goals(code: Code, start: int, offsets: Offsets) -> set[int]:
    """The functions that one calls, or jumps to, and that release a frame."""
    around = code.image.code_range(start) or (start, start)
    found = set()
    for step in _function(code, start):
        goal = target(step)
        if goal is not None and not around[0] <= goal < around[1] and _releases(code, code.lands(goal), offsets):
            found.add(code.lands(goal))
    return found


def _releases(code: Code, start: int, offsets: Offsets) -> bool:
    """Whether a function loads the code object of the frame that is its second argument, and then changes its count."""
    around = code.image.code_range(start)
    waiting = [(start, _Frame(frozenset({"rsi"}), frozenset(), ""))]
    seen = set(waiting)
    while waiting and around:
        address, before = waiting.pop()
        step = code.at(address)
        if before.code and memory(step, 0) == (before.code, offsets["object.refcnt"]) and writes(step):
            return True
        after = _behind_step(step, before, offsets)
        goal = target(step) if is_branch(step) or is_jump(step) else None
        ends = is_jump(step) or step.group(capstone.CS_GRP_RET)
        for each in ([] if ends else [address + step.size]) + ([] if goal is None else [goal]):
            if around[0] <= each < around[1] and (each, after) not in seen and len(seen) < _FUNCTION_LIMIT:
                seen.add((each, after))
                waiting.append((each, after))
    return False


class _Frame(NamedTuple):
    """What holds the frame: registers, and words above the stack pointer; and the register of its code object."""

    registers: frozenset[str]
    words: frozenset[int]
    code: str


def _behind_step(step: Instruction, before: _Frame, offsets: Offsets) -> _Frame:
    changed = written(step)
    stored, loaded, source, destination = memory(step, 0), memory(step, 1), register(step, 1), register(step, 0)
    moves = step.id == x86.X86_INS_MOV
    words = frozenset[int]() if "rsp" in changed else before.words
    if moves and stored and stored[0] == "rsp":
        words = words | {stored[1]} if source in before.registers else words - {stored[1]}
    # the flags of a tagged pointer are taken off
    code = "" if before.code in changed and step.id != x86.X86_INS_AND else before.code
    registers = before.registers - changed
    if moves and destination:
        if source in before.registers or (loaded and loaded[0] == "rsp" and loaded[1] in before.words):
            registers |= {destination}
        if loaded and loaded[0] in before.registers and loaded[1] == offsets["frame.code"]:
            code = destination
    return _Frame(registers, words, code)


def _function(code: Code, start: int) -> list[Instruction]:
    """A function's instructions, as they lie."""
    around = code.image.code_range(start)
    steps: list[Instruction] = []
    if around is None:
        return steps
    address = start
    while address < around[1] and len(steps) < _FUNCTION_LIMIT:
        steps.append(code.at(address))
        address += steps[-1].size
    return steps


def _refused(code: Code, what: str) -> UnsupportedBuild:
    return UnsupportedBuild(f"{code.image.name} {what}", "try another --engine")
