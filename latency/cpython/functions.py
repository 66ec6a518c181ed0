"""Which functions live in a process: every code object, by its address, without any probe.

The heap scan gives addresses at which a code object may lie. One does if its name and its file are strings, its line is
a line, its constants and names are tuples (PyCodeObject, 3.6 to 3.15).

A code object knows its qualname from 3.11 on, and its module in no version. Both stand in the function objects that
share it, but those can be renamed: ``functools.wraps`` gives a wrapper the qualname and the module of what it wraps.
So a function object is believed only where its qualname agrees with the code object.

Code that the program itself has written, and compiled from a text (``dataclass``, ``namedtuple`` and attrs write
methods), has the name that the text gives it and no file: many are ``__create_fn__.<locals>.__init__``, ``<string>``.
There the one function that holds the code says whose it is, and its module tells it from others.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from operator import eq
from typing import Any, NamedTuple

import numpy as np

from latency.cpython.offsets import Offsets
from latency.cpython.strings import (
    AT_ONCE,
    CUT,
    LIMIT,
    TUPLE_SUBCLASS,
    among,
    column,
    decode,
    distinct,
    in_place,
    read_strings,
    types_with,
)
from latency.errors import TargetError
from latency.recording import Function, Owners
from latency.target.build import Build
from latency.target.heap import objects_of
from latency.target.process import Process
from latency.target.vm import Words

Column = np.ndarray[Any, Any]

# Include/cpython/code.h (Include/code.h to 3.10)
_CO_NEWLOCALS = 0x2
_KINDS = (
    (0x200, "async_generator"),  # CO_ASYNC_GENERATOR
    (0x80, "coroutine"),  # CO_COROUTINE
    (0x20 | 0x100, "generator"),  # CO_GENERATOR, CO_ITERABLE_COROUTINE (types.coroutine)
)
_MODULE_CODE = "<module>"
LAMBDA = "<lambda>"
_MOST_OBJECTS = 1 << 20  # of one type: no real program comes near, and each costs us some hundred bytes
_MOST_CONSTANTS = 1 << 22  # looked through for nested functions
_DEEPEST_NESTING = 100
_COUNT = "object.refcnt"


class LiveFunction(NamedTuple):
    """A code object that lives in a process.

    Attributes:
        address: of the ``PyCodeObject``.
        function: what it is called, and where it stands in the source.
        module: ``app.views``; ``""`` if no function object tells.
        owners: the functions that share it, where these have different names; else None.
    """

    address: int
    function: Function
    module: str
    owners: Owners | None = None


class _Codes(NamedTuple):
    """The members of PyCodeObjects that matter here, a column each, by ascending address; texts are addresses.

    The qualname is the name where the version has none.
    """

    at: Words
    names: Words
    qualnames: Words
    filenames: Words
    lines: Column
    flags: Column
    consts: Words


class _Code(NamedTuple):
    """What a code object says, where the qualname is not known of it."""

    name: str
    flags: int
    consts: int


class _Named(NamedTuple):
    """What a function object says of its code."""

    qualname: str
    module: str


def live_functions(process: Process, build: Build, offsets: Offsets) -> list[LiveFunction]:
    """Every code object that lives in the process, by address: functions, lambdas, class bodies and modules alike.

    Before 3.11 the qualname is derived: from the enclosing code object if that lives too, else from a function object,
    else it is the bare name. A module is also taken from the other functions of the same file, if they all agree.

    Raises:
        TargetGone, NoPrivilege
        UnsupportedBuild: the build lacks a symbol or a struct member.
        TargetError: the process seems to hold millions of functions.
    """
    with _without_collector():
        return _live_functions(process, build, offsets)


@contextmanager
def _without_collector() -> Iterator[None]:
    """A million objects are made here, and none of them is garbage: to look for that again and again takes seconds."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _live_functions(process: Process, build: Build, offsets: Offsets) -> list[LiveFunction]:
    code_type, function_type = build.address("PyCode_Type"), build.address("PyFunction_Type")
    found = objects_of(process, (code_type, function_type), free_threaded=offsets.free_threaded)
    if max(map(len, found.values())) > _MOST_OBJECTS:
        raise TargetError(f"process {process.pid} seems to hold more than {_MOST_OBJECTS:,} functions")
    texts: dict[int, str] = {}
    codes = _read_codes(process, found[code_type], code_type, offsets, texts)
    at = codes.at.tolist()
    named, holders = _read_functions(process, found[function_type], codes, offsets, texts)
    modules = _modules(codes, named, texts)
    qualnames = [texts[it] for it in codes.qualnames.tolist()]
    if "code.qualname" not in offsets:
        plain = map(_Code, qualnames, codes.flags.tolist(), codes.consts.tolist())
        by_address = dict(zip(at, plain, strict=True))
        known = {at[place]: texts.get(pointer, "") for place, pointer, _ in named.tolist()}
        derived = _derive_qualnames(by_address, known, _read_parents(process, by_address, offsets))
        qualnames = [derived[address] for address in at]
    filenames = map(texts.__getitem__, codes.filenames.tolist())
    functions = Function.many(qualnames, filenames, codes.lines.tolist(), map(kind, codes.flags.tolist()))
    owners: list[Owners | None] = [None] * len(at)
    for place, holding in holders.items():
        owned = {it for holder in holding if (it := of_owner(functions[place], *holder)) is not None}
        if len(owned) == 1:
            (functions[place],) = owned
            modules[place] = functions[place].module or modules[place]
        if len(holding) > 1:
            owners[place] = Owners.of(holder.qualname for holder in holding)
    return list(map(LiveFunction, at, functions, modules, owners))


