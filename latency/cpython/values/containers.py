"""Tuples, lists, dictionaries and sets (Objects/dictobject.c, setobject.c; CPython 3.6 to 3.15)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from latency.cpython.values.memory import Unreadable
from latency.cpython.values.walk import LARGEST, Object, Walk

_CHUNK = 128  # entries of a table that are read at once
_MOST_SHARED = 1 << 16  # attributes in keys that instances share; 30 from 3.11 on
_GENERAL_KEYS = 0  # dk_kind, 3.11+; the other kinds hold entries without a hash


def tuple_(walk: Walk, found: Object) -> str:
    """A ``tuple``."""
    size = walk.size(found)
    if not size:
        return "()"

    def render() -> str:
        addresses = walk.words(found.address + walk.offsets["tuple.items"], min(size, walk.limits.items + 1))
        return f"({walk.items(walk.row(addresses))}{',' if size == 1 else ''})"

    return walk.inside(found, "(...)", "(…)", render)


def list_(walk: Walk, found: Object) -> str:
    """A ``list``."""
    size = walk.size(found)
    if size > walk.member(found, "list.allocated", signed=True) and size:
        raise Unreadable
    if not size:
        return "[]"

    def render() -> str:
        addresses = walk.words(walk.member(found, "list.items"), min(size, walk.limits.items + 1))
        return f"[{walk.items(walk.row(addresses))}]"

    return walk.inside(found, "[...]", "[…]", render)


def dict_(walk: Walk, found: Object) -> str:
    """A ``dict``, in its order."""
    return _dict_text(walk, found) or "{}"


def frozen_dict(walk: Walk, found: Object) -> str:
    """A ``frozendict`` (3.15+: a dict with its hash behind it)."""
    return f"{found.type.name.rpartition('.')[2]}({_dict_text(walk, found)})"


def set_(walk: Walk, found: Object) -> str:
    """A ``set`` or ``frozenset``, in its order."""
    used = walk.member(found, "set.used")
    class_name = found.type.name.rpartition(".")[2]
    if not used:
        return f"{class_name}()"
    exact = found.type.name == "set" and not found.type.heap
    start, end = ("{", "}") if exact else (f"{class_name}({{", "})")

    def render() -> str:
        return start + walk.items(map(walk.value, _set_items(walk, found, used))) + end

    return walk.inside(found, f"{class_name}(...)", f"{start}…{end}", render)


def dict_items(walk: Walk, found: Object) -> Iterator[tuple[int, int]]:
    """The addresses of the keys and values of a dict, in its order, until as many are found as it says it has.

    Raises:
        Unreadable: it is no dict, or has fewer.
        Spent
    """
    if found.type.kind not in ("dict", "frozendict"):
        raise Unreadable
    used = walk.member(found, "dict.used")
    keys = walk.member(found, "dict.keys")
    values = walk.member(found, "dict.values")
    count = 0
    if used:
        for pair in split_items(walk, keys, values) if values else _combined_items(walk, keys):
            yield pair
            count += 1
            if count == used:
                return
    if count != used:
        raise Unreadable


def split_items(walk: Walk, keys_at: int, values_at: int) -> Iterator[tuple[int, int]]:
    """The same of keys that instances of a class share, and the values (``PyDictValues``) of one of them."""
    keys = _keys(walk, keys_at)
    if "keys.log2_size" not in walk.offsets:  # to 3.10 the values are an array, in the order of the keys
        if keys.nentries > _MOST_SHARED:
            raise Unreadable
        values = walk.words(values_at, keys.nentries)
        yield from ((key, value) for (key, _), value in zip(_entries(walk, keys), values, strict=True) if value)
        return
    order = _order(walk, values_at)
    if not order:
        return
    if max(order) >= keys.nentries:
        raise Unreadable
    names = [key for key, _ in _entries(walk, keys._replace(nentries=max(order) + 1))]
    values = walk.words(values_at + walk.offsets["values.items"], len(names))
    for index in order:
        if not names[index] or not values[index]:
            raise Unreadable
        yield names[index], values[index]


def _dict_text(walk: Walk, found: Object) -> str:
    """The text in braces; ``""`` if it is empty."""
    if not walk.member(found, "dict.used"):
        return ""

    def render() -> str:
        keys = ((walk.value(key), value) for key, value in dict_items(walk, found))
        items = (f"{key}: {walk.named(key, value)}" for key, value in keys)
        return f"{{{walk.items(items)}}}"

    return walk.inside(found, "{...}", "{…}", render)


class _Keys(NamedTuple):
    """Where the entries of a PyDictKeysObject lie, how long they are, where in them the key and the value are."""

    nentries: int
    entries: int
    stride: int
    key: int
    value: int


def _keys(walk: Walk, address: int) -> _Keys:
    offsets = walk.offsets
    head = walk.read(address, offsets["keys.indices"])

    def member(meaning: str) -> int:
        at = offsets[meaning]
        return int.from_bytes(head[at : at + offsets.size(meaning)], "little")

    kind = "entry"
    if "keys.log2_size" in offsets:
        log2_size, log2_bytes = member("keys.log2_size"), member("keys.log2_index_bytes")
        if max(log2_size, log2_bytes) > 48:
            raise Unreadable
        size, index_bytes = 1 << log2_size, 1 << log2_bytes
        if member("keys.kind") != _GENERAL_KEYS:
            kind = "unicode_entry"
    else:
        size = member("keys.size")
        width = next((width for width in (1, 2, 4) if size < 1 << 8 * width), 8)
        index_bytes = size * width
    nentries = member("keys.nentries")
    if nentries > size or size >= LARGEST:
        raise Unreadable
    entries = address + offsets["keys.indices"] + index_bytes
    places = (offsets[f"{kind}.{name}"] for name in ("sizeof", "key", "value"))
    return _Keys(nentries, entries, *places)


def _combined_items(walk: Walk, keys_at: int) -> Iterator[tuple[int, int]]:
    return ((key, value) for key, value in _entries(walk, _keys(walk, keys_at)) if value)


def _entries(walk: Walk, keys: _Keys) -> Iterator[tuple[int, int]]:
    """The key and the value of every entry; a value is 0 where it was deleted, or where the keys are shared."""
    words = keys.stride // 8
    for start in range(0, keys.nentries, _CHUNK):
        count = min(_CHUNK, keys.nentries - start)
        chunk = walk.words(keys.entries + start * keys.stride, count * words)
        yield from zip(chunk[keys.key // 8 :: words], chunk[keys.value // 8 :: words], strict=True)


def _order(walk: Walk, values_at: int) -> bytes:
    """The indices of the values, in the order they were set (Include/internal/pycore_dict.h)."""
    if "values.capacity" in walk.offsets:  # 3.13+: after the values
        capacity = walk.read(values_at + walk.offsets["values.capacity"], 1)[0]
        size = walk.read(values_at + walk.offsets["values.size"], 1)[0]
        order = values_at + walk.offsets["values.items"] + 8 * capacity
        return walk.read(order, size) if size else b""
    # 3.11, 3.12: before them, from the last byte backwards: how long this prefix is, how many are set, the indices
    size, prefix = walk.read(values_at - 2, 2)
    if size + 2 > prefix:
        raise Unreadable
    return walk.read(values_at - 2 - size, size)[::-1]


def _set_items(walk: Walk, found: Object, used: int) -> Iterator[int]:
    mask = walk.member(found, "set.mask")
    fill = walk.member(found, "set.fill")
    if not used <= fill <= mask < LARGEST or mask & (mask + 1):
        raise Unreadable
    table = walk.member(found, "set.table")
    stride, key_at, hash_at = (walk.offsets[f"setentry.{name}"] // 8 for name in ("sizeof", "key", "hash"))
    count = 0
    for start in range(0, mask + 1, _CHUNK):
        size = min(_CHUNK, mask + 1 - start)
        chunk = walk.words(table + 8 * stride * start, stride * size)
        for key, hash_ in zip(chunk[key_at::stride], chunk[hash_at::stride], strict=True):
            if key and hash_ != 0xFFFF_FFFF_FFFF_FFFF:  # a hash of -1 marks what was removed
                yield key
                count += 1
                if count == used:
                    return
    raise Unreadable
