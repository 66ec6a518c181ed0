"""Everything else: an object as its class and its attributes, wherever the version keeps them.

An instance of a subclass of ``int``, ``tuple`` and so on with a ``__repr__`` of its own shows that value first.

Attributes lie in a dictionary (``tp_dictoffset``; before the object from 3.11 on), in an array of values without a
dictionary (3.11, 3.12: apart; 3.13+: behind the object), and in slots.
"""

from __future__ import annotations

from collections.abc import Iterator

from latency.cpython.values.containers import dict_items, split_items
from latency.cpython.values.memory import Unreadable
from latency.cpython.values.scalars import name
from latency.cpython.values.types import INLINE_VALUES, MANAGED_DICT, Type, c_string
from latency.cpython.values.walk import Object, Walk

_OBJECT_MEMBER = 16  # Py_T_OBJECT_EX of PyMemberDef.type (Include/descrobject.h): what a slot is
_MOST_SLOTS = 1_000
_MOST_CLASS_ATTRIBUTES = 2_000
_ENUM_TYPES = ("EnumType", "EnumMeta")  # 3.11+, before


def instance(walk: Walk, found: Object) -> str:
    """A member of an enum as ``<Color.RED: 1>``; any other object as its class, its address and its attributes."""
    if is_enum(walk, found.type):
        attributes = _named(walk, found)
        member, value = attributes.get("_name_"), attributes.get("_value_")
        # A combination of flags has no name to 3.10.
        if member and value and member not in walk.known.singletons:
            text = f"<{found.type.name}.{name(walk, member)}: "
            return walk.inside(found, text + "...>", text + "…>", lambda: f"{text}{walk.value(value)}>")
    label = f"{class_name(walk, found.type)} at {found.address:#x}"

    def render() -> str:
        inner = walk.items(_texts(walk, found), separator=" ")
        return f"<{label} {inner}>" if inner else f"<{label}>"

    return walk.inside(found, f"<{label} ...>", f"<{label} …>", render)


def class_name(walk: Walk, type_: Type) -> str:
    """``module.Qual.name``; without the module where that is ``builtins``. Raises Unreadable, Spent."""
    if not type_.heap:
        return type_.name
    module = class_module(walk, type_)
    if module in ("", "builtins"):
        return type_.name
    with walk.of_classes():
        return f"{module}.{name(walk, walk.words(type_.address + walk.offsets['heaptype.qualname'], 1)[0])}"


def class_module(walk: Walk, type_: Type) -> str:
    """A class's ``__module__``; ``""`` if it is no string. Raises Unreadable, Spent."""
    with walk.of_classes():
        for count, (key, value) in enumerate(dict_items(walk, walk.object(type_.dict))):
            if count == _MOST_CLASS_ATTRIBUTES:
                break
            if _key(walk, key) == "__module__":
                try:
                    return name(walk, value)
                except Unreadable:
                    return ""
    return ""


def is_enum(walk: Walk, type_: Type) -> bool:
    """Whether a class is an enum: its metaclass is that of the module ``enum``, or derives from it."""
    if type_.metatype == 0 or type_.metatype in walk.known.types:
        return False
    metatype: Type | None = walk.type(type_.metatype)
    while metatype is not None:
        if metatype.heap and metatype.name in _ENUM_TYPES and class_module(walk, metatype) == "enum":
            return True
        metatype = metatype.base
    return False


def attributes_of(walk: Walk, found: Object) -> Iterator[tuple[str, int]]:
    """The names of an object's own attributes, and the addresses of their values: ``__dict__`` first, then slots.

    Raises:
        Unreadable, Spent
    """
    for key, value in _dict_attributes(walk, found):
        yield _key(walk, key), value
    yield from _slots(walk, found)


def _texts(walk: Walk, found: Object) -> Iterator[str]:
    """What an object is below its class, then each of its attributes."""
    kind = found.type.kind
    if kind == "BaseException":
        yield f"args={walk.value(walk.member(found, 'exception.args'))}"
    elif kind != "object" and not found.type.inherits_repr:
        yield f"{kind.rpartition('.')[2]}={walk.inherited(found)}"
    for key, value in attributes_of(walk, found):
        yield f"{key}={walk.named(key, value)}"


def _named(walk: Walk, found: Object) -> dict[str, int]:
    return {key: value for (key, value), _ in zip(attributes_of(walk, found), range(walk.limits.items), strict=False)}


def _key(walk: Walk, address: int) -> str:
    """The name of an attribute; what is no name (``vars(it)[1] = 2``) as in ``repr``."""
    found = walk.object(address)
    return name(walk, address) if found.type.kind == "str" else walk.value(address)


def _dict_attributes(walk: Walk, found: Object) -> Iterator[tuple[int, int]]:
    type_, offsets = found.type, walk.offsets
    if type_.flags & MANAGED_DICT and "object.managed_dict" in offsets:
        values = 0
        at = walk.words(found.address + offsets["object.managed_dict"], 1)[0]
        if "values.valid" in offsets:  # 3.13+
            inline = found.address + type_.basicsize
            if type_.flags & INLINE_VALUES and walk.read(inline + offsets["values.valid"], 1)[0]:
                values = inline
        elif "object.managed_values" in offsets:  # 3.11
            values = walk.words(found.address + offsets["object.managed_values"], 1)[0]
        elif at & 1:  # 3.12
            values = at + 1
        if values:
            with walk.of_classes():
                keys = walk.words(type_.address + offsets["heaptype.cached_keys"], 1)[0]
            return split_items(walk, keys, values)
    else:
        place = _dict_place(walk, found)
        at = walk.words(place, 1)[0] if place else 0
    return dict_items(walk, walk.object(at)) if at else iter(())


def _dict_place(walk: Walk, found: Object) -> int:
    """Where the pointer to the dictionary lies; 0 if there is none (_PyObject_DictPointer in Objects/object.c)."""
    type_ = found.type
    if type_.dictoffset >= 0:
        return found.address + type_.dictoffset if type_.dictoffset else 0
    # To 3.11: counted from the end of an object that ends with its items.
    items = abs(walk.member(found, "var.size", signed=True))
    size = (type_.basicsize + items * type_.itemsize + 7) & ~7
    return found.address + size + type_.dictoffset


def _slots(walk: Walk, found: Object) -> Iterator[tuple[str, int]]:
    bases: list[Type] = []
    base: Type | None = found.type
    while base is not None:
        bases.append(base)
        base = base.base
    stride = walk.offsets["memberdef.sizeof"]
    for type_ in reversed(bases):
        if not type_.heap or not type_.members:
            continue
        if type_.member_count > _MOST_SLOTS:
            raise Unreadable
        with walk.of_classes():
            raw = walk.read(type_.members, type_.member_count * stride)
        for start in range(0, len(raw), stride):
            name_at, kind, offset = (_field(walk, raw, start, field) for field in ("name", "type", "offset"))
            if kind != _OBJECT_MEMBER or not 0 < offset < type_.basicsize:
                continue
            value = walk.words(found.address + offset, 1)[0]
            if value:  # else it was not set
                with walk.of_classes():
                    called = c_string(walk.read_some, name_at)
                yield called, value


def _field(walk: Walk, raw: bytes, start: int, field: str) -> int:
    at = start + walk.offsets[f"memberdef.{field}"]
    return int.from_bytes(raw[at : at + walk.offsets.size(f"memberdef.{field}")], "little")
