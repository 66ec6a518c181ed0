"""Where the value lies that a call returns, at the exit sites of a plan.

    3.6-3.10:  in the register, or on the machine's stack, from which _PyEval_EvalFrameDefault returns it: what becomes
               rax on the way from the exit site to ``ret``, directly or as the result that _Py_CheckFunctionResult
               looks at and hands back
    3.11-3.15: in the frame, at the top of its stack, from which RETURN_VALUE has just taken it, at the markers of 3.15
               too; RETURN_CONST (3.12, 3.13) takes it from the constants instead

Source: Python/ceval.c (exit_eval_frame, RETURN_VALUE), Objects/call.c (_Py_CheckFunctionResult).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from latency.cpython.offsets import Offsets
from latency.cpython.sites.code import Code, Instruction, is_branch, is_jump, memory, register, written
from latency.cpython.sites.code import target as goal_of
from latency.cpython.sites.dispatch import opcode_handlers
from latency.cpython.sites.flow import Flow
from latency.cpython.sites.opcodes import opcodes
from latency.cpython.sites.plan import REGISTERS, Place, Role, Site, SitePlan
from latency.errors import UnsupportedBuild
from latency.target.elf import Image

_RETURN_OPCODES = ("RETURN_CONST", "INSTRUMENTED_RETURN_CONST", "RETURN_VALUE", "INSTRUMENTED_RETURN_VALUE")
_CHECK = "_Py_CheckFunctionResult"
_MOST_STEPS, _MOST_BRANCHES = 64, 6
_MOST_STORES = 2048  # instructions that are looked at for what a handler stores

# What a register holds, by where it was at the site: ("register", "r15"), ("stack", 32), ("zero", 0); ("result", …) of
# a call that was given these.
_Origin: TypeAlias = tuple[str, object]


@dataclass(frozen=True)
class ReturnPlace:
    """Where a returned value is.

    Attributes:
        place: of the value; None where it is in the frame.
        opcodes: the numbers of the opcodes that return, where they must be told apart (3.12, 3.13).
    """

    place: Place | None
    opcodes: Mapping[str, int] = field(default_factory=dict)


def return_place(image: Image, version: tuple[int, int, int], offsets: Offsets, plan: SitePlan) -> ReturnPlace:
    """Where the returned value is at every exit site of the plan.

    Raises:
        UnsupportedBuild: it was not found, or the sites differ.
    """
    code = Code(image)
    if version >= (3, 11, 0):
        if "frame.stackpointer" not in offsets and "frame.stacktop" not in offsets:
            raise _refused(image, "keeps no stack pointer in its frames")
        tell = _in_handlers if plan.engine == "handlers" else _told_by_markers
        for site in tell(image, version, offsets, plan):
            if not _is_stored(code, site, offsets):
                raise _refused(image, f"ends frames in {site.name} before it has stored where its value lies")
        numbers = opcodes(version[:2])
        if "RETURN_CONST" not in numbers:
            return ReturnPlace(None)
        return ReturnPlace(None, opcodes={name: numbers[name] for name in (*_RETURN_OPCODES, "EXTENDED_ARG")})
    sites = list(plan.of(Role.EXIT))
    symbol = image.symbol(_CHECK) if sites else None
    checks = symbol.address if symbol else None
    found = {_returned(code, site.start, site.address, version, checks) for site in sites}
    if len(found) != 1 or None in found:
        raise _refused(image, "returns values in a way that pylat does not know")
    where, at = found.pop() or ("", "")
    return ReturnPlace(Place(str(at)) if where == "register" else Place("rsp", (int(str(at)),)))


def _in_handlers(image: Image, version: tuple[int, int, int], offsets: Offsets, plan: SitePlan) -> Iterator[Site]:
    """The sites at which only returns are seen, each from where its handler starts: which may lie behind it."""
    if sites := list(plan.of(Role.RETURN)):
        found = opcode_handlers(image, version[:2], offsets)
        yield from (replace(site, start=found.by_name[site.name]) for site in sites)


def _told_by_markers(image: Image, version: tuple[int, int, int], offsets: Offsets, plan: SitePlan) -> Iterator[Site]:
    """3.15: where the handlers that return call the functions of the exit markers.

    Raises:
        UnsupportedBuild: one does not come to such a call.
    """
    found = opcode_handlers(image, version[:2], offsets)
    functions = {around[0] for site in plan.of(Role.EXIT) if (around := image.code_range(site.address))}
    flow = Flow(found, lambda line: line.mnemonic == "call" and line.operands in {f"{each:#x}" for each in functions})
    raises = flow.ways(found.by_name["RAISE_VARARGS"]).ends
    for name in ("RETURN_VALUE", "INSTRUMENTED_RETURN_VALUE"):
        start = found.by_name[name]
        calls = flow.ways(start).ends - raises
        if not calls:
            raise _refused(image, f"does not come to its marker from {name}")
        for address in calls:
            yield found.code.site(Role.EXIT, name, start, found.code.at(address))


def _is_stored(code: Code, site: Site, offsets: Offsets) -> bool:
    """Whether each way from a handler's start to its site stores into the frame what the value is found by: the unit,
    and the top of the frame's stack, from which a constant is not taken."""
    wanted = {offsets["frame.instr"]}
    if not site.name.endswith("RETURN_CONST"):
        wanted.add(offsets["frame.stackpointer" if "frame.stackpointer" in offsets else "frame.stacktop"])
    ways = [(site.start, frozenset[int]())]
    seen = set(ways)
    arrived = False
    while ways:
        address, stored = ways.pop()
        if address == site.address:
            if not stored >= wanted:
                return False
            arrived = True
            continue
        step = code.at(address)
        place = memory(step, 0)
        if step.mnemonic == "mov" and place and place[0] not in ("rsp", "rip") and place[1] in wanted:
            stored |= {place[1]}
        goal = goal_of(step) if is_branch(step) or is_jump(step) else None
        nexts = [] if is_jump(step) or step.mnemonic == "ret" else [address + step.size]
        for each in ((way, stored) for way in (*nexts, *filter(None, [goal]))):
            if each not in seen and len(seen) < _MOST_STORES:
                seen.add(each)
                ways.append(each)
    return arrived


