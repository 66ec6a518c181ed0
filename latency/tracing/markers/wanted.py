"""Which markers are asked for, and where they are in a process: from words to the sites that are probed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np

from latency.errors import NoFunctionMatches, UnsupportedBuild, UsageError
from latency.target.arguments import Argument, argument
from latency.target.build import Build
from latency.target.markers import MarkedFile, MarkerName, marker_names
from latency.tracing.counted.parameters import REGISTERS_AT
from latency.tracing.counted.wire import NO_SLOT
from latency.tracing.markers import wire

DONE, START, COUNT = "pylat_marker_done", "pylat_marker_start", "pylat_marker_count"
ROLES = (DONE, START, COUNT)
"""The BPF functions, in the order in which they are attached."""

_KEY = re.compile(r"arg(\d{1,2})(?:,arg(\d{1,2}))?")
_SHOWN = 6


@dataclass(frozen=True)
class Role:
    """One marker in its role.

    Attributes:
        function: of the BPF program, one of ``ROLES``.
        arguments: which argument serves as what: ``{"name": 0}``; see ``struct pylat_marker_point``.
    """

    function: str
    marker: MarkerName
    arguments: dict[str, int]


@dataclass(frozen=True)
class Wanted:
    """One thing that was asked for.

    Attributes:
        what: ``"gc"``, ``"imports"``, ``"audit"``, ``"lines"``, or for a pair or marker of the user's own ``""``.
        roles: its markers, in the order of ``ROLES``.
        flags: of its points.
    """

    text: str
    what: str
    roles: tuple[Role, ...]
    flags: int = 0

    @property
    def timed(self) -> bool:
        """A pair, which has latencies; else a single marker, which is counted."""
        return len(self.roles) > 1

    @property
    def label(self) -> str:
        """As reports call it: ``"myapp:start,myapp:done"``."""
        return ",".join(str(role.marker) for role in sorted(self.roles, key=lambda each: each.function == DONE))

    @property
    def by_name(self) -> bool:
        """Whether what it counts is told apart by an argument."""
        return any({"name", "number"} & role.arguments.keys() for role in self.roles)


def _python(function: str, marker: str, /, **arguments: int) -> Role:
    return Role(function, MarkerName("python", marker), arguments)


_BUILT_IN = {
    "gc": ((_python(DONE, "gc__done", amount=0), _python(START, "gc__start", number=0)), 0),
    "imports": (
        (
            _python(DONE, "import__find__load__done", amount=1),
            _python(START, "import__find__load__start", name=0),
        ),
        wire.OWN | wire.OUTCOME,
    ),
    "audit": ((_python(COUNT, "audit", name=0),), 0),
    "lines": ((_python(COUNT, "line", name=0, number=2),), 0),
}


def parse(texts: Iterable[str]) -> list[Wanted]:
    """What ``Options.markers`` asks for: ``"gc"``, ``"a:start,a:done key=arg0"``, ``"a:event"``, ….

    Raises:
        UsageError: a text is wrong, or there are too many.
    """
    found = [_parsed(text) for text in dict.fromkeys(texts)]
    if len(found) > wire.ITEMS:
        raise UsageError(f"{len(found)} markers and pairs are too many", f"give at most {wire.ITEMS}")
    return found


def _parsed(text: str) -> Wanted:
    if text in _BUILT_IN:
        roles, flags = _BUILT_IN[text]
        return Wanted(text, text, roles, flags)
    spelled, _, key = text.partition(" key=")
    markers = [MarkerName.parse(each) for each in spelled.split(",")]
    if len(markers) > 2:
        raise UsageError(f"{spelled!r} names {len(markers)} markers", "a pair has two: START,DONE")
    if len(markers) == 1:
        if key:
            raise UsageError(f"a key matches the two markers of a pair, and {spelled!r} is one", "give START,DONE")
        return Wanted(text, "", (Role(COUNT, markers[0], {}),))
    if markers[0] == markers[1]:
        raise UsageError(f"{spelled!r} begins and ends with the same marker", "give START,DONE")
    of_start, of_done = _key_arguments(key) if key else ({}, {})
    return Wanted(
        text, "", (Role(DONE, markers[1], of_done), Role(START, markers[0], of_start)), wire.KEYED if key else 0
    )


def _key_arguments(key: str) -> tuple[dict[str, int], dict[str, int]]:
    match = _KEY.fullmatch(key)
    if match is None:
        raise UsageError(f"{key!r} is no argument of a marker", "give --key arg0, or arg0,arg1 where the two differ")
    start = int(match[1])
    return {"key": start}, {"key": int(match[2]) if match[2] else start}


@dataclass(frozen=True)
class Point:
    """One place to be probed in one role; ``record`` is its ``markers_wire.POINT``."""

    function: str
    marker: str
    file: MarkedFile
    offset: int
    semaphore: int
    record: np.ndarray[Any, Any]


def points(wanted: Sequence[Wanted], files: Sequence[MarkedFile], build: Build, pid: int) -> list[Point]:
    """Every site of every marker that is asked for, in the process of this PID, which has these files.

    Raises:
        UnsupportedBuild: the interpreter was built without markers; or an argument is at a place that is not known.
        NoFunctionMatches: no file has a marker of that name.
    """
    found = []
    for item, each in enumerate(wanted):
        for role in each.roles:
            places = [(file, site) for file in _files_for(each, files, build) for site in file.sites(role.marker)]
            if not places:
                raise _missing(each, role, files, build, pid)
            for file, site in places:
                offset = file.image.offset_of(site.address)
                record = _record(item, each, role, site.arguments)
                found.append(Point(role.function, str(role.marker), file, offset, site.semaphore_offset, record))
    return found


def _files_for(wanted: Wanted, files: Sequence[MarkedFile], build: Build) -> Sequence[MarkedFile]:
    """Those of the interpreter are meant where the meaning of a marker is known."""
    return [file for file in files if file.device_inode == build.device_inode] if wanted.what else files


def _record(item: int, wanted: Wanted, role: Role, arguments: str) -> np.ndarray[Any, Any]:
    record = np.zeros(1, wire.POINT)
    record["item"], record["flags"] = item, wanted.flags
    record["slot"] = NO_SLOT if wanted.by_name else item
    for name in ("name", "number", "key", "amount"):
        record[name]["base"] = record[name]["index"] = wire.NO_REGISTER
    for name, number in role.arguments.items():
        record[name] = _place(argument(arguments, number))
    return record


def _place(of: Argument) -> tuple[Any, ...]:
    flags = wire.PRESENT | (wire.SIGNED if of.signed else 0) | (wire.MEMORY if of.memory else 0)
    base, index = (REGISTERS_AT[name] if name else wire.NO_REGISTER for name in (of.base, of.index))
    return of.value, flags, of.size, of.shift, base, index, of.scale, (0, 0)


def _missing(wanted: Wanted, role: Role, files: Sequence[MarkedFile], build: Build, pid: int) -> Exception:
    if wanted.what:
        if "dtrace" not in build.flags:
            return UnsupportedBuild(
                f"the CPython {build.version_text} in {build.file} was built without USDT markers, so --{wanted.what} "
                "sees nothing",
                "it needs a build --with-dtrace, as those of Debian, Ubuntu and Fedora are",
            )
        return UnsupportedBuild(
            f"the CPython {build.version_text} in {build.file} has no marker {role.marker}, so --{wanted.what} sees "
            "nothing",
            "pylat probes -p PID lists the markers that it has",
        )
    there = marker_names(files)
    where = f" in a file {role.marker.path!r}" if role.marker.path else ""
    near = get_close_matches(str(role.marker), there, _SHOWN, 0.5) or there[:_SHOWN]
    more = ", …" if len(there) > len(near) else ""
    hint = f"it has {', '.join(near)}{more}" if there else "none of the files that it has mapped has any"
    return NoFunctionMatches(f"process {pid} has no marker {role.marker}{where}", hint)
