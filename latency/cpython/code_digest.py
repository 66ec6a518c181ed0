"""A digest of what a function's code does, wherever it stands: to know a function again that moved within its file.

It is made of the instructions, the constants, all names and the numbers of arguments: not of the qualname, the file and
the lines. What the interpreter changes while it runs is left out: inline caches, and in which form an instruction
stands that was specialised (3.11 and later). Two minor versions of CPython have different instructions for one source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from latency.cpython.offsets import Offsets
from latency.cpython.sites.opcodes import caches, opcodes
from latency.cpython.strings import read_strings
from latency.cpython.watch_units import HIDDEN, UNIT_BYTES
from latency.target.build import Build
from latency.target.process import Process

# What can be a constant, an array of names or code. Whatever else is met has no digest.
_TYPES = {
    "PyUnicode_Type": "str",
    "PyLong_Type": "int",
    "PyFloat_Type": "float",
    "PyComplex_Type": "complex",
    "PyBytes_Type": "bytes",
    "PyTuple_Type": "tuple",
    "PyFrozenSet_Type": "frozenset",
    "PySlice_Type": "slice",
    "PyCode_Type": "code",
}
_SINGLETONS = ("_Py_NoneStruct", "_Py_TrueStruct", "_Py_FalseStruct", "_Py_EllipsisObject")
_DIGEST_BYTES = 8
_LARGEST_BYTES = 1 << 22  # of one code or one number; what is longer has no digest
_MOST_OBJECTS = 1 << 18  # of all codes of a batch
_DEEPEST = 30  # constants within constants
_NUMBERS = ("code.argcount", "code.posonlyargcount", "code.kwonlyargcount", "code.flags")
_PARTS = ("code.names", "code.consts", "code.localsplusnames", "code.varnames", "code.cellvars", "code.freevars")
_SPECIAL = {  # which forms have another name than that of their family and something behind it, or no caches to tell
    "RESUME_CHECK": "RESUME",
    "LOAD_CONST_MORTAL": "LOAD_CONST",
    "LOAD_CONST_IMMORTAL": "LOAD_CONST",
    "CALL_EX_PY": "CALL_FUNCTION_EX",
    "CALL_EX_NON_PY_GENERAL": "CALL_FUNCTION_EX",
}


class CodeDigests:
    """Takes the digests of code objects of one build.

    Raises:
        UnsupportedBuild: the build lacks a symbol or a struct member.
    """

    def __init__(self, build: Build, offsets: Offsets) -> None:
        self._offsets = offsets
        self._types = {build.address(symbol): name for symbol, name in _TYPES.items()}
        self._singletons = {build.address(symbol): symbol.encode() for symbol in _SINGLETONS}
        self._units = None if "code.code_object" in offsets else _instructions_of(offsets.version)

    def take(self, process: Process, addresses: Iterable[int]) -> dict[int, str]:
        """By address of a code object, its digest; without those of which it cannot be told.

        Args:
            addresses: of code objects that live now. What has been freed since has no digest, or that of what is there.

        Raises:
            TargetGone, NoPrivilege
        """
        codes = list(addresses)
        batch = _Batch(process, self._offsets, self._types, self._singletons, self._units)
        found = batch.of(codes, 0) if codes else {}
        return {address: f"{self._offsets.version}:{found[address].hex()}" for address in codes if address in found}


class _Instructions(NamedTuple):
    """By opcode: the opcode that stands for its family, -1 where that is not known; and the units that it takes."""

    family: tuple[int, ...]
    units: tuple[int, ...]


@dataclass
class _Batch:
    """Reads objects in batches, those of one depth together."""

    _process: Process
    _offsets: Offsets
    _types: Mapping[int, str]
    _singletons: Mapping[int, bytes]
    _units: _Instructions | None
    _left: int = _MOST_OBJECTS

    def of(self, addresses: Iterable[int], depth: int) -> dict[int, bytes]:
        """The digest of each object that can be read whole."""
        unique = list(dict.fromkeys(addresses))
        self._left -= len(unique)
        if depth > _DEEPEST or self._left < 0:
            return {}
        found = {at: _hash(self._singletons[at]) for at in unique if at in self._singletons}
        by_type: dict[str, list[int]] = {}
        for address, type_ in zip(unique, self._words(unique, self._offsets["object.type"]), strict=True):
            if address not in found:
                by_type.setdefault(self._types.get(type_, ""), []).append(address)
        texts = read_strings(self._process, by_type.get("str", []), self._offsets, limit=_LARGEST_BYTES)
        found |= {at: _hash(b"str", text.encode("utf-8", "surrogatepass")) for at, text in texts.items()}
        for at in by_type.get("int", []):
            self._add(found, at, b"int", self._integer(at))
        for at in by_type.get("bytes", []):
            self._add(found, at, b"bytes", self._sized(at, self._offsets["bytes.data"], 1))
        for name, meaning, size in (("float", "float.value", 8), ("complex", "complex.real", 16)):
            for at in by_type.get(name, []):
                self._add(found, at, name.encode(), self._exactly(at + self._offsets[meaning], size))
        self._add_containers(found, by_type, depth)
        self._add_codes(found, by_type.get("code", []), depth)
        return found

    def _add_containers(self, found: dict[int, bytes], by_type: dict[str, list[int]], depth: int) -> None:
        first = self._offsets["tuple.items"]
        items = {at: self._sized(at, first, 8) for at in by_type.get("tuple", [])}
        items |= {at: self._entries(at) for at in by_type.get("frozenset", [])}
        items |= {at: self._exactly(at + self._offsets["object.sizeof"], 24) for at in by_type.get("slice", [])}
        words = {at: np.frombuffer(data, "<u8").tolist() for at, data in items.items() if data is not None}
        within = self.of([each for them in words.values() for each in them], depth + 1) if words else {}
        sets = set(by_type.get("frozenset", []))
        for at, them in words.items():
            if all(each in within for each in them):
                parts = [within[each] for each in them]
                # The order of a set is that of addresses, or of hashes that differ from run to run.
                found[at] = _hash(b"set", *sorted(parts)) if at in sets else _hash(b"tuple", *parts)

    def _add_codes(self, found: dict[int, bytes], codes: Sequence[int], depth: int) -> None:
        offsets = self._offsets
        parts = [offsets[name] for name in _PARTS if name in offsets]
        numbers = [offsets[name] for name in _NUMBERS if name in offsets]
        columns = list(zip(*(self._words(codes, place) for place in parts), strict=True))
        within = self.of([each for row in columns for each in row], depth + 1) if codes else {}
        for at, row in zip(codes, columns, strict=True):
            instructions = self._instructions(at)
            heads = [self._exactly(at + place, 4) for place in numbers]
            if instructions is not None and None not in heads and all(each in within for each in row):
                found[at] = _hash(b"code", instructions, *filter(None, heads), *(within[each] for each in row))

    def _instructions(self, code: int) -> bytes | None:
        """Opcodes and opargs, without what changes while they run; to 3.10 all that there is."""
        offsets = self._offsets
        if self._units is None:
            return self._sized(self._word(code, offsets["code.code_object"]), offsets["bytes.data"], 1)
        raw = self._sized(code, offsets["code.code_adaptive"], UNIT_BYTES)
        return None if raw is None else _steady(raw, self._units)

    def _integer(self, at: int) -> bytes | None:
        offsets = self._offsets
        tagged = "long.tag" in offsets
        tag = self._word(at, offsets["long.tag" if tagged else "var.size"])
        if tagged:
            size, negative = tag >> 3, tag & 3 == 2
        else:
            negative = tag >= 1 << 63
            size = (1 << 64) - tag if negative else tag
        digits = self._exactly(at + offsets["long.digits"], 4 * size)
        return None if digits is None else digits + (b"-" if negative else b"+")

    def _entries(self, at: int) -> bytes | None:
        """The addresses of what a frozenset holds."""
        offsets = self._offsets
        used, mask, table = (self._word(at, offsets[f"set.{name}"]) for name in ("used", "mask", "table"))
        stride = offsets["setentry.sizeof"]
        raw = self._exactly(table, (mask + 1) * stride)
        if raw is None:
            return None
        keys = np.frombuffer(raw, "<u8").reshape(-1, stride // 8)[:, offsets["setentry.key"] // 8]
        keys = keys[keys != 0]  # nothing is ever removed from a frozenset
        return keys.tobytes() if len(keys) == used else None

    def _sized(self, at: int, first: int, item_bytes: int) -> bytes | None:
        """The items of an object that says how many it has."""
        return self._exactly(at + first, self._word(at, self._offsets["var.size"]) * item_bytes)

    def _words(self, addresses: Sequence[int], place: int) -> list[int]:
        """The word at a place in each; 0 where it cannot be read."""
        raws = self._process.read_many([at + place for at in addresses], 8)
        return [int.from_bytes(raw or b"", "little") for raw in raws]

    def _word(self, at: int, place: int) -> int:
        return int.from_bytes(self._process.read_some(at + place, 8), "little")

    def _exactly(self, at: int, size: int) -> bytes | None:
        data = self._process.read_some(at, size) if size <= _LARGEST_BYTES else b""
        return data if len(data) == size else None

    @staticmethod
    def _add(found: dict[int, bytes], at: int, kind: bytes, data: bytes | None) -> None:
        if data is not None:
            found[at] = _hash(kind, data)


def _hash(*parts: bytes) -> bytes:
    made = blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        made.update(len(part).to_bytes(8, "little") + part)
    return made.digest()


def _steady(raw: bytes, known: _Instructions) -> bytes | None:
    """Of units the opcode of each instruction's family, and its oparg; None where a tracer has put others there."""
    family, units = known
    found = bytearray()
    at = 0
    while at < len(raw):
        opcode = raw[at]
        if family[opcode] < 0:
            return None
        found.append(family[opcode])
        found.append(raw[at + 1])
        at += UNIT_BYTES * units[opcode]
    return bytes(found)


@lru_cache(maxsize=8)
def _instructions_of(minor: str) -> _Instructions:
    """The instructions of a version: ``"3.12"``. Raises UnsupportedBuild."""
    first, _, second = minor.partition(".")
    version = int(first), int(second)
    numbers, cached = opcodes(version), caches(version)
    family, units = [-1] * 256, [1] * 256
    for name, number in numbers.items():
        if name not in HIDDEN:
            family[number] = numbers.get(_family(name, cached), number)
            units[number] = 1 + cached.get(name, 0)
    return _Instructions(tuple(family), tuple(units))


def _family(name: str, cached: Mapping[str, int]) -> str:
    """One name for all forms that an instruction may have: the shortest that begins it and has as many caches."""
    name = name.removeprefix("INSTRUMENTED_").removesuffix("_QUICK").partition("__")[0]
    name = _SPECIAL.get(name.removesuffix("_JIT"), name)
    words = name.split("_")
    for end in range(1, len(words)):
        family = "_".join(words[:end])
        if cached.get(name, 0) and cached.get(family, 0) == cached[name]:
            return family
    return name
