"""Where frames give back their code objects (3.12 and later): the stretches of code in which the watch engine's
watchpoint on a code object's reference count must be hit at the end of each call.

    _PyEval_FrameClearAndPop   itself; or where it goes on to: ``clear_thread_frame``, if that is a function of its own
    each copy of it            the instruction itself; or what it calls

Source: Python/ceval.c (clear_thread_frame: ``Py_DECREF(frame->f_executable)``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import capstone
import capstone.x86_const as x86

from latency.cpython.offsets import Offsets
from latency.cpython.sites.code import Code, Instruction, is_branch, is_jump, memory, register, target, written
from latency.cpython.sites.holding import writes
from latency.cpython.sites.plan import Place, Role, Site, SitePlan
from latency.errors import UnsupportedBuild

_FUNCTION_LIMIT = 2048  # instructions of a function that releases frames, and states of its registers
_COPY_LIMIT = 32  # of a copy of that, from whose frame it is
WHOLE_COPY_LIMIT = 512  # and of one that holds copies of what it calls, too
_WAY_LIMIT = 8  # from whose frame it is to the call of what releases it


class Asked(NamedTuple):
    """A copy: its site, on the jump by the answer; the registers and the words of the machine's stack (base register,
    displacement) that have the frame there; how many steps are looked at behind it."""

    site: Site
    registers: frozenset[str]
    words: frozenset[tuple[str, int]] = frozenset()
    limit: int = _COPY_LIMIT

    @classmethod
    def at(cls, site: Site, frame: Place) -> Asked:
        """Where the frame is in one place."""
        if frame.path:
            return cls(site, frozenset(), frozenset({(frame.register, frame.path[0])}))
        return cls(site, frozenset({frame.register}))


def releasing(code: Code, plan: SitePlan, offsets: Offsets) -> tuple[tuple[int, int], ...]:
    """The stretches of code (begin, end) in which every frame of a thread gives back its code object.

    Raises:
        UnsupportedBuild: there is a place where frames end that leads to no such stretch.
    """
    asked = [
        Asked.at(site, plan.places[f"{role.value}.frame"])
        for role in (Role.RETURN, Role.RAISE)
        for site in plan.of(role)
    ]
    return releasing_at(code, plan.of(Role.EXIT), asked, offsets)


def releasing_at(
    code: Code, exits: Iterable[Site], asked: Iterable[Asked], offsets: Offsets
) -> tuple[tuple[int, int], ...]:
    """The same of some places where frames end.

    Args:
        exits: in functions whose second argument the frame is.
        asked: of copies.
    """
    stretches = set[tuple[int, int]]()
    for site in exits:
        start = site.start
        starts = {start} if _releases(code, start, offsets) else _goals(code, start, offsets)
        if len(starts) != 1:
            raise _refused(code, site)
        stretches.add(_around(code, starts.pop(), site))
    for each in asked:
        stretches.add(_behind(code, each, offsets))
    return tuple(sorted(stretches))


def _behind(code: Code, asked: Asked, offsets: Offsets) -> tuple[int, int]:
    """Where a frame is released behind a site, on either way of its jump: by a function that is called, or there."""
    site, jump = asked.site, code.at(asked.site.address)
    found = set[tuple[int, int]]()
    for way in filter(None, (jump.address + jump.size, target(jump))):
        begin = _Frame(asked.registers, asked.words, "")
        released = _released(code, way, begin, offsets, limit=asked.limit)
        if released:
            found.add((released.address, released.address + released.size))
            continue
        for step in code.straight(way, limit=_WAY_LIMIT):
            if step.group(capstone.CS_GRP_CALL):
                goal = target(step)
                if goal is not None and _releases(code, code.lands(goal), offsets):
                    found.add(_around(code, code.lands(goal), site))
                break
    if len(found) != 1:
        raise _refused(code, site)
    return found.pop()


def _around(code: Code, start: int, site: Site) -> tuple[int, int]:
    around = code.image.code_range(start)
    if around is None:
        raise _refused(code, site)
    return around


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
    begin = _Frame(frozenset({"rsi"}), frozenset(), "")
    return around is not None and _released(code, start, begin, offsets, around=around) is not None


def _released(
    code: Code,
    start: int,
    begin: _Frame,
    offsets: Offsets,
    *,
    around: tuple[int, int] | None = None,
    limit: int = _FUNCTION_LIMIT,
) -> Instruction | None:
    """The instruction that changes the count of a frame's code object, on some way from there.

    Args:
        begin: what holds the frame there.
        around: no way leaves this stretch.
        limit: how many steps are looked at.
    """
    waiting = [(start, begin)]
    seen = set(waiting)
    while waiting:
        address, before = waiting.pop(0)
        step = code.at(address)
        if before.code and memory(step, 0) == (before.code, offsets["object.refcnt"]) and writes(step):
            return step
        after = _behind_step(step, before, offsets)
        goal = target(step) if is_branch(step) or is_jump(step) else None
        ends = is_jump(step) or step.group(capstone.CS_GRP_RET)
        for each in ([] if ends else [address + step.size]) + ([] if goal is None else [goal]):
            inside = around is None or around[0] <= each < around[1]
            if inside and (each, after) not in seen and len(seen) < limit:
                seen.add((each, after))
                waiting.append((each, after))
    return None


class _Frame(NamedTuple):
    """What holds the frame: registers, and words of the machine's stack; and the register of its code object."""

    registers: frozenset[str]
    words: frozenset[tuple[str, int]]
    code: str


def _behind_step(step: Instruction, before: _Frame, offsets: Offsets) -> _Frame:
    changed = written(step)
    stored, loaded, source, destination = memory(step, 0), memory(step, 1), register(step, 1), register(step, 0)
    moves = step.id == x86.X86_INS_MOV
    words = frozenset(word for word in before.words if word[0] not in changed)
    if moves and stored and stored[0] in ("rsp", "rbp"):
        words = words | {stored} if source in before.registers else words - {stored}
    # the flags of a tagged pointer are taken off
    code = "" if before.code in changed and step.id != x86.X86_INS_AND else before.code
    registers = before.registers - changed
    if moves and destination:
        if source in before.registers or loaded in before.words:
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


def _refused(code: Code, site: Site) -> UnsupportedBuild:
    return UnsupportedBuild(
        f"{code.image.name} does not show where frames that end in {site.name} give back their code objects",
        "try another --engine",
    )
