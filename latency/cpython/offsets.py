"""The tables of struct offsets: load, choose, and compare with what the target says of itself.

    offsets = load((3, 12))
    offsets["frame.code"]            # 0: bytes from the start of the frame
    offsets.size("code.flags")       # 4 bytes
    offsets.get("frame.owner")       # None before 3.11

The tables (``offsets/cpython-3.12-x86_64.json``) hold CPython's own names; :mod:`latency.cpython.meanings` says what
they mean to pylat. An unknown version is refused: the newest table is never taken for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from latency import resources
from latency.cpython.debug_offsets import DebugOffsets
from latency.cpython.debug_offsets import parse as parse_debug_offsets
from latency.cpython.meanings import MEANINGS, PLACES
from latency.errors import UnsupportedBuild

# Build flags that change structs, and the letter they add to a table's name.
LAYOUT_FLAGS: Mapping[str, str] = {"debug": "d", "free-threaded": "t"}

# A table is read with suspicion: nothing in CPython is larger than this.
MAX_FILE_BYTES = 1 << 20
MAX_OFFSET = 1 << 20


class Field(NamedTuple):
    """Where a member lies in its struct, and how long it is, in bytes."""

    offset: int
    size: int


@dataclass(frozen=True)
class Offsets:
    """Where things are in the memory of one minor version of CPython.

    Attributes:
        version: ``"3.12"``.
        machine: ``"x86_64"``.
        flags: the flags that change structs (``LAYOUT_FLAGS``).
        source: where the numbers come from, for the recording: ``"table 3.12"`` or ``"debug offsets + table 3.13"``.
        structs: CPython's structs by its own names; ``Field(size, 0)`` under ``"sizeof"``.
        constants: CPython's ``FRAME_…`` enumerators.
        fields: the meanings that this version has.
    """

    version: str
    machine: str
    flags: frozenset[str]
    source: str
    structs: Mapping[str, Mapping[str, Field]] = field(repr=False)
    constants: Mapping[str, int] = field(repr=False)
    fields: Mapping[str, Field] = field(repr=False)

    def __getitem__(self, meaning: str) -> int:
        """The offset in bytes. Raises UnsupportedBuild if this version has no such thing."""
        return self._field(meaning).offset

    def __contains__(self, meaning: object) -> bool:
        return meaning in self.fields

    def get(self, meaning: str) -> int | None:
        """The offset in bytes, or None if this version has no such thing."""
        found = self.fields.get(meaning)
        return None if found is None else found.offset

    def size(self, meaning: str) -> int:
        """The member's size in bytes. Raises UnsupportedBuild if this version has no such thing."""
        return self._field(meaning).size

    @property
    def stackref_mask(self) -> int:
        """What to and a frame's ``code`` and ``localsplus`` words with to get a pointer: ``~3`` if they are tagged."""
        tagged = "f_executable.bits" in self.structs.get("_PyInterpreterFrame", {})  # 3.14+: _PyStackRef
        return 0xFFFF_FFFF_FFFF_FFFC if tagged else 0xFFFF_FFFF_FFFF_FFFF

    @property
    def free_threaded(self) -> bool:
        """Whether it is of a build without a GIL."""
        return "free-threaded" in self.flags

    @property
    def string_kind(self) -> int:
        """The bit of ``unicode.state`` at which the kind of a string begins; behind its three bits: compact, ascii.

        Before them lies ``interned``: two bits, or a byte of its own (free-threaded, from 3.14 on).
        """
        return 8 if "state.interned" in self.structs.get("PyASCIIObject", {}) else 2

    def _field(self, meaning: str) -> Field:
        try:
            return self.fields[meaning]
        except KeyError:
            raise UnsupportedBuild(f"CPython {self.version} has no {meaning!r} that pylat knows of") from None


