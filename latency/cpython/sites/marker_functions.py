"""What is where at a marker that lies in a function of its own, as in 3.15.

    frame         the argument of the marker's function: the callee-saved register that still holds it at the marker
    thread state  where the callers keep it: in a callee-saved register, which the marker's function has saved on the
                  stack or has not touched, or in their own stack frame, beside such a register

Source: Python/ceval.c of 3.15, ``dtrace_function_entry`` and ``dtrace_function_return``. The second is called by the
handlers of the YIELD_VALUE and RETURN_VALUE families and at the end of ``exception_unwind``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import capstone.x86_const as x86

from latency.cpython.offsets import Offsets
from latency.cpython.sites.code import CALLEE_SAVED, Code, Instruction, copies, memory, register, written
from latency.cpython.sites.dispatch import Handlers, opcode_handlers
from latency.cpython.sites.entries import ENTRY_OPCODES
from latency.cpython.sites.handlers import RESUME_MASKS
from latency.cpython.sites.plan import Place
from latency.errors import UnsupportedBuild
from latency.target.elf import Image

EXIT = "function__return"
_LIMIT = 96
_CALLER_LIMIT = 32
_WORD_BYTES = 8


@dataclass(frozen=True)
class Found:
    """What the search found.

    Attributes:
        frames: by marker name, the register of the frame at each of its markers.
        tstate: where the thread state is at the exit markers.
        resume_mask, resume_opcodes: see ``SitePlan``.
    """

    frames: Mapping[str, str]
    tstate: Place
    resume_mask: int
    resume_opcodes: tuple[int, ...]


def search(image: Image, minor: tuple[int, int], offsets: Offsets, markers: Mapping[str, Iterable[int]]) -> Found:
    """Look at each marker, by its name and address. Raises UnsupportedBuild, saying what was not found."""
    handlers = opcode_handlers(image, minor, offsets)
    frames: dict[str, set[str]] = {name: set() for name in markers}
    states: set[Place] = set()
    for name, addresses in markers.items():
        for address in addresses:
            steps = _steps(handlers.code, address)
            frames[name].add(_frame(image, steps, offsets))
            if name == EXIT:
                states.add(_at_marker(image, steps, _thread_state(handlers, steps[0].address, offsets)))
    if len(states) != 1 or any(len(found) != 1 for found in frames.values()):
        raise _refused(image, "has its frames or thread states in different places at markers of one name")
    names = [name for name in ENTRY_OPCODES if name in handlers.numbers]
    return Found(
        {name: found.pop() for name, found in frames.items()},
        states.pop(),
        RESUME_MASKS[minor],
        tuple(handlers.numbers[name] for name in names),
    )


def _steps(code: Code, marker: int) -> list[Instruction]:
    """The straight line from the beginning of the marker's function up to the marker, with it."""
    image = code.image
    around = image.code_range(marker)
    steps: list[Instruction] = []
    for step in code.straight(around[0], limit=_LIMIT) if around else ():
        steps.append(step)
        if step.address == marker:
            return steps
    raise _refused(image, f"has a marker at {marker:#x} that is on no straight line from the beginning of a function")


def _frame(image: Image, steps: list[Instruction], offsets: Offsets) -> str:
    """The callee-saved register that holds the function's argument at the last step; its code object must be loaded."""
    loads_code = False
    holders: frozenset[str] = frozenset()
    for step, holders in copies(steps, "rdi"):
        place = memory(step, 1)
        loads_code = loads_code or bool(place and place[0] in holders and place[1] == offsets["frame.code"])
    kept = sorted(holders & CALLEE_SAVED)
    if not loads_code or not kept:
        raise _refused(image, f"keeps no frame in a register at its marker at {steps[-1].address:#x}")
    return kept[0]


def _thread_state(handlers: Handlers, start: int, offsets: Offsets) -> Place:
    """Where all who call the function of an exit marker have the thread state: behind the call they count the recursion
    in it (``_Py_LeaveRecursiveCallPy``)."""
    calls = [line for line in handlers.sweep.lines if line.mnemonic == "call" and line.operands == f"{start:#x}"]
    places = {
        _counted_in(handlers.code.straight(line.address + line.size, limit=_CALLER_LIMIT, follow=True), offsets)
        for line in calls
    }
    place = places.pop() if len(places) == 1 else None
    if place is None:
        raise _refused(
            handlers.code.image, f"shows no one place of the thread state in the {len(calls)} calls of {start:#x}"
        )
    return place


def _counted_in(steps: Iterable[Instruction], offsets: Offsets) -> Place | None:
    """Where the pointer comes from whose recursion counter is counted up first."""
    changed: set[str] = set()
    loaded: dict[str, Place] = {}
    for step in steps:
        counted, source, destination = memory(step, 0), memory(step, 1), register(step, 0)
        if step.mnemonic in ("add", "inc") and counted and counted[1] == offsets["tstate.recursion"]:
            if counted[0] in loaded:
                return loaded[counted[0]]
            return Place(counted[0]) if counted[0] in CALLEE_SAVED - changed else None
        for name in written(step):
            changed.add(name)
            loaded.pop(name, None)
        if step.mnemonic == "mov" and source and destination and source[0] in CALLEE_SAVED - changed:
            loaded[destination] = Place(source[0], (source[1],))
    return None


def _at_marker(image: Image, steps: list[Instruction], place: Place) -> Place:
    """Where the last step has what its function's caller has there: behind a callee-saved register."""
    saved = _saved(image, steps, place.register)
    if saved is not None:
        return Place("rsp", (saved, *place.path))
    if not place.path:
        return place
    raise _refused(image, f"has no {place.register} of its caller on the stack at its marker at {steps[-1].address:#x}")


def _saved(image: Image, steps: list[Instruction], name: str) -> int | None:
    """Where a function has the caller's register at its last step: bytes above the stack pointer; None: still there."""
    depth = 0
    saved_at: int | None = None
    changed = False
    for step in steps[:-1]:
        if step.id == x86.X86_INS_PUSH:
            depth += _WORD_BYTES
            if register(step, 0) == name and not changed and saved_at is None:
                saved_at = depth
        elif step.id == x86.X86_INS_SUB and register(step, 0) == "rsp" and step.operands[1].type == x86.X86_OP_IMM:
            depth += int(step.operands[1].imm)
        elif "rsp" in written(step) and not step.group(x86.X86_GRP_CALL):
            raise _refused(image, f"moves its stack pointer at {step.address:#x} in a way that pylat does not know")
        changed = changed or name in written(step)
    if not changed:
        return None
    if saved_at is None:
        raise _refused(image, f"does not keep {name} up to its marker at {steps[-1].address:#x}")
    return depth - saved_at


def _refused(image: Image, what: str) -> UnsupportedBuild:
    return UnsupportedBuild(f"{image.name} {what}", "use --engine handlers, which needs no markers")
