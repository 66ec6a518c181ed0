"""Which functions live in a process: every code object, by its address, without any probe.

The heap scan gives addresses at which a code object may lie. One does if its name and its file are strings, its line is
a line, its constants and names are tuples (PyCodeObject, 3.6 to 3.15).

A code object knows its qualname from 3.11 on, and its module in no version. Both stand in the function objects that
share it, but those can be renamed: ``functools.wraps`` gives a wrapper the qualname and the module of what it wraps.
So a function object is believed only where its qualname agrees with the code object.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from latency.cpython.offsets import Offsets, counts_references
from latency.cpython.strings import CUT, LIMIT, TUPLE_SUBCLASS, decode, read_strings, types_with
from latency.errors import TargetError
from latency.recording import Function
from latency.target.build import Build
from latency.target.heap import objects_of
from latency.target.process import Process

# Include/cpython/code.h (Include/code.h to 3.10)
_CO_NEWLOCALS = 0x2
_KINDS = (
    (0x200, "async_generator"),  # CO_ASYNC_GENERATOR
    (0x80, "coroutine"),  # CO_COROUTINE
    (0x20 | 0x100, "generator"),  # CO_GENERATOR, CO_ITERABLE_COROUTINE (types.coroutine)
)
_MODULE_CODE = "<module>"
_MOST_OBJECTS = 1 << 20  # of one type: no real program comes near, and each costs us some hundred bytes
_MOST_CONSTANTS = 1 << 22  # looked through for nested functions
_DEEPEST_NESTING = 100


@dataclass(frozen=True)
class LiveFunction:
    """A code object that lives in a process.

    Attributes:
        address: of the ``PyCodeObject``.
        function: what it is called, and where it stands in the source.
        module: ``app.views``; ``""`` if no function object tells.
    """

    address: int
    function: Function
    module: str


class _Code(NamedTuple):
    """The members of a PyCodeObject that matter here. The qualname is the name where the version has none."""

    name: str
    qualname: str
    filename: str
    line: int
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
    code_type, function_type = build.address("PyCode_Type"), build.address("PyFunction_Type")
    found = objects_of(process, (code_type, function_type), free_threaded=offsets.free_threaded)
    if max(map(len, found.values())) > _MOST_OBJECTS:
        raise TargetError(f"process {process.pid} seems to hold more than {_MOST_OBJECTS:,} functions")
    codes = _read_codes(process, found[code_type].tolist(), code_type, offsets)
    named = _read_functions(process, found[function_type].tolist(), codes, offsets)
    names = {address: code.qualname for address, code in codes.items()}
    if "code.qualname" not in offsets:
        names = _derive_qualnames(codes, named, _read_parents(process, codes, offsets))
    modules = _modules(codes, named)
    return [LiveFunction(at, _function(names[at], code), modules[at]) for at, code in codes.items()]


def describe(process: Process, build: Build, offsets: Offsets, address: int) -> LiveFunction | None:
    """The code object at an address, or None if none lives there now; its module is not looked for.

    Raises:
        TargetGone, NoPrivilege, UnsupportedBuild
    """
    code = _read_codes(process, [address], build.address("PyCode_Type"), offsets).get(address)
    return None if code is None else LiveFunction(address, _function(code.qualname, code), "")


def from_capture(
    qualname_raw: bytes, filename_raw: bytes, line: int, co_flags: int, offsets: Offsets
) -> Function | None:
    """The function whose two strings were captured, each as the first bytes of its object; None if one is no string.

    Before 3.11 the captured qualname is the bare name. A text that was not captured whole ends with ``strings.CUT``.
    """
    qualname, filename = decode(qualname_raw, offsets), decode(filename_raw, offsets)
    return None if qualname is None or filename is None else Function(qualname, filename, line, kind(co_flags))


def kind(co_flags: int) -> str:
    """One of ``recording.KINDS``."""
    return next((name for flags, name in _KINDS if co_flags & flags), "function")


def _function(qualname: str, code: _Code) -> Function:
    return Function(qualname, code.filename, code.line, kind(code.flags))


def _read_codes(process: Process, addresses: list[int], code_type: int, offsets: Offsets) -> dict[int, _Code]:
    """The addresses at which a code object lives, with what it says."""
    qualname = "code.qualname" if "code.qualname" in offsets else "code.name"
    members = ("code.name", qualname, "code.filename", "code.firstlineno", "code.flags", "code.consts", "code.names")
    counts = ("object.ref_local", "object.ref_shared") if offsets.free_threaded else ("object.refcnt",)
    # Since the scan an object may have been freed.
    alive = {
        row[0]
        for row in _read_members(process, addresses, ("object.type", *counts), offsets)
        if row[1] == code_type and _is_counted(row[2:])
    }
    rows = [row for row in _read_members(process, sorted(alive), members, offsets) if row[4] < 1 << 31]
    tuples = _tuples(process, {consts_or_names for row in rows for consts_or_names in row[6:]}, offsets)
    rows = [row for row in rows if row[6] in tuples and row[7] in tuples]
    texts = read_strings(process, (text for row in rows for text in row[1:4]), offsets)
    codes = {}
    for address, name, qualname_, filename, line, flags, consts, _ in rows:
        if name in texts and qualname_ in texts and filename in texts:
            codes[address] = _Code(texts[name], texts[qualname_], texts[filename], line, flags, consts)
    return codes


def _is_counted(counts: Sequence[int]) -> bool:
    """Whether the reference counts of an object can be those of one that lives."""
    if len(counts) > 1:
        return counts_references(*counts)
    return counts[0] & 0xFFFF_FFFF != 0  # where ob_refcnt is 8 bytes long, its upper half may hold flags


def _read_functions(
    process: Process, addresses: list[int], codes: Mapping[int, _Code], offsets: Offsets
) -> dict[int, _Named]:
    """By code object, what a function object says of it that has the name it was compiled with."""
    members = ("function.code", "function.qualname", "function.module")
    rows = [row for row in _read_members(process, addresses, members, offsets) if row[1] in codes]
    texts = read_strings(process, (text for row in rows for text in row[2:]), offsets)
    whole = "code.qualname" in offsets
    named: dict[int, _Named] = {}
    for _, address, qualname_at, module_at in rows:
        qualname, code = texts.get(qualname_at, ""), codes[address]
        if code.qualname == (qualname if whole else qualname.rpartition(".")[2]):
            named.setdefault(address, _Named(qualname, texts.get(module_at, "")))
    return named


def _modules(codes: Mapping[int, _Code], named: Mapping[int, _Named]) -> dict[int, str]:
    """The module of each code object."""
    of_file: dict[str, str] = {}
    for address, function in named.items():
        filename = codes[address].filename
        # "<string>" and the like may belong to many
        of_file[filename] = function.module if of_file.get(filename, function.module) == function.module else ""
    return {
        address: named[address].module if address in named else of_file.get(code.filename, "")
        for address, code in codes.items()
    }


def _derive_qualnames(
    codes: Mapping[int, _Code], named: Mapping[int, _Named], parents: Mapping[int, int]
) -> dict[int, str]:
    """The qualnames as CPython's compiler gives them (compiler_set_qualname in Python/compile.c)."""
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
                names[inner] = named[inner].qualname if inner in named else codes[inner].name
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


def _tuples(process: Process, addresses: Collection[int], offsets: Offsets) -> frozenset[int]:
    """Those of the addresses at which a tuple lies."""
    rows = _read_members(process, list(addresses), ("object.type",), offsets)
    types = types_with(process, {type_ for _, type_ in rows}, TUPLE_SUBCLASS, offsets)
    return frozenset(address for address, type_ in rows if type_ in types)


def _read_members(
    process: Process, addresses: list[int], members: tuple[str, ...], offsets: Offsets
) -> list[tuple[int, ...]]:
    """(address, member, member, …), as unsigned numbers, of each object that can be read."""
    fields = [(offsets[member], offsets.size(member)) for member in members]
    size = max(offset + length for offset, length in fields)
    raws = process.read_many(addresses, size)
    table = np.frombuffer(b"".join(raw for raw in raws if raw is not None), np.uint8).reshape(-1, size)
    columns = [[address for address, raw in zip(addresses, raws, strict=True) if raw is not None]]
    for offset, length in fields:
        column: np.ndarray[Any, Any] = np.ascontiguousarray(table[:, offset : offset + length]).view(f"<u{length}")
        columns.append(column[:, 0].tolist())
    return list(zip(*columns, strict=True))