def describe(process: Process, build: Build, offsets: Offsets, address: int) -> LiveFunction | None:
    """The code object at an address, or None if none lives there now; its module is not looked for.

    Raises:
        TargetGone, NoPrivilege, UnsupportedBuild
    """
    texts: dict[int, str] = {}
    code_type = build.address("PyCode_Type")
    codes = _read_codes(process, np.array([address], np.uint64), code_type, offsets, texts)
    if not len(codes.at):
        return None
    _, _, qualname, filename, line, flags, _ = (int(column[0]) for column in codes)
    return LiveFunction(address, Function(texts[qualname], texts[filename], line, kind(flags)), "")


def from_capture(
    qualname_raw: bytes, filename_raw: bytes, line: int, co_flags: int, offsets: Offsets
) -> Function | None:
    """The function whose two strings were captured, each as the first bytes of its object; None if one is no string.

    Before 3.11 the captured qualname is the bare name. A text that was not captured whole ends with ``strings.CUT``.
    """
    qualname, filename = decode(qualname_raw, offsets), decode(filename_raw, offsets)
    return None if qualname is None or filename is None else Function(qualname, filename, line, kind(co_flags))


def is_written(filename: str) -> bool:
    """Whether code of this ``co_filename`` was compiled from a text that is no file."""
    return filename.startswith("<") and filename.endswith(">") and not filename.startswith("<frozen ")


def of_owner(function: Function, qualname: str, module: str) -> Function | None:
    """The function as one that holds its code names it; None where that is not to be believed.

    It is of code that was compiled from a text: by the name there, or from a lambda. (A wrapper has another name in the
    text than the one that it was given.)

    Args:
        function: as the code names it.
        qualname, module: as the function object does.
    """
    bare = function.qualname.rpartition(".")[2]
    if is_written(function.filename) and (qualname.rpartition(".")[2] == bare or function.qualname == LAMBDA):
        return replace(function, qualname=qualname, module=module)
    return None


@lru_cache(1024)
def kind(co_flags: int) -> str:
    """One of ``recording.KINDS``."""
    return next((name for flags, name in _KINDS if co_flags & flags), "function")


