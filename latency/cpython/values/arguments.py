"""The arguments of a call, from its frame and its code (CPython 3.6 to 3.15)."""

from __future__ import annotations

from collections.abc import Iterator

from latency.cpython.values.memory import Spent, Unreadable
from latency.cpython.values.scalars import name
from latency.cpython.values.walk import CUT, Object, Walk

UNBOUND = "<unbound>"
"""Stands for an argument that was deleted, or has no value yet."""

# Include/cpython/code.h (Include/code.h to 3.10)
_VARARGS, _VARKEYWORDS = 0x4, 0x8
_CELL_KIND = 0x40  # CO_FAST_CELL of co_localspluskinds, 3.11+
# Of a _PyStackRef, 3.14+: 0 or Py_TAG_REFCNT. The tags 2 and 3 mark what is no object, and never an argument.
_LARGEST_TAG = 1
_MOST_ARGUMENTS = 1_000


def arguments(walk: Walk, frame: int, code_address: int) -> Iterator[tuple[str, str]]:
    """The name and the text of each argument: positional, keyword-only, then those of ``*`` and of ``**``.

    Nothing is given if the frame is not one of this code.

    Raises:
        TargetGone, NoPrivilege
    """
    try:
        code = walk.object(code_address)
        word = walk.words(frame + walk.offsets["frame.code"], 1)[0] & walk.offsets.stackref_mask
        if code.type.kind != "code" or word != code_address:
            return
        names = _names(walk, code)
        values = walk.words(frame + walk.offsets["frame.localsplus"], len(names))
        cells = _Cells(walk, frame, code)
    except (Unreadable, Spent):
        return
    for index, (name_at, word) in enumerate(zip(names, values, strict=True)):
        yield _argument(walk, index, name_at, word, cells)


def _argument(walk: Walk, index: int, name_at: int, word: int, cells: _Cells) -> tuple[str, str]:
    called = CUT
    try:
        called = name(walk, name_at)
        if word & ~walk.offsets.stackref_mask > _LARGEST_TAG:
            raise Unreadable
        value = cells.value(index, called, word & walk.offsets.stackref_mask)
    except Unreadable:
        return called, f"<unreadable at {word:#x}>"
    except Spent:
        return called, CUT
    return called, walk.describe(value) if value else UNBOUND


def _names(walk: Walk, code: Object) -> list[int]:
    flags = walk.member(code, "code.flags")
    count = walk.member(code, "code.argcount") + walk.member(code, "code.kwonlyargcount")
    count += bool(flags & _VARARGS) + bool(flags & _VARKEYWORDS)
    names = walk.object(
        walk.member(code, "code.localsplusnames" if "code.localsplusnames" in walk.offsets else "code.varnames")
    )
    if names.type.kind != "tuple" or not count <= walk.size(names) or count > _MOST_ARGUMENTS:
        raise Unreadable
    return walk.words(names.address + walk.offsets["tuple.items"], count)


class _Cells:
    """The arguments that inner functions use: these are moved into cells at the begin of the call."""

    def __init__(self, walk: Walk, frame: int, code: Object) -> None:
        self._walk = walk
        self._frame = frame
        self._kinds: bytes | None = None
        self._names: dict[str, int] = {}
        self._first = 0
        if "code.localspluskinds" in walk.offsets:
            kinds = walk.object(walk.member(code, "code.localspluskinds"))
            if kinds.type.kind != "bytes":
                raise Unreadable
            size = min(walk.size(kinds), _MOST_ARGUMENTS)
            self._kinds = walk.read(kinds.address + walk.offsets["bytes.data"], size)
        else:
            self._first = walk.member(code, "code.nlocals")
            cellvars = walk.object(walk.member(code, "code.cellvars"))
            if cellvars.type.kind != "tuple":
                raise Unreadable
            size = min(walk.size(cellvars), _MOST_ARGUMENTS)
            for index, at in enumerate(walk.words(cellvars.address + walk.offsets["tuple.items"], size)):
                self._names[name(walk, at)] = index

    def value(self, index: int, called: str, value: int) -> int:
        """The address of an argument's value, wherever it is now; 0 if it has none."""
        walk = self._walk
        if self._kinds is not None:
            # 3.11+: it stays at its place, and MAKE_CELL, before RESUME, puts a cell around it. To an argument that
            # is a cell itself, and still bare, this would be done too; only a caller of inspect or ctypes has one.
            if not value or not self._kinds[index : index + 1] or not self._kinds[index] & _CELL_KIND:
                return value
            cell = value
        else:
            # To 3.10: it moves to the cells behind the locals.
            if value or called not in self._names:
                return value
            place = self._frame + walk.offsets["frame.localsplus"] + 8 * (self._first + self._names[called])
            cell = walk.words(place, 1)[0]
        if cell in walk.known.singletons:
            return cell
        found = walk.object(cell)
        return walk.member(found, "cell.value") if found.type.kind == "cell" else value
