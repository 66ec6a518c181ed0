"""Which code fetches units (CPython 3.11 and later): that of the opcode handlers, and what belongs to it.

    computed gotos  the interpreter is one function; where compilers put parts of it elsewhere (``.cold``), jumps lead
                    there
    tail calls      each handler is a function, and so are labels of the interpreter (error, start_frame), which
                    handlers jump to. Who else has the table of handlers begins with such a label:
                    _PyEval_EvalFrameDefault, which holds a copy of it, or calls it

Source: Python/ceval_macros.h (DISPATCH_GOTO, TAIL_CALL), Python/ceval.c (_PyEval_EvalFrameDefault).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from latency.cpython.sites.code import Instruction, Line, Sweep, memory, slot_of, written
from latency.cpython.sites.dispatch import NEVER_RUN, Handlers, has_frame_pointer, refused
from latency.cpython.sites.holding import changes
from latency.cpython.sites.plan import Place

MOST_PARTS = 1024  # PYLAT_WATCH_PARTS
_CHUNK_BYTES = 1 << 20
_OF_A_TABLE = re.compile(r"\w\*8\b")
_MOST_OTHERS = 256  # that are jumped to, and do not belong
_MOST_HOMES = 4096
_DISPATCH_LIMIT = 24  # instructions from a fetch to the jump
_READS = re.compile(r"\w+, (byte|word|dword) ptr \[r(?!sp|ip).*\]")
_LOW_BITS = (1 << 32) - 1
_DISTANCE_BYTES = 4  # by which an instruction says where the table lies

Part = tuple[int, int]


def fetching(found: Handlers) -> tuple[Part, ...]:
    """The stretches of code (begin, end) in which the interpreter fetches units, by address.

    Raises:
        UnsupportedBuild: it goes on in code that the unwinder's table does not know, or lies in too many stretches.
    """
    parts = set(found.parts)
    tail_calls = by_tail_calls(found)
    with_table = _with_the_table(found) - parts if tail_calls else set()
    near = _around(found, (goal for _, goal in found.sweep.jumps)) | with_table
    sweeps: dict[Part, Sweep] = {}
    followed = set[Part]()
    while True:
        for part in near - sweeps.keys():
            sweeps[part] = found.code.sweep([part])
        new = {
            part
            for part in near - parts
            if any(_goes_on(line, tail_calls=tail_calls, calls=part in with_table) for line in sweeps[part].lines)
            or _inside(_goals(sweeps[part], calls=part in with_table), parts).any()
        }
        parts |= new
        if len(parts) > MOST_PARTS:
            raise refused(found.code.image, f"fetches its units in more than {MOST_PARTS:,} stretches of code")
        further = new or (near - followed - parts if len(near - parts) <= _MOST_OTHERS else set())
        if not further:
            return tuple(sorted(parts))
        followed |= further
        for part in further:  # what does not belong may lead to what does
            near |= _around(found, _goals(sweeps[part], calls=part in with_table), known=part not in parts)


def homes_at_fetches(found: Handlers, parts: Iterable[Part]) -> tuple[tuple[int, Place], ...]:
    """Where the interpreter has the frame while it fetches a unit, if the frame's register holds something else then.

    That is the word of the stack from which the register is loaded before the next handler is jumped to: gcc keeps the
    frame there for the length of a handler that needs many registers (Debian's 3.11.2 in BUILD_MAP). Handlers that are
    functions have a stack frame of their own each, and so a word of their own.

    Args:
        parts: from ``fetching``.

    Returns:
        (the address behind an instruction that reads what may be a unit, the word), by address.

    Raises:
        UnsupportedBuild: there are too many.
    """
    if found.frame.path:
        return ()
    frame = found.frame.register
    lines = found.code.sweep(sorted(parts)).lines
    of_the_stack = "r[sb]p" if frame != "rbp" and has_frame_pointer(lines) else "rsp"
    load = re.compile(rf"{frame}, qword ptr \[{of_the_stack}(?: [+-] (?:0x)?[0-9a-f]+)?\]")
    loads = {line.address for line in lines if line.mnemonic == "mov" and load.fullmatch(line.operands)}
    if not loads:
        return ()
    places = {line.address: place for place, line in enumerate(lines)}
    homes: dict[int, Place] = {}
    for place, line in enumerate(lines):
        if line.mnemonic[:3] != "mov" or not _READS.fullmatch(line.operands):
            continue
        behind = line.address + line.size
        if _comes_to(lines, places, place + 1, loads) and (home := _home(found, behind, loads, frame)):
            homes[behind] = home
    if len(homes) > _MOST_HOMES:
        raise refused(found.code.image, f"may fetch units in {len(homes):,} places without the frame in its register")
    return tuple(sorted(homes.items()))


def _comes_to(lines: list[Line], places: dict[int, int], place: int, goals: set[int]) -> bool:
    """Whether one of these addresses is on the straight way from a line on, as text: ``_home`` then looks closely."""
    for _ in range(_DISPATCH_LIMIT):
        if place >= len(lines):
            return False
        line = lines[place]
        if line.address in goals:
            return True
        place += 1
        if line.mnemonic == "jmp":
            goal = int(line.operands, 16) if line.operands.startswith("0x") else None
            if goal not in places:
                return False
            place = places[goal]
    return False


def _home(found: Handlers, address: int, loads: set[int], frame: str) -> Place | None:
    """The word of the stack from which the frame's register is loaded next, if it holds the same all the way."""
    passed: list[Instruction] = []
    for step in found.code.straight(address, limit=_DISPATCH_LIMIT, follow=True):
        if frame in written(step):
            word = memory(step, 1) if step.address in loads else None
            home = Place(word[0], (word[1],)) if word else None
            return None if home is None or any(changes(each, home) for each in passed) else home
        passed.append(step)
    return None


def by_tail_calls(found: Handlers) -> bool:
    """Whether each handler is a function."""
    begins = {begin for begin, _ in found.parts}
    return all(start in begins for name, start in found.by_name.items() if name not in NEVER_RUN)


def _goes_on(line: Line, *, tail_calls: bool, calls: bool) -> bool:
    """Whether an instruction may go on at another unit: by a jump that is not direct; by tail calls, of which functions
    have others, by the table's word of an opcode.

    Args:
        calls: it may call a handler, as who has the table does.
    """
    if line.mnemonic.split()[-1] not in (("jmp", "call") if calls else ("jmp",)):
        return False
    if tail_calls and not calls:
        return _OF_A_TABLE.search(line.operands) is not None
    return not line.operands.startswith("0x") and slot_of(line) is None


def _goals(sweep: Sweep, *, calls: bool) -> list[int]:
    """Where direct jumps go, and direct calls if they count as well."""
    goals = [goal for _, goal in sweep.jumps]
    if calls:
        goals += [
            int(line.operands, 16) for line in sweep.lines if line.mnemonic == "call" and line.operands[:2] == "0x"
        ]
    return goals


def _around(found: Handlers, goals: Iterable[int], *, known: bool = False) -> set[Part]:
    """The stretches in which these addresses lie, but for those of the handlers.

    Args:
        known: leave out what the unwinder's table does not know.
    """
    image = found.code.image
    there = np.array(sorted(set(goals)), np.uint64)
    around = set[Part]()
    for goal in there[~_inside(there, found.parts)].tolist():
        part = image.code_range(goal)
        if part is not None:
            around.add(part)
        elif not known and found.code.lands(goal) == goal:
            raise refused(image, f"goes on at {goal:#x}, outside of the unwinder's table")
    return around


def _inside(addresses: Iterable[int] | np.ndarray[Any, Any], parts: Iterable[Part]) -> np.ndarray[Any, Any]:
    """Of each address, whether it lies in one of the parts."""
    bounds = np.array(sorted(parts), np.uint64)
    wanted = np.asarray(addresses, np.uint64)
    places = np.searchsorted(bounds[:, 0], wanted, side="right") - 1
    inside: np.ndarray[Any, Any] = (places >= 0) & (wanted < bounds[places, 1])
    return inside


def _with_the_table(found: Handlers) -> set[Part]:
    """The stretches in which an instruction says where the table of handlers lies: from its own end on, or as such."""
    image = found.code.image
    around = set[Part]()
    for segment in image.segments:
        end = segment.address + segment.file_size if segment.executable else 0
        for start in range(segment.address, end, _CHUNK_BYTES):
            data = image.read(start, min(_CHUNK_BYTES + _DISTANCE_BYTES - 1, end - start))
            for at in _mentions(data, start, found.table):
                around.update(filter(None, [image.code_range(at)]))
    return around


def _mentions(data: bytes, address: int, goal: int) -> list[int]:
    """Where in these bytes a distance to the goal begins, from behind itself on, or the goal's address."""
    places = list[int]()
    for shift in range(_DISTANCE_BYTES):
        count = (len(data) - shift) // _DISTANCE_BYTES
        if count <= 0:
            break
        words = np.frombuffer(data, "<u4", count, shift)
        first = np.uint32((goal - address - shift - _DISTANCE_BYTES) & _LOW_BITS)  # distances as they are stored
        there = words + np.arange(count, dtype=np.uint32) * np.uint32(_DISTANCE_BYTES) == first
        if goal <= _LOW_BITS:
            there |= words == goal
        places += [address + shift + _DISTANCE_BYTES * int(at) for at in np.flatnonzero(there)]
    return places
