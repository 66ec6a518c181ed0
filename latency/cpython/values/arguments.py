"""The arguments of a call, from its frame and its code (CPython 3.6 to 3.15)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from latency.cpython.hiding import is_secret
from latency.cpython.values.memory import Spent, Unreadable
from latency.cpython.values.scalars import name
from latency.cpython.values.walk import CUT, Walk
from latency.recording import HIDDEN

UNBOUND = "<unbound>"
"""Stands for an argument that was deleted, or has no value yet."""

# Include/cpython/code.h (Include/code.h to 3.10)
_VARARGS, _VARKEYWORDS = 0x4, 0x8
_CELL_KIND = 0x40  # CO_FAST_CELL of co_localspluskinds, 3.11+
# Of a _PyStackRef, 3.14+: 0 or Py_TAG_REFCNT. The tags 2 and 3 mark what is no object, and never an argument.
_LARGEST_TAG = 1
_MOST_ARGUMENTS = 1_000
_MOST_LOCALS = 1 << 16


class Signature(NamedTuple):
    """What a code object says of the arguments of its calls.

    Attributes:
        names: positional, keyword-only, then those of ``*`` and of ``**``; an ellipsis for one that cannot be read.
        words: how many words of ``localsplus`` hold them.
        kinds: 3.11+: ``co_localspluskinds``.
        cells: to 3.10: which word holds the cell of an argument that inner functions use, by its name.
    """

    names: tuple[str, ...]
    words: int
    kinds: bytes | None
    cells: Mapping[str, int]


def arguments(walk: Walk, frame: int, code_address: int) -> Iterator[tuple[str, str]]:
    """The name and the text of each argument, in the order of ``Signature.names``.

    Nothing is given if the frame is not one of this code.

    Raises:
        TargetGone, NoPrivilege
    """
    try:
        of = signature(walk, code_address)
        word = walk.words(frame + walk.offsets["frame.code"], 1)[0] & walk.offsets.stackref_mask
        if word != code_address:
            return
        words = _words(walk, of, frame + walk.offsets["frame.localsplus"])
    except (Unreadable, Spent):
        return
    yield from arguments_of(walk, of, words)


def _words(walk: Walk, of: Signature, address: int) -> list[int]:
    """Of ``localsplus`` what is needed: the other locals may not even be captured."""
    if of.words > _MOST_LOCALS:
        raise Unreadable
    words = walk.words(address, len(of.names))
    words += [0] * (of.words - len(words))
    for index, called in enumerate(of.names):
        place = of.cells.get(called)
        if not words[index] and place is not None and place < len(words):
            words[place] = walk.words(address + 8 * place, 1)[0]
    return words


def arguments_of(walk: Walk, of: Signature, words: Sequence[int]) -> Iterator[tuple[str, str]]:
    """The same of the first words of a ``localsplus``; of arguments that lie beyond them, the text is an ellipsis."""
    for index, called in enumerate(of.names):
        if index >= len(words):
            yield called, CUT
            continue
        word = words[index]
        if walk.hides and (called.endswith(CUT) or is_secret(called)):
            yield called, walk.known.singletons.get(word & walk.offsets.stackref_mask, HIDDEN)
            continue
        try:
            if word & ~walk.offsets.stackref_mask > _LARGEST_TAG:
                raise Unreadable
            value = _value(walk, of, index, words)
        except Unreadable:
            yield called, f"<unreadable at {word:#x}>"
        except Spent:
            yield called, CUT
        else:
            yield called, walk.describe(value) if value else UNBOUND


def signature(walk: Walk, code_address: int) -> Signature:
    """What there is to know of a code object. Raises Unreadable, Spent."""
    code = walk.object(code_address)
    if code.type.kind != "code":
        raise Unreadable
    flags = walk.member(code, "code.flags")
    count = walk.member(code, "code.argcount") + walk.member(code, "code.kwonlyargcount")
    count += bool(flags & _VARARGS) + bool(flags & _VARKEYWORDS)
    tuple_at = walk.member(code, "code.localsplusnames" if "code.localsplusnames" in walk.offsets else "code.varnames")
    addresses = _items(walk, tuple_at)
    if not count <= len(addresses):
        raise Unreadable
    names = tuple(_name(walk, at) for at in addresses[:count])
    if "code.localspluskinds" in walk.offsets:
        kinds = walk.object(walk.member(code, "code.localspluskinds"))
        if kinds.type.kind != "bytes":
            raise Unreadable
        size = min(walk.size(kinds), _MOST_ARGUMENTS)
        return Signature(names, count, walk.read(kinds.address + walk.offsets["bytes.data"], size), {})
    first = walk.member(code, "code.nlocals")
    cells = {
        _name(walk, at): first + place for place, at in enumerate(_items(walk, walk.member(code, "code.cellvars")))
    }
    return Signature(names, first + len(cells) if cells and count else count, None, cells)


def _items(walk: Walk, address: int) -> list[int]:
    found = walk.object(address)
    if found.type.kind != "tuple":
        raise Unreadable
    return walk.words(address + walk.offsets["tuple.items"], min(walk.size(found), _MOST_ARGUMENTS))


def _name(walk: Walk, address: int) -> str:
    try:
        return name(walk, address)
    except Unreadable:
        return CUT


def _value(walk: Walk, of: Signature, index: int, words: Sequence[int]) -> int:
    """The address of an argument's value, wherever it is now; 0 if it has none.

    Those that inner functions use are moved into cells at the begin of the call.
    """
    value = words[index] & walk.offsets.stackref_mask
    if of.kinds is not None:
        # 3.11+: it stays at its place, and MAKE_CELL, before RESUME, puts a cell around it. To an argument that
        # is a cell itself, and still bare, this would be done too; only a caller of inspect or ctypes has one.
        if not value or not of.kinds[index : index + 1] or not of.kinds[index] & _CELL_KIND:
            return value
        cell = value
    else:
        # To 3.10: it moves to the cells behind the locals.
        place = of.cells.get(of.names[index])
        if value or place is None:
            return value
        if place >= len(words):
            raise Spent
        cell = words[place]
    if cell in walk.known.singletons:
        return cell
    found = walk.object(cell)
    return walk.member(found, "cell.value") if found.type.kind == "cell" else value
