"""Sites in ``_PyEval_EvalFrameDefault``, CPython 3.6 to 3.10: every call of a Python function enters it once.

    entry:   tstate->frame = f;          behind the recursion check, which can refuse the call
    exit:    tstate->frame = f->f_back;  the one way out: return, exception and suspension alike

Source: Python/ceval.c of 3.6 to 3.10. The same search tells in which registers the function keeps ``f`` and ``tstate``,
which the USDT engine needs too.
"""

from __future__ import annotations

from dataclasses import dataclass

from latency.cpython.offsets import Offsets
from latency.cpython.sites.code import (
    CALLEE_SAVED,
    Code,
    Instruction,
    Sweep,
    copies,
    emulated,
    memory,
    register,
    target,
    written,
)
from latency.cpython.sites.plan import Place, Role, Site, SitePlan
from latency.errors import UnsupportedBuild
from latency.target.elf import Image

FUNCTION = "_PyEval_EvalFrameDefault"
_PROLOGUE_LIMIT = 96
_EPILOGUE_LIMIT = 14


@dataclass(frozen=True)
class Evaluation:
    """What the search found.

    Attributes:
        sweep: all instructions of the function, its split-off parts included.
        frame, tstate: the callee-saved registers that hold them throughout the body.
        entry: the entry site; ``entry_frame`` its frame register.
        exits: the exit sites; the frame is in ``frame`` there, the thread state in ``tstate``.
    """

    sweep: Sweep
    frame: str
    tstate: str
    entry: Site
    entry_frame: str
    exits: tuple[Site, ...]


def evaluation(image: Image, version: tuple[int, int, int], offsets: Offsets) -> Evaluation:
    """Search the function. Raises UnsupportedBuild, saying what was not found."""
    code = Code(image)
    symbol = image.symbol(FUNCTION)
    if symbol is None:
        raise _refused(image, f"has no symbol {FUNCTION}")
    whole = image.code_range(symbol.address) or (symbol.address, symbol.address + symbol.size)
    sweep = _with_parts(code, image, whole)
    store, frame, tstate, after = _entry_store(code, image, symbol.address, version, offsets)
    entry = _entry_site(code, symbol.address, store, after, frame, sweep)
    exits = tuple(_exits(code, sweep, frame, tstate, offsets))
    if not exits:
        raise _refused(image, f"leaves {FUNCTION} in a way that pylat does not know")
    return Evaluation(sweep, frame, tstate, entry, frame, exits)


def plan(image: Image, version: tuple[int, int, int], offsets: Offsets) -> SitePlan:
    """The ``eval`` engine's plan."""
    found = evaluation(image, version, offsets)
    return SitePlan(
        engine="eval",
        sites=(*found.exits, found.entry),
        places={
            "entry.frame": Place(found.entry_frame),
            "exit.frame": Place(found.frame),
            "exit.tstate": Place(found.tstate),
        },
        start_by="lasti",
        notes=(f"{FUNCTION} keeps the frame in {found.frame}, the thread state in {found.tstate}",),
    )


def _with_parts(code: Code, image: Image, whole: tuple[int, int]) -> Sweep:
    """The function's instructions and those of the parts that the compiler split off (``.cold``)."""
    sweep = code.sweep([whole])
    parts = set()
    for _, goal in sweep.jumps:
        if not whole[0] <= goal < whole[1]:
            part = image.code_range(goal)
            # A jump to the beginning of another function is a tail call; a part is entered anywhere.
            if part and goal != part[0]:
                parts.add(part)
    return code.sweep([whole, *sorted(parts)])


def _entry_store(
    code: Code, image: Image, start: int, version: tuple[int, int, int], offsets: Offsets
) -> tuple[Instruction, str, str, int]:
    """(the store ``tstate->frame = f``, f's register, tstate's register, the address behind the store)."""
    # 3.9 added the thread state as the first argument (bpo-38818).
    argument = "rsi" if version >= (3, 9, 0) else "rdi"
    steps = list(code.straight(start, limit=_PROLOGUE_LIMIT))
    states = dict.fromkeys((step.address for step, _ in copies(steps, "rdi")), frozenset[str]())
    states.update((step.address, holders) for step, holders in copies(steps, "rdi"))
    for step, holders in copies(steps, argument):
        place = memory(step, 0)
        if step.mnemonic == "mov" and place and place[1] == offsets["tstate.frame"] and register(step, 1) in holders:
            kept = sorted(holders & CALLEE_SAVED)
            same = states[step.address] if version >= (3, 9, 0) else frozenset({place[0]})
            threads = sorted(same & CALLEE_SAVED) if place[0] in same else []
            if kept and threads:
                return step, kept[0], threads[0], step.address + step.size
    raise _refused(image, f"stores no frame into the thread state at the start of {FUNCTION}")


def _entry_site(code: Code, start: int, store: Instruction, after: int, frame: str, sweep: Sweep) -> Site:
    """The first emulated instruction behind the store; the instruction behind the store where there is none."""
    for step in code.straight(after, limit=24):
        if sweep.jumps_into(store.address + 1, step.address):
            break
        if emulated(step):
            return code.site(Role.ENTRY, FUNCTION, start, step)
        if frame in written(step):
            break
    return code.site(Role.ENTRY, FUNCTION, start, code.at(after))


def _exits(code: Code, sweep: Sweep, frame: str, tstate: str, offsets: Offsets) -> list[Site]:
    """The sites at each ``tstate->frame = f->f_back``."""
    load = f"qword ptr [{frame} + {offsets['frame.previous']:#x}]"
    found = []
    for line in sweep.lines:
        if line.mnemonic == "mov" and line.operands.endswith(load):
            steps = list(code.straight(line.address, limit=_EPILOGUE_LIMIT))
            if _stores_back(steps, tstate, offsets):
                found.append(_exit_site(code, steps, frame, tstate, sweep))
    return found


def _stores_back(steps: list[Instruction], tstate: str, offsets: Offsets) -> bool:
    """Whether what the first step loads is stored as the thread state's frame."""
    loaded = register(steps[0], 0)
    for step in steps[1:]:
        if step.mnemonic == "mov" and memory(step, 0) == (tstate, offsets["tstate.frame"]):
            return register(step, 1) == loaded
        if loaded in written(step) or tstate in written(step):
            return False
    return False


def _exit_site(code: Code, steps: list[Instruction], frame: str, tstate: str, sweep: Sweep) -> Site:
    """The first emulated instruction, from the load on, with both registers intact (``call _Py_CheckFunctionResult``
    where it is not inlined); else the load itself."""
    first = steps[0]
    for step in steps:
        if step is not first and sweep.jumps_into(first.address + 1, step.address):
            break
        if emulated(step):
            return code.site(Role.EXIT, FUNCTION, first.address, step)
        if target(step) is not None or {frame, tstate} & written(step):
            break
    return code.site(Role.EXIT, FUNCTION, first.address, first)


def _refused(image: Image, what: str) -> UnsupportedBuild:
    return UnsupportedBuild(
        f"{image.name} {what}", "try another --engine, or send pylat what pylat check -p PID --report FILE writes"
    )
