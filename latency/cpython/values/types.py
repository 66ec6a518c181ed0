"""The types of a target's objects: what they are called, what they derive from, where their instances' attributes lie.

Exact types of the language are told by their address alone. All others are read from PyTypeObject (CPython 3.6 to
3.15), and believed only if their bases lead to ``object``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from latency.cpython.values.known import NAMED, Known
from latency.cpython.values.memory import Unreadable

# Py_TPFLAGS_… of PyTypeObject.tp_flags (Include/object.h)
INLINE_VALUES = 1 << 2  # 3.13+
MANAGED_DICT = 1 << 4  # 3.11+
_HEAPTYPE = 1 << 9
_READY = 1 << 12
_TYPE_SUBCLASS = 1 << 31

_MOST_BASES = 200
_LONGEST_NAME = 1_000
_LARGEST_INSTANCE = 1 << 32


@dataclass(frozen=True)
class Type:
    """A type that is there.

    Attributes:
        address: of the ``PyTypeObject``.
        name: ``tp_name``: dotted for static types, bare for classes.
        kind: the name of the nearest type, along the first bases, that pylat knows: ``"int"``, ``"object"``.
        inherits_repr: whether its ``__repr__`` is that type's.
        base: None for the types of the language.
        heap: whether it is a class, made at run time.
        flags: ``tp_flags``.
        basicsize, itemsize: of its instances, in bytes.
        dictoffset: ``tp_dictoffset``.
        dict: address of its own ``__dict__``; 0 for a type of the language.
        members, member_count: where its ``PyMemberDef`` lie.
        metatype: address of its type.
    """

    address: int
    name: str
    kind: str
    inherits_repr: bool
    base: Type | None = None
    heap: bool = False
    flags: int = 0
    basicsize: int = 0
    itemsize: int = 0
    dictoffset: int = 0
    dict: int = 0
    members: int = 0
    member_count: int = 0
    metatype: int = 0


def read_type(known: Known, read: Callable[[int, int], bytes], read_some: Callable[[int, int], bytes], at: int) -> Type:
    """The type at an address.

    Args:
        known: of the build.
        read: exactly so many bytes at an address; raises Unreadable.
        read_some: the same, but fewer at the end of what is readable.
        at: the address of the type.

    Raises:
        Unreadable: there is no type.
    """
    raws: list[tuple[int, bytes]] = []
    base = at
    while base not in known.types:
        if len(raws) == _MOST_BASES:
            raise Unreadable
        raw = read(base, known.offsets["type.sizeof"])
        raws.append((base, raw))
        base = _word(raw, known.offsets["type.base"])
    found = of_language(known, base)
    kind_repr = known.reprs[found.kind]
    for address, raw in reversed(raws):
        found = _derived(known, read, read_some, address, raw, found, kind_repr)
        if found.kind == found.name:  # a type of datetime
            kind_repr = _word(raw, known.repr_offset)
    return found


def c_string(read_some: Callable[[int, int], bytes], at: int) -> str:
    """The printable text of a ``char *``; raises Unreadable if there is none."""
    if not at:
        raise Unreadable
    data, end, _ = read_some(at, _LONGEST_NAME).partition(b"\0")
    if not end and len(data) < _LONGEST_NAME:
        raise Unreadable
    return printable(data.decode("utf-8", "backslashreplace")) + ("" if end else "…")


def printable(text: str) -> str:
    """The text with its unprintable characters escaped as in ``repr``."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def of_language(known: Known, address: int) -> Type:
    """A type of the language, by one of the addresses in ``known.types``."""
    name = known.types[address]
    return Type(address, name, name, inherits_repr=True)


def _derived(
    known: Known,
    read: Callable[[int, int], bytes],
    read_some: Callable[[int, int], bytes],
    address: int,
    raw: bytes,
    base: Type,
    kind_repr: int,
) -> Type:
    offsets = known.offsets
    flags = _word(raw, offsets["type.flags"])
    metatype = _word(raw, offsets["object.type"])
    if not flags & _READY or known.types.get(metatype) != "type":
        size = offsets.size("type.flags")
        of_metatype = int.from_bytes(read(metatype + offsets["type.flags"], size), "little")
        if not flags & _READY or not of_metatype & _TYPE_SUBCLASS:
            raise Unreadable
    name = c_string(read_some, _word(raw, offsets["type.name"]))
    heap = bool(flags & _HEAPTYPE)
    named = name in NAMED and not heap
    basicsize = _word(raw, offsets["type.basicsize"])
    itemsize = _word(raw, offsets["type.itemsize"])
    if basicsize > _LARGEST_INSTANCE or itemsize > _LARGEST_INSTANCE:
        raise Unreadable
    return Type(
        address=address,
        name=name,
        kind=name if named else base.kind,
        inherits_repr=named or _word(raw, known.repr_offset) == kind_repr,
        base=base,
        heap=heap,
        flags=flags,
        basicsize=basicsize,
        itemsize=itemsize,
        dictoffset=int.from_bytes(raw[offsets["type.dictoffset"] :][:8], "little", signed=True),
        dict=_word(raw, offsets["type.dict"]),
        members=_word(raw, offsets["type.members"]),
        member_count=_word(raw, offsets["var.size"]),
        metatype=metatype,
    )


def _word(raw: bytes, offset: int) -> int:
    return int.from_bytes(raw[offset : offset + 8], "little")