def _returned(
    code: Code, start: int, site: int, version: tuple[int, int, int], checks: int | None = None
) -> _Origin | None:
    """What becomes the result on every way from a site to ``ret``; None if that is not one thing.

    Args:
        checks: address of _Py_CheckFunctionResult. Where it is not known, a call is taken for one of it that is given
            no callable.
    """
    result, nothing = ("rdx", "rsi") if version >= (3, 9, 0) else ("rsi", "rdi")
    before = _before(code, start, site)
    origins = set()
    for origin in _ends(code, site, before):
        if origin[0] == "result" and isinstance(origin[1], dict):
            # _Py_CheckFunctionResult(tstate, NULL, result, where); without the thread state to 3.8
            if origin[1].get(nothing) != ("zero", 0) and (checks is None or origin[1].get("call") != ("goal", checks)):
                continue
            origin = origin[1].get(result, ("unknown", 0))
        if origin[0] in ("register", "stack"):
            origins.add(origin)
    return origins.pop() if len(origins) == 1 else None


def _before(code: Code, start: int, site: int) -> dict[str, _Origin]:
    """What the registers hold at the site: themselves, but for zeros that were put there on the straight line to it."""
    held: dict[str, _Origin] = {name: ("register", name) for name in REGISTERS}
    for step in code.straight(start, limit=16):
        if step.address == site:
            return held
        for name in written(step):
            held[name] = ("zero", 0) if _is_zeroing(step) else ("register", name)
    return {name: ("register", name) for name in REGISTERS}


def _ends(code: Code, address: int, held: dict[str, _Origin]) -> Iterator[_Origin]:
    """What rax holds at each ``ret`` that is reached, over both ways of each conditional jump."""
    waiting = [(address, held, 0, True)]
    steps = 0
    while waiting:
        address, held, branches, fixed = waiting.pop()
        while steps < _MOST_STEPS * (_MOST_BRANCHES + 1):
            steps += 1
            step = code.at(address)
            address = step.address + step.size
            goal = goal_of(step)
            if step.mnemonic == "ret":
                yield held["rax"]
                break
            if is_jump(step):
                if goal is None:
                    break
                address = goal
            elif is_branch(step):
                if goal is not None and branches < _MOST_BRANCHES:
                    waiting.append((goal, dict(held), branches + 1, fixed))
                    branches += 1
            else:
                fixed = _apply(step, held, fixed=fixed)


def _apply(step: Instruction, held: dict[str, _Origin], *, fixed: bool) -> bool:
    """Carry out one instruction. Returns whether the stack pointer, if it was ``fixed``, is still that of the site."""
    source, destination, place = register(step, 1), register(step, 0), memory(step, 1)
    new: _Origin = ("unknown", 0)
    if step.mnemonic == "call":
        new = ("result", {**held, "call": ("goal", goal_of(step))})
    elif step.mnemonic == "mov" and destination and source:
        new = held.get(source, new)
    elif step.mnemonic == "mov" and destination and place and place[0] == "rsp" and fixed:
        new = ("stack", place[1])
    elif _is_zeroing(step):
        new = ("zero", 0)
    for name in written(step):
        held[name] = new if name == destination or _is_zeroing(step) else ("unknown", 0)
    if step.mnemonic == "call":
        held["rax"] = new
        return fixed
    return fixed and "rsp" not in written(step)


def _is_zeroing(step: Instruction) -> bool:
    operands = step.operands
    return step.mnemonic == "xor" and len(operands) == 2 and step.op_str.split(", ")[0] == step.op_str.split(", ")[1]


def _refused(image: Image, what: str) -> UnsupportedBuild:
    return UnsupportedBuild(f"{image.name} {what}", "trace without --ret: calls, arguments and exceptions are shown")
