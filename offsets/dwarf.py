"""Struct layouts out of an ELF file's DWARF: of a libpython, or of an object file that was compiled for this."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from elftools.elf.elffile import ELFFile

MAX_DEPTH = 4
# Embedded heads are described by their own structs.
HEADS = frozenset({"ob_base", "_base"})


class Layout(NamedTuple):
    """One file's ``{struct: {member: (offset, size)}}`` and ``{struct: size}``, in bytes, and its enumerators."""

    fields: dict[str, dict[str, tuple[int, int]]]
    sizes: dict[str, int]
    enumerators: dict[str, int]


class Disagreement(Exception):
    """Two sources give one member two places."""


def read(path: Path, wanted: frozenset[str], *, units: frozenset[str] | None = None) -> tuple[Layout, str]:
    """The layouts of the wanted structs, and the file's build id (``""`` if it has none).

    Args:
        path: an ELF file with DWARF.
        wanted: names of typedefs or struct tags.
        units: base names of the source files to look into; None means all.

    Raises:
        Disagreement: two compilation units differ.
    """
    layout = Layout({}, {}, {})
    with path.open("rb") as file:
        elf = ELFFile(file)
        dwarf = elf.get_dwarf_info()
        for unit in dwarf.iter_CUs():
            top = unit.get_top_DIE()
            if units is None or Path(_text(top, "DW_AT_name")).name in units:
                _read_unit(top, wanted, layout)
        note = elf.get_section_by_name(".note.gnu.build-id")
        build_id = next((n["n_desc"] for n in note.iter_notes()), "") if note else ""
    return layout, build_id


def _read_unit(top: Any, wanted: frozenset[str], layout: Layout) -> None:
    for die in top.iter_children():
        if die.tag == "DW_TAG_enumeration_type":
            for child in die.iter_children():
                if (name := _text(child, "DW_AT_name")).startswith("FRAME_"):
                    _agree(layout.enumerators, name, child.attributes["DW_AT_const_value"].value)
            continue
        if die.tag not in ("DW_TAG_typedef", "DW_TAG_structure_type"):
            continue
        name = _text(die, "DW_AT_name")
        struct = _resolve(die)
        if name not in wanted or struct is None or "DW_AT_byte_size" not in struct.attributes:
            continue
        members: dict[str, tuple[int, int]] = {}
        _walk(struct, "", 0, wanted, members)
        _agree(layout.fields, name, members)
        _agree(layout.sizes, name, struct.attributes["DW_AT_byte_size"].value)


def _walk(struct: Any, prefix: str, base: int, wanted: frozenset[str], out: dict[str, tuple[int, int]]) -> None:
    for die in struct.iter_children():
        if die.tag != "DW_TAG_member" or "DW_AT_bit_size" in die.attributes:
            continue
        name = _text(die, "DW_AT_name")
        location = die.attributes.get("DW_AT_data_member_location")
        offset = base + (location.value if location else 0)
        kind = die.get_DIE_from_attribute("DW_AT_type")
        inner = _resolve(kind)
        if not name:
            if inner is not None:  # an anonymous union or struct: C lets its members be named directly
                _walk(inner, prefix, offset, wanted, out)
            continue
        if name in HEADS:
            continue
        out[prefix + name] = (offset, _size(kind))
        is_own_struct = inner is not None and not ({_text(kind, "DW_AT_name"), _text(inner, "DW_AT_name")} & wanted)
        if is_own_struct and prefix.count(".") < MAX_DEPTH:
            _walk(inner, f"{prefix}{name}.", offset, wanted, out)


def _resolve(die: Any) -> Any:
    """The struct or union behind typedefs and qualifiers, or None."""
    while die.tag in ("DW_TAG_typedef", "DW_TAG_const_type", "DW_TAG_volatile_type", "DW_TAG_atomic_type"):
        if "DW_AT_type" not in die.attributes:
            return None
        die = die.get_DIE_from_attribute("DW_AT_type")
    return die if die.tag in ("DW_TAG_structure_type", "DW_TAG_union_type") else None


def _size(die: Any) -> int:
    if "DW_AT_byte_size" in die.attributes:
        return int(die.attributes["DW_AT_byte_size"].value)
    if die.tag == "DW_TAG_pointer_type":
        return 8
    size = _size(die.get_DIE_from_attribute("DW_AT_type"))
    for child in die.iter_children() if die.tag == "DW_TAG_array_type" else ():
        bound = child.attributes.get("DW_AT_upper_bound")
        size *= bound.value + 1 if bound else 0  # 0: a flexible array member
    return size


def _text(die: Any, attribute: str) -> str:
    value = die.attributes.get(attribute)
    return value.value.decode() if value else ""


def _agree(into: dict[str, Any], name: str, value: Any) -> None:
    if into.setdefault(name, value) != value:
        raise Disagreement(f"{name}: {into[name]} in one compilation unit, {value} in another")
