"""Where frames give back their code objects (3.12 and later): the stretch of code in which the watch engine's
watchpoint on a code object's reference count must be hit at the end of each call.

    _PyEval_FrameClearAndPop   itself; or where it goes on to: ``clear_thread_frame``, if that is a function of its own;
                               or what all its copies in the interpreter call, if there is nothing else

Source: Python/ceval.c (clear_thread_frame: ``Py_DECREF(frame->f_executable)``).
"""

from __future__ import annotations

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
    waiting = [(start, frozenset({"rsi"}), "")]
    seen: set[tuple[int, frozenset[str], str]] = set()
    while waiting and around and len(seen) < _FUNCTION_LIMIT:
        state = waiting.pop()
        address, frame, loaded = state
        if state in seen or not around[0] <= address < around[1]:
            continue
        seen.add(state)
        step = code.at(address)
        if loaded and memory(step, 0) == (loaded, offsets["object.refcnt"]) and writes(step):
            return True
        source, destination = memory(step, 1), register(step, 0)
        moves = destination if step.id == x86.X86_INS_MOV else None
        if loaded in written(step) and step.id != x86.X86_INS_AND:  # the flags of a tagged pointer are taken off
            loaded = ""
        if moves and source and source[0] in frame and source[1] == offsets["frame.code"]:
            loaded = moves
        frame = (frame - written(step)) | (frozenset({moves}) if moves and register(step, 1) in frame else frozenset())
        goal = target(step) if is_branch(step) or is_jump(step) else None
        if goal is not None:
            waiting.append((goal, frame, loaded))
        if not (is_jump(step) or step.group(capstone.CS_GRP_RET)):
            waiting.append((address + step.size, frame, loaded))
    return False


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