def _read_codes(process: Process, addresses: Words, code_type: int, offsets: Offsets, texts: dict[int, str]) -> _Codes:
    """The code objects that live at these addresses, which ascend. Adds what was read to the texts."""
    qualname = "code.qualname" if "code.qualname" in offsets else "code.name"
    members = ("code.name", qualname, "code.filename", "code.firstlineno", "code.flags", "code.consts", "code.names")
    rows = _read_members(process, addresses, (*members, *_counts(offsets)), offsets, code_type)
    # since the scan an object may have been freed
    rows = _those(rows, _are_counted(rows[8:]) & (rows[4] < 1 << 31))[:8]
    tuples = _tuples(process, np.concatenate(rows[6:]), offsets)
    rows = _those(rows, among(rows[6], tuples) & among(rows[7], tuples))
    texts |= read_strings(process, np.concatenate(rows[1:4]), offsets)
    told = distinct(np.fromiter(texts, np.uint64))
    rows = _those(rows, np.logical_and.reduce([among(row, told) for row in rows[1:4]]))
    return _Codes(*rows[:7])


def _are_counted(counts: Sequence[Column]) -> Column:
    """Whether the reference counts of each object can be those of one that lives.

    What was freed keeps its type, and in the place of its count has the address of the next free block, or 0
    (Objects/obmalloc.c), or what whoever has the block now has written. So the first 8 bytes are looked at: above the
    count lie zeros, and from 3.14 on in the upper two bytes ``ob_flags``; an address has more.
    """
    if len(counts) > 1:
        local, shared = counts  # as offsets.counts_references has it
        found: Column = (local != 0) | (shared >> 2 != 0)
    else:
        found = (counts[0] & 0xFFFF_FFFF != 0) & (counts[0] >> 32 & 0xFFFF == 0)
    return found


def _counts(offsets: Offsets) -> tuple[str, ...]:
    return ("object.ref_local", "object.ref_shared") if offsets.free_threaded else (_COUNT,)


def _those(columns: Sequence[Column], which: Column) -> list[Column]:
    return [each[which] for each in columns]


def _read_functions(
    process: Process, addresses: Words, codes: _Codes, offsets: Offsets, texts: dict[int, str]
) -> tuple[Words, dict[int, set[_Named]]]:
    """Of each code object one function object that has the name it was compiled with.

    And what all say that hold it, of code that several hold, or that the program has written.

    Returns:
        (rows of its place among the codes and the addresses of the function's qualname and module; what they say, by
        place).
    """
    members = ("function.code", "function.qualname", "function.module")
    rows = _read_members(process, addresses, (*members, *_counts(offsets)), offsets)
    code_at, qualnames, modules = _those(rows[1:4], among(rows[1], codes.at) & _are_counted(rows[4:]))
    places = np.searchsorted(codes.at, code_at)
    # mostly it is the very string that the code object has
    agree = qualnames == codes.qualnames[places]
    other = np.flatnonzero(~agree)
    unknown = distinct(np.concatenate((qualnames[other], distinct(modules)))).tolist()
    texts |= read_strings(process, [it for it in unknown if it not in texts], offsets)
    told = [texts.get(it, "") for it in qualnames[other].tolist()]
    compiled = told if "code.qualname" in offsets else [it.rpartition(".")[2] for it in told]
    agree[other] = list(map(eq, compiled, map(texts.__getitem__, codes.qualnames[places[other]].tolist())))
    said = np.stack((places.astype(np.uint64), qualnames, modules), axis=1)
    _, firsts = np.unique(places[agree], return_index=True)

    held, times = np.unique(places, return_counts=True)
    asked = among(codes.filenames, np.array([it for it in distinct(codes.filenames).tolist() if is_written(texts[it])]))
    asked[held[times > 1]] = True
    holders: dict[int, set[_Named]] = {}
    for place, qualname, module in said[asked[places]].tolist():
        if texts.get(qualname):
            holders.setdefault(place, set()).add(_Named(texts[qualname], texts.get(module, "")))
    return said[agree][firsts], holders


def _modules(codes: _Codes, named: Words, texts: Mapping[int, str]) -> list[str]:
    """The module of each code object."""
    places, _, pointers = named.T
    filenames = codes.filenames[places]
    of_file: dict[str, str] = {}
    for filename, module in {(texts[file], texts.get(module, "")) for file, module in _pairs(filenames, pointers)}:
        # "<string>" and the like may belong to many
        of_file[filename] = module if filename not in of_file else ""
    by_file = {it: of_file.get(texts[it], "") for it in distinct(codes.filenames).tolist()}
    found = list(map(by_file.__getitem__, codes.filenames.tolist()))
    for place, module in zip(places.tolist(), pointers.tolist(), strict=True):
        found[place] = texts.get(module, "")
    return found