def load(
    version: tuple[int, ...],
    machine: str = "x86_64",
    flags: frozenset[str] = frozenset(),
    *,
    directory: Path | None = None,
) -> Offsets:
    """The table of a version.

    Args:
        version: ``(3, 12)``; further numbers are ignored.
        machine: as in ``uname -m``.
        flags: of the build; those that do not change structs are ignored.
        directory: where the tables lie.

    Raises:
        UnsupportedBuild: there is no such table, or it cannot be right.
    """
    folder = _folder(directory)
    layout_flags = frozenset(flags) & LAYOUT_FLAGS.keys()
    minor = f"{version[0]}.{version[1]}"
    name = f"{minor}{_letters(layout_flags)}-{machine}"
    path = folder / f"cpython-{name}.json"
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        words = " ".join((*sorted(layout_flags), f"CPython {minor}"))
        raise UnsupportedBuild(
            f"there is no table of struct offsets for {words} on {machine}",
            "run the program on an ordinary build of that version, which pylat measures"
            if layout_flags and f"{minor}-{machine}" in known(folder)
            else f"known: {', '.join(known(folder)) or 'none'}; offsets/README.md says how to add one",
        ) from None
    except OSError as error:
        raise UnsupportedBuild(f"cannot read {path.name}: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise UnsupportedBuild(f"{path.name} is larger than {MAX_FILE_BYTES} bytes")
    try:
        table = json.loads(data)
        return _offsets(table, minor, machine, layout_flags)
    except (_Bad, ValueError, RecursionError) as error:
        raise UnsupportedBuild(f"{path.name} is not a table of struct offsets: {error}", "reinstall pylat") from None


def known(directory: Path | None = None) -> list[str]:
    """The tables there are, oldest first: ``["3.6-x86_64", …]``."""
    folder = _folder(directory)
    found = [
        (int(match[2]), match[1])
        for path in folder.glob("cpython-3.*.json")
        if (match := re.fullmatch(r"cpython-(3\.(\d{1,3})[a-z]*-\w+)\.json", path.name))
    ]
    return [name for _, name in sorted(found)]


def for_build(
    version: tuple[int, ...],
    machine: str = "x86_64",
    flags: frozenset[str] = frozenset(),
    *,
    runtime: bytes | None = None,
    directory: Path | None = None,
) -> Offsets:
    """The offsets of a build: its table, cross-checked with what the build says of itself if it does (3.13+).

    Args:
        version, machine, flags, directory: as for :func:`load`.
        runtime: the bytes at the symbol ``_PyRuntime`` (``debug_offsets.READ_BYTES`` of them are enough), from the
            file or from the process; None if they cannot be had. Ignored before 3.13.

    Raises:
        UnsupportedBuild: no table, or the two disagree.
    """
    offsets = load(version, machine, flags, directory=directory)
    layout = offsets.structs.get("_Py_DebugOffsets")
    if layout is None or runtime is None:
        return offsets
    return cross_check(offsets, parse_debug_offsets(runtime, layout))


def cross_check(offsets: Offsets, debug: DebugOffsets) -> Offsets:
    """The same offsets with both sources named, if all that both know is equal.

    Raises:
        UnsupportedBuild: another version, other flags, or the first meaning they disagree on.
    """
    said = f"{debug.version[0]}.{debug.version[1]}"
    if said != offsets.version:
        raise UnsupportedBuild(f"the target's _Py_DebugOffsets are of CPython {said}, not {offsets.version}")
    if debug.free_threaded != ("free-threaded" in offsets.flags):
        kind = "a free-threaded" if debug.free_threaded else "an ordinary"
        raise UnsupportedBuild(f"the target's _Py_DebugOffsets are of {kind} build, the table is not")
    for meaning, value in debug.values.items():
        if offsets.get(meaning) != value:
            raise UnsupportedBuild(
                f"{meaning} is at {offsets.get(meaning)} in table {offsets.version}, "
                f"at {value} in the target's _Py_DebugOffsets",
                "this build's structs are not CPython's own; offsets/README.md says how to make a table for it",
            )
    return replace(offsets, source=f"debug offsets + {offsets.source}")


def counts_references(local: int, shared: int) -> bool:
    """Whether the two reference counts of an object of a free-threaded build say that it lives: ``object.ref_local``
    and ``object.ref_shared``, of which the lowest two bits are flags."""
    return local != 0 or shared >> 2 != 0


def _folder(directory: Path | None) -> Path:
    try:
        return resources.directory("offsets") if directory is None else directory
    except FileNotFoundError as error:
        raise UnsupportedBuild(str(error), "reinstall pylat") from None


class _Bad(Exception):
    """What is wrong with a table."""


def _offsets(table: Any, minor: str, machine: str, flags: frozenset[str]) -> Offsets:
    table = _mapping(table, "the file")
    wanted = {"version": minor, "machine": machine, "flags": sorted(flags)}
    for key, value in wanted.items():
        if table.get(key) != value:
            raise _Bad(f"{key} is {str(table.get(key))[:40]!r}, not {value!r}")
    structs = {
        struct: {name: _field(name, place, struct) for name, place in _mapping(members, struct).items()}
        for struct, members in _mapping(table.get("structs"), "structs").items()
    }
    places = {name: _integer(value, name) for name, value in _mapping(table.get("places"), "places").items()}
    constants = {name: _integer(value, name) for name, value in _mapping(table.get("constants"), "constants").items()}
    fields: dict[str, Field] = {}
    for meaning, candidates in MEANINGS.items():
        for candidate in candidates:
            struct, _, member = candidate.partition(".")
            found = structs.get(struct, {}).get(member)
            if found is not None:
                fields[meaning] = found
                break
    fields.update({meaning: Field(places[name], 8) for meaning, name in PLACES.items() if name in places})
    if missing := {"frame.code", "code.name", "object.type"} - fields.keys():
        raise _Bad(f"it has no {', '.join(sorted(missing))}")
    source = f"table {minor}{_letters(flags)}"
    return Offsets(minor, machine, flags, source, structs, constants, fields)


def _letters(flags: frozenset[str]) -> str:
    return "".join(sorted(LAYOUT_FLAGS[flag] for flag in flags))


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Bad(f"{what[:80]!r} is not an object")
    return value


def _field(name: str, place: Any, struct: str) -> Field:
    what = f"{struct}.{name}"
    if name == "sizeof":
        offset, size = _integer(place, what), 0
    elif isinstance(place, list) and len(place) == 2:
        offset, size = _integer(place[0], what), _integer(place[1], what)
    else:
        raise _Bad(f"{what[:80]!r} is not [offset, size]")
    if offset < 0 or size < 0:
        raise _Bad(f"{what[:80]!r} is negative")
    return Field(offset, size)


def _integer(value: Any, what: str) -> int:
    if type(value) is not int or abs(value) > MAX_OFFSET:
        raise _Bad(f"{what[:80]!r} is not a number of bytes that can be")
    return value
