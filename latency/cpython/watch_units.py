"""The units of one code object, read from a process (3.11 and later): where a call begins, returns and raises.

Source: Python/compile.c (wrap_in_stopiteration_handler: from 3.12 on each exception that leaves a generator runs the
two units CALL_INTRINSIC_1, RERAISE behind all others), Objects/exception_handling_notes.txt (the exception table),
Include/internal/pycore_opcode*.h (inline caches).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from latency.cpython.offsets import Offsets
from latency.cpython.sites.opcodes import caches, opcodes
from latency.errors import UnsupportedBuild
from latency.target.process import Process

UNIT_BYTES = 2
_POINTER_BYTES = 8
_MOST_UNITS = 1 << 20
_RETURNS = ("RETURN_VALUE", "RETURN_CONST", "INSTRUMENTED_RETURN_VALUE", "INSTRUMENTED_RETURN_CONST")
_YIELDS = ("YIELD_VALUE", "INSTRUMENTED_YIELD_VALUE")
_RESUMES = ("RESUME", "RESUME_QUICK", "RESUME_CHECK", "RESUME_CHECK_JIT", "INSTRUMENTED_RESUME")
_TOOL = "a tracer, debugger or coverage tool has rewritten it"
HIDDEN = {  # what stands in the place of another opcode, whose length is not known then
    "INSTRUMENTED_LINE": _TOOL,
    "INSTRUMENTED_INSTRUCTION": _TOOL,
    "ENTER_EXECUTOR": "the JIT has compiled it",
}
# The compiler leaves some of these out of the exception table (3.12 to 3.15). A jump backward can raise after all, if a
# signal's handler does that just then.
_BARE = re.compile(r"(INSTRUMENTED_)?(RETURN_|JUMP_|NOT_TAKEN$)|NOP$|EXTENDED_ARG$")
_BARE_FROM_3_13 = re.compile(r"(INSTRUMENTED_)?POP_JUMP_IF_")  # these find a bool there, or None
_STOP_ITERATION_ERROR = 3  # INTRINSIC_STOPITERATION_ERROR, Include/internal/pycore_intrinsics.h
_RESUME_MASK = 7  # the bits of RESUME's oparg that can tell a start (0) from everything else, in all versions


class Unit(NamedTuple):
    """One instruction: its place among the units, its name, and its oparg (without what EXTENDED_ARG adds)."""

    place: int
    name: str
    oparg: int


class Handler(NamedTuple):
    """An entry of the exception table: units [start, end) are covered by the one at ``target``; the value stack has
    ``depth`` items then, below the index of the unit that raised (if ``lasti``) and the exception."""

    start: int
    end: int
    target: int
    depth: int
    lasti: bool


@dataclass(frozen=True)
class Units:
    """Where a function's calls begin and end, as indices of units.

    Attributes:
        entry: the RESUME that each call runs first.
        returns: each unit that returns.
        raises: from 3.12 on, of what suspends: the unit that each exception runs which leaves the call; else None.
        exception: where a frame holds that exception then: bytes from its beginning.
        yields: how many units yield or await.
        number: of all units, caches included.
    """

    entry: int
    returns: tuple[int, ...]
    raises: int | None
    exception: int
    yields: int
    number: int


def read_units(process: Process, offsets: Offsets, code: int) -> Units:
    """The units of a code object.

    Raises:
        UnsupportedBuild: they cannot be told apart; the message, which follows a function's name, says why.
        ReadFault, TargetGone
    """
    version = _minor(offsets)
    number = int.from_bytes(process.read(code + offsets["var.size"], _POINTER_BYTES), "little")
    if not 0 < number < _MOST_UNITS:
        raise UnsupportedBuild(f"seems to have {number:,} units", "report this build to pylat")
    data = process.read(code + offsets["code.code_adaptive"], UNIT_BYTES * number)
    units = list(decode(data, opcodes(version), caches(version)))
    entry = next((at.place for at in units if at.name in _RESUMES and at.oparg & _RESUME_MASK == 0), None)
    if entry is None:
        raise UnsupportedBuild("has no RESUME that begins it", "report this build to pylat")
    found = Units(
        entry=entry,
        returns=tuple(at.place for at in units if at.name in _RETURNS),
        raises=None,
        exception=0,
        yields=sum(at.name in _YIELDS for at in units),
        number=number,
    )
    if version < (3, 12):
        return found
    handlers = list(parse_exception_table(_exception_table(process, offsets, code)))
    handler = _last_handler(units, entry, handlers, pop_jumps_raise=version < (3, 13))
    if handler is None:
        return found
    slots = int.from_bytes(process.read(code + offsets["code.nlocalsplus"], 4), "little")
    place = slots + handler.depth + handler.lasti
    return replace(found, raises=handler.target, exception=offsets["frame.localsplus"] + _POINTER_BYTES * place)


def decode(data: bytes, numbers: Mapping[str, int], cached: Mapping[str, int]) -> Iterator[Unit]:
    """The instructions of ``co_code_adaptive``, without their caches.

    Raises:
        UnsupportedBuild: an opcode that is not known, or one that hides another.
    """
    names = {number: name for name, number in numbers.items()}
    index = 0
    while UNIT_BYTES * index < len(data):
        opcode, oparg = data[UNIT_BYTES * index : UNIT_BYTES * index + UNIT_BYTES]
        name = names.get(opcode)
        if name is None:
            raise UnsupportedBuild(f"has the unknown opcode {opcode}", "report this build to pylat")
        if name in HIDDEN:
            raise UnsupportedBuild(
                f"cannot be read at this moment: {HIDDEN[name]}",
                "it is as it was when it has run once more without that",
            )
        yield Unit(index, name, oparg)
        index += 1 + cached.get(name, 0)


def parse_exception_table(data: bytes) -> Iterator[Handler]:
    """The entries of ``co_exceptiontable``: four varints each, big-endian, six bits to a byte; the first byte of an
    entry has bit 7 set, each byte that is continued bit 6."""
    numbers: list[int] = []
    value = 0
    for byte in data:
        if byte & 0x80:
            numbers, value = [], 0
        value = value << 6 | byte & 0x3F
        if byte & 0x40:
            continue
        numbers.append(value)
        value = 0
        if len(numbers) == 4:
            start, length, target, depth = numbers
            yield Handler(start, start + length, target, depth >> 1, bool(depth & 1))
            numbers = []


def _last_handler(units: list[Unit], entry: int, handlers: list[Handler], *, pop_jumps_raise: bool) -> Handler | None:
    """The one that every exception runs which leaves the call; None where there is none, or not for all units."""
    pairs = pairwise(units)
    ends = [
        one.place
        for one, other in pairs
        if (one.name, one.oparg, other.name) == ("CALL_INTRINSIC_1", _STOP_ITERATION_ERROR, "RERAISE")
    ]
    found = {handler._replace(start=0, end=0) for handler in handlers if handler.target in ends}
    if len(ends) != 1 or len(found) != 1:
        return None
    covered = {index for handler in handlers for index in range(handler.start, handler.end)}
    own = (ends[0], ends[0] + 1)
    bare = [at for at in units if at.place >= entry and at.place not in covered and at.place not in own]
    if any(not _BARE.match(at.name) and (pop_jumps_raise or not _BARE_FROM_3_13.match(at.name)) for at in bare):
        return None
    return found.pop()


def _exception_table(process: Process, offsets: Offsets, code: int) -> bytes:
    table = process.u64(code + offsets["code.exceptiontable"])
    size = int.from_bytes(process.read(table + offsets["var.size"], _POINTER_BYTES), "little")
    if size >= _MOST_UNITS:
        raise UnsupportedBuild(f"seems to have an exception table of {size:,} bytes", "report this build to pylat")
    return process.read(table + offsets["bytes.data"], size) if size else b""


def _minor(offsets: Offsets) -> tuple[int, int]:
    major, _, minor = offsets.version.partition(".")
    return int(major), int(minor)
