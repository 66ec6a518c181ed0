"""ELF symbol tables: a name to its symbol, an address to the function around it.

With numpy: pyelftools takes 0.4 s for the .symtab of a libpython, this 1 ms; its hash tables know .dynsym alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from latency.errors import MalformedImage

# Elf64_Sym of the System V ABI: what .dynsym and .symtab are arrays of.
_SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
_UNDEFINED_SECTION = 0  # SHN_UNDEF
_LOCAL_BINDING = 0  # STB_LOCAL
_KINDS = {1: "object", 2: "func"}  # STT_OBJECT, STT_FUNC
_FUNCTION = 2
_ADDRESS_LIMIT = 1 << 64
_NAME_LIMIT_BYTES = 4096
_SPELLINGS_LIMIT = 4096  # how often one name may occur in the string table as (the end of) a string


@dataclass(frozen=True, slots=True)
class Symbol:
    """A defined symbol. ``address`` is unrelocated; ``kind`` is "func", "object" or "other"."""

    name: str
    address: int
    size: int
    kind: str


class SymbolTable:
    """One symbol table.

    Args:
        entries: the contents of ``.dynsym`` or ``.symtab``; an incomplete last entry is ignored.
        names: the contents of its string table.
    """

    def __init__(self, entries: bytes, names: bytes) -> None:
        self._entries = np.frombuffer(entries, _SYMBOL, len(entries) // _SYMBOL.itemsize)
        self._names = names

    def find(self, name: str) -> Symbol | None:
        """The defined symbol of this name, a global one before a local one.

        Looks the name up in the string table first: one search and one comparison at C speed,
        which need no hash section and serve the stripped and the full table alike.
        """
        places = self._places(name.encode("utf-8", "surrogateescape"))
        if not places:
            return None
        found = np.flatnonzero(np.isin(self._entries["name"], np.array(places, np.uint32)))
        defined = found[self._entries["section"][found] != _UNDEFINED_SECTION]
        if not len(defined):
            return None
        binding = self._entries["info"][defined] >> 4
        return self._symbol(int(defined[np.argmax(binding != _LOCAL_BINDING)]))

    def numbered(self, number: int) -> Symbol | None:
        """The symbol of this number, if it is defined."""
        if not 0 <= number < len(self._entries) or self._entries["section"][number] == _UNDEFINED_SECTION:
            return None
        return self._symbol(number)

    def function_at(self, address: int) -> tuple[Symbol, int] | None:
        """The function symbol whose bytes contain ``address``, and the offset into it."""
        if not 0 <= address < _ADDRESS_LIMIT:
            return None
        starts, indices = self._functions
        position = int(np.searchsorted(starts, np.uint64(address), side="right")) - 1
        if position < 0:
            return None
        symbol = self._symbol(int(indices[position]))
        offset = address - symbol.address
        return (symbol, offset) if offset < max(symbol.size, 1) else None

    @cached_property
    def _functions(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """(start addresses ascending, index into the table of each)."""
        entries = self._entries
        indices = np.flatnonzero((entries["info"] & 15 == _FUNCTION) & (entries["section"] != _UNDEFINED_SECTION))
        indices = indices[np.argsort(entries["value"][indices], kind="stable")]
        return entries["value"][indices], indices

    def _places(self, name: bytes) -> list[int]:
        """Offsets in the string table at which ``name`` stands (linkers merge common tails)."""
        places: list[int] = []
        place = self._names.find(name + b"\0")
        while place >= 0:
            places.append(place)
            if len(places) > _SPELLINGS_LIMIT:
                raise MalformedImage(f"a string table repeats one name more than {_SPELLINGS_LIMIT} times")
            place = self._names.find(name + b"\0", place + 1)
        return places

    def _symbol(self, index: int) -> Symbol:
        entry = self._entries[index]
        start = int(entry["name"])
        end = self._names.find(b"\0", start, start + _NAME_LIMIT_BYTES)
        name = self._names[start : end if end >= 0 else start + _NAME_LIMIT_BYTES]
        return Symbol(
            name=name.decode("utf-8", "backslashreplace"),
            address=int(entry["value"]),
            size=int(entry["size"]),
            kind=_KINDS.get(int(entry["info"]) & 15, "other"),
        )
