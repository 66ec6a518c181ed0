#!/usr/bin/env python3
"""Writes and checks the tables of struct offsets: ``generate.py [--check] [--lab DIR]… [VERSION…]``.

Every CPython found is asked in every way it offers: the DWARF of its libpython, its headers through a compiler's
``offsetof``, the ``_Py_DebugOffsets`` inside its binary, and its own memory through ctypes while it runs.
All answers of one minor version must agree, or no table is written for it. See README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from offsets import builds, dwarf, headers  # noqa: E402
from offsets.structs import SIZELESS, STRUCTS, UNITS  # noqa: E402

Table = dict[str, Any]
WANTED = frozenset(STRUCTS)


class Merge:
    """What the sources of one version said so far."""

    def __init__(self) -> None:
        self.structs: dict[str, dict[str, Any]] = {}
        self.constants: dict[str, int] = {}
        self.places: dict[str, int] = {}
        self.sources: list[dict[str, Any]] = []
        self.told: dict[str, list[str]] = {}  # who told each member

    def layout(self, kind: str, build: str, build_id: str, layout: dwarf.Layout, places: dict[str, int]) -> None:
        """Adds what one source says of structs. Raises Disagreement."""
        source = f"{kind} of {build}"
        for struct, members in layout.fields.items():
            kept: dict[str, Any] = {name: list(place) for name, place in members.items() if _is_wanted(struct, name)}
            if struct not in SIZELESS:
                kept["sizeof"] = layout.sizes[struct]
            known = self.structs.setdefault(struct, kept)
            if known.keys() != kept.keys():
                names = ", ".join(sorted(known.keys() ^ kept.keys()))
                raise dwarf.Disagreement(f"{struct}: {source} and an earlier source do not both have {names}")
            for name, place in kept.items():
                self._agree(known, name, place, f"{struct}.{name}", source)
        for name, value in layout.enumerators.items():
            self._agree(self.constants, name, value, name, source)
        for name, value in places.items():
            self._agree(self.places, name, value, name, source)
        self.sources.append({"kind": kind, "build": build, "build_id": build_id})

    def confirm(self, source: dict[str, Any], members: list[str]) -> None:
        """Adds a source that found these members as the table has them."""
        self.sources.append({**source, "members": len(members)})
        for member in members:
            self.told.setdefault(member, []).append(source["build"])

    def table(self, version: str) -> Table:
        """The table of what is agreed so far; ``version``: ``"3.13"``, ``"3.13t"``."""
        order = [name for name in STRUCTS if name in self.structs]
        lonely = {
            struct: alone
            for struct in order
            if (alone := [name for name in self.structs[struct] if len(self.told.get(f"{struct}.{name}", [])) < 2])
        }
        return {
            "version": version.rstrip("t"),
            "machine": "x86_64",
            "flags": ["free-threaded"] if version.endswith("t") else [],
            "sources": self.sources,
            "single_source": lonely,
            "constants": dict(sorted(self.constants.items())),
            "places": self.places,
            "structs": {name: dict(sorted(self.structs[name].items(), key=_place)) for name in order},
        }

    def _agree(self, into: dict[str, Any], name: str, value: Any, what: str, source: str) -> None:
        who = self.told.setdefault(what, [])
        if into.setdefault(name, value) != value:
            raise dwarf.Disagreement(f"{what}: {into[name]} by {who[0]}, {value} by {source}")
        who.append(source)


def make(version: str, found: list[builds.Build]) -> Table:
    """The table of one minor version from all its builds.

    Raises:
        Disagreement: two sources differ, or there is only one.
        CompilerError: a build's headers do not compile.
        Refuted: a build's binary or memory contradicts what its structs say.
    """
    merge = Merge()
    for build in found:
        if build.has_dwarf:
            layout, build_id = dwarf.read(build.binary, WANTED, units=UNITS)
            merge.layout("dwarf", build.label, build_id, layout, {})
    for build in found:
        if build.include:
            layout, places = headers.read(build.include, WANTED)
            merge.layout("offsetof", build.label, "", layout, places)
    if not merge.sources:
        raise dwarf.Disagreement("neither DWARF nor headers were found")
    table = merge.table(version)
    for build in found:
        for source, members in builds.confirm(build, table):
            merge.confirm(source, members)
    if len(merge.sources) < 2:
        raise dwarf.Disagreement("only one source was found: a table needs two that agree")
    return merge.table(version)


def render(table: Table) -> str:
    """The table as text: one member per line, so that a change of layout reads well in a diff."""
    groups = []
    for key, value in table.items():
        if key == "structs":
            value = ",\n".join(f"  {json.dumps(name)}: {_lines(members, 3)}" for name, members in value.items())
            groups.append(f' "structs": {{\n{value}\n }}')
        elif isinstance(value, dict):
            groups.append(f" {json.dumps(key)}: {_lines(value, 2)}")
        elif key == "sources":
            lines = ",\n".join(f"  {json.dumps(source)}" for source in value)
            groups.append(f' "sources": [\n{lines}\n ]')
        else:
            groups.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(groups) + "\n}\n"


def _lines(members: dict[str, Any], indent: int) -> str:
    if not members:
        return "{}"
    lines = ",\n".join(f"{' ' * indent}{json.dumps(name)}: {json.dumps(value)}" for name, value in members.items())
    return f"{{\n{lines}\n{' ' * (indent - 1)}}}"


def main(arguments: list[str] | None = None) -> int:
    """The command; 0 when every table was written, or agreed with what is there."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a table would change")
    parser.add_argument("--lab", type=Path, action="append", default=[], metavar="DIR", help="unpacked roots")
    parser.add_argument("--pyenv", type=Path, default=Path.home() / ".pyenv/versions", metavar="DIR")
    parser.add_argument(
        "versions", nargs="*", metavar="VERSION", help="3.12 or 3.13t, say; all that are found by default"
    )
    options = parser.parse_args(arguments)
    found = builds.find(options.pyenv, [Path("/"), *(root for lab in options.lab for root in sorted(lab.iterdir()))])
    failed = [version for version in options.versions if version not in found]
    for version in failed:
        print(f"{version}: no build was found", file=sys.stderr)
    for version in options.versions or found:
        if version in failed:
            continue
        path = HERE / f"cpython-{version}-x86_64.json"
        try:
            table = make(version, found[version])
        except (dwarf.Disagreement, headers.CompilerError, builds.Refuted) as error:
            print(f"{version}: {error}", file=sys.stderr)
            failed.append(version)
            continue
        sources = ", ".join(f"{source['kind']} of {source['build']}" for source in table["sources"])
        lonely = sum(map(len, table["single_source"].values()))
        print(f"{version}: {sources}; {lonely} members by one source only")
        if not options.check:
            path.write_text(render(table))
        elif not path.exists() or _without_sources(json.loads(path.read_text())) != _without_sources(table):
            print(f"{version}: {path.name} is not what the builds say", file=sys.stderr)
            failed.append(version)
    return 1 if failed else 0


def _is_wanted(struct: str, member: str) -> bool:
    names = STRUCTS[struct]
    return names is None or any(member == name or member.startswith(f"{name}.") for name in names)


def _place(item: tuple[str, Any]) -> tuple[int, int]:
    name, place = item
    return (-1, 0) if name == "sizeof" else (place[0], -place[1])  # an outer member before its inner ones


def _without_sources(table: Table) -> Table:
    # Another machine has other builds at hand; what they say must be the same.
    return {key: value for key, value in table.items() if key not in ("sources", "single_source")}


if __name__ == "__main__":
    sys.exit(main())