def _pairs(one: Words, two: Words) -> list[list[int]]:
    """The pairs of numbers in two columns, each once."""
    ones, twos = distinct(one), distinct(two)
    both = distinct(np.searchsorted(ones, one) * len(twos) + np.searchsorted(twos, two))
    if not len(both):
        return []
    pairs: list[list[int]] = np.stack((ones[both // len(twos)], twos[both % len(twos)]), axis=1).tolist()
    return pairs


def _derive_qualnames(
    codes: Mapping[int, _Code], named: Mapping[int, str], parents: Mapping[int, int]
) -> dict[int, str]:
    """The qualnames as CPython's compiler gives them (compiler_set_qualname in Python/compile.c).

    Args:
        named: those that a function object has.
        parents: the code object that has each among its constants.
    """
    names: dict[int, str] = {}
    for address in codes:
        chain = [address]
        while chain[-1] not in names and chain[-1] in parents and len(chain) < _DEEPEST_NESTING:
            chain.append(parents[chain[-1]])
        for inner in reversed(chain):
            if inner in names:
                continue
            outer = parents.get(inner)
            if outer in names:
                name = _prefix(codes[outer], names[outer]) + codes[inner].name
                names[inner] = name if len(name) <= LIMIT else name[:LIMIT] + CUT
            else:
                names[inner] = named.get(inner, codes[inner].name)
    return names


def _prefix(outer: _Code, qualname: str) -> str:
    """What the qualname of a function begins with if ``outer`` encloses it."""
    if outer.flags & _CO_NEWLOCALS:
        return f"{qualname}.<locals>."
    return "" if outer.name == _MODULE_CODE else f"{qualname}."


def _read_parents(process: Process, codes: Mapping[int, _Code], offsets: Offsets) -> dict[int, int]:
    """By code object, the one that has it among its constants."""
    first, size_at = offsets["tuple.items"], offsets["var.size"]
    parents: dict[int, int] = {}
    left = _MOST_CONSTANTS
    heads = process.read_many([code.consts + size_at for code in codes.values()], 8)
    for (address, code), head in zip(codes.items(), heads, strict=True):
        data = process.read_some(code.consts + first, 8 * min(int.from_bytes(head or b"", "little"), left))
        constants = np.frombuffer(data, "<u8", len(data) // 8).tolist()
        left -= len(constants)
        for constant in constants:
            if constant in codes and constant != address:
                parents.setdefault(constant, address)
    return parents


def _tuples(process: Process, addresses: Words, offsets: Offsets) -> Words:
    """Those of the addresses at which a tuple lives."""
    at, type_, *counts = _read_members(process, distinct(addresses), ("object.type", *_counts(offsets)), offsets)
    types = types_with(process, distinct(type_).tolist(), TUPLE_SUBCLASS, offsets)
    tuples: Words = at[among(type_, distinct(np.fromiter(types, np.uint64))) & _are_counted(counts)]
    return tuples


def _read_members(
    process: Process,
    addresses: Words,
    members: tuple[str, ...],
    offsets: Offsets,
    type_: int | None = None,
) -> list[Column]:
    """Columns of addresses and of each member, as unsigned numbers, of the objects that can be read, and are of this
    type. (A column of types would look like objects, where a process looks into itself.)"""
    fields = [(offsets[member], 8 if member == _COUNT else offsets.size(member)) for member in members]
    size, blocks = max(offset + length for offset, length in fields), []
    for begin in range(0, max(len(addresses), 1), AT_ONCE):
        some = addresses[begin : begin + AT_ONCE]
        table, good = process.read_table(some, size)
        if type_ is not None:
            good &= in_place(table, offsets["object.type"], 8) == type_
        columns = [some, *(column(table, offset, length) for offset, length in fields)]
        blocks.append(columns if good.all() else _those(columns, good))
    return [np.concatenate(each) for each in zip(*blocks, strict=True)]
