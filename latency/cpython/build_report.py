"""What a developer of pylat needs of a build that is not at hand, as JSON: ``pylat check -p PID --report FILE``.

All of it is in the interpreter's file: names, numbers, tables, and the machine code of and around the opcode handlers.
Nothing of a process's memory. With it the site finders can be run, and taught, where the build is not.
"""

from __future__ import annotations

import base64
import os
import platform
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import astuple
from typing import Any

from latency import __version__
from latency.cpython.debug_offsets import READ_BYTES
from latency.cpython.offsets import Offsets, for_build
from latency.cpython.sites import ENGINES
from latency.cpython.sites.choose import plan_for
from latency.cpython.sites.code import Code, Instruction, is_branch, is_jump, memory, slot_of, target
from latency.cpython.sites.opcodes import find_table, opcodes
from latency.cpython.watch_points import ENGINE as WATCH
from latency.cpython.watch_sites import watch_plan
from latency.errors import MalformedImage, TargetError, UnsupportedBuild, UsageError
from latency.target.build import Build
from latency.target.elf import Image

SCHEMA = "pylat-build/1"
MOST_CODE_BYTES = 4 << 20
"""Of all code in a report, before it is compressed. The whole interpreter of a usual build has a hundredth of that."""

_MOST_OF_ONE_BYTES = 1 << 20
_MOST_OF_CALLED_BYTES = 64 << 10
_MOST_COMMENT_BYTES, _MOST_MARKERS, _MOST_SEGMENTS = 4 << 10, 200, 64
_MOST_TEXT_BYTES = 128
_IN_BRACKETS = re.compile(rb"^\n?\[[^\0]*\](?=\0)")
_MOST_CALLED, _BEGINNING_BYTES = 4096, 16
_HANDLERS = "opcode handlers"
_COMPILER_WALK = 4  # instructions of Py_GetCompiler
_WALK_LIMIT = 64  # instructions on each way from a handler's start
_NO_RANGE_BYTES = 256  # of a handler that the unwinder's table does not know
_CONCERNED = ("RESUME", "RETURN", "YIELD", "TRACING")  # in the names of the opcodes whose handlers are followed
_TYPES = ("PyCode_Type", "PyGen_Type", "PyCoro_Type", "PyAsyncGen_Type")
_FUNCTIONS = (
    *("_PyEval_EvalFrameDefault", "_PyEval_FrameClearAndPop", "_PyEvalFrameClearAndPop", "PyTraceBack_Here"),
    *("_Py_CheckFunctionResult", "Py_GetVersion", "_PyOptimizer_Optimize"),
)
_DATA = ("_PyRuntime", "Py_Version", *_TYPES)


def build_report(build: Build, *, refusal: str = "") -> dict[str, Any]:
    """What is known of a build, and what was not found in it.

    Args:
        refusal: why the process is refused, as ``pylat check`` says it; ``""`` if it is not.

    Returns:
        Of JSON's types. Addresses are the file's own. ``code`` has at most ``MOST_CODE_BYTES``; ``left_out`` names what
        was more.

    Raises:
        TargetError: the file cannot be read, or is damaged.
    """
    image = build.image
    offsets, why = _offsets(build)
    found = image.symbols((*_FUNCTIONS, *_DATA))
    symbols = {name: found.get(name) for name in (*_FUNCTIONS, *_DATA)}
    table = _table(image, build.version[:2])
    types = _deallocs(image, offsets) if offsets else {}
    code = _Stretches(image)
    code.add_handlers(table[1] if table else [], opcodes(build.version[:2]) if table else {})
    code.add_functions({name: symbol.address for name, symbol in symbols.items() if symbol and name in _FUNCTIONS})
    code.add_functions({name: address for name, (_, address) in types.items()})
    code.add_functions({f"{it.provider}:{it.name}": it.address for it in build.markers if it.provider == "python"})
    code.add_called()
    return {
        "schema": SCHEMA,
        "pylat": __version__,
        "kernel": platform.release(),
        "machine": platform.machine(),
        "refusal": refusal,
        "python": build.version_text,
        "version": list(build.version),
        "build_id": build.build_id,
        "flags": sorted(build.flags),
        "file": build.file,
        "file_bytes": os.fstat(build.fd).st_size,
        "where": build.where,
        "pie": image.is_pie,
        "compilers": _compilers(image),
        "segments": [
            [it.address, it.file_size, it.offset, f"{'w' * it.writable}{'x' * it.executable}"]
            for it in image.segments[:_MOST_SEGMENTS]
        ],
        "offsets": {"refused": why} if why else {"source": offsets.source if offsets else ""},
        "debug_offsets": (_runtime(build) or b"").hex(),
        "engines": _engines(build, offsets) if offsets else {},
        "markers": [list(astuple(it)) for it in build.markers[:_MOST_MARKERS]],
        "symbols": {name: [it.address, it.size] if it else None for name, it in symbols.items()},
        "deallocs": {name: list(place) for name, place in types.items()},
        "opcode_table": {"address": table[0], "handlers": table[1]} if table else None,
        "bound": code.bound(),
        "called": code.called(),
        "code": code.encoded(),
        "left_out": code.left_out,
    }


def _offsets(build: Build) -> tuple[Offsets | None, str]:
    """(the struct offsets, why there are none)."""
    try:
        return for_build(build.version, platform.machine(), build.flags, runtime=_runtime(build)), ""
    except TargetError as error:
        return None, str(error)


def _runtime(build: Build) -> bytes | None:
    """The beginning of ``_PyRuntime`` in the file, where 3.13 and later describe themselves."""
    symbol = build.image.symbol("_PyRuntime") if build.version >= (3, 13) else None
    if symbol is None:
        return None
    segment = build.image.segment_at(symbol.address)
    size = min(READ_BYTES, segment.address + segment.file_size - symbol.address)
    return build.image.read(symbol.address, size) if size > 0 else None


def _engines(build: Build, offsets: Offsets) -> dict[str, Any]:
    """Each engine that this version has: its plan, or its refusal."""
    answers: dict[str, Any] = {}
    for engine in (*ENGINES, WATCH):
        try:
            if engine == WATCH:
                answers[engine] = {"plan": watch_plan(build.image, build.version, offsets).to_json()}
            else:
                plan = plan_for(build.image, build.version, offsets, build.markers, engine=engine)
                answers[engine] = {"plan": plan.to_json()}
        except UsageError:
            continue
        except TargetError as error:
            answers[engine] = {"refused": str(error)}
    return answers


def _table(image: Image, minor: tuple[int, int]) -> tuple[int, list[int]] | None:
    """(address, handlers) of the table of opcode handlers; None if there is not just one."""
    try:
        return find_table(image, opcodes(minor)) if minor >= (3, 11) else None
    except UnsupportedBuild:
        return None


def _deallocs(image: Image, offsets: Offsets) -> dict[str, tuple[int, int]]:
    """Type to (address of its ``tp_dealloc``, what stands there)."""
    found: dict[str, tuple[int, int]] = {}
    for name, symbol in image.symbols(_TYPES).items():
        with suppress(MalformedImage):
            place = symbol.address + offsets["type.dealloc"]
            found[name] = (place, int(image.pointers(place, 1)[0]))
    return found


def _compilers(image: Image) -> list[str]:
    """What CPython says of its compiler in ``sys.version``, and what compilers and linkers left in ``.comment``."""
    texts = [_compiled_by(image)]
    if section := image.section(".comment"):
        data = image.read_file(section.offset, min(section.size, _MOST_COMMENT_BYTES))
        texts += sorted(set(data.split(b"\0")))
    return [each.decode("ascii", "replace").strip() for each in texts if each]


def _compiled_by(image: Image) -> bytes:
    """The text whose address ``Py_GetCompiler`` returns; empty where that cannot be told."""
    symbol = image.symbol("Py_GetCompiler")
    with suppress(UnsupportedBuild, MalformedImage):
        for step in Code(image).straight(symbol.address, limit=_COMPILER_WALK) if symbol else ():
            for match in _IN_BRACKETS.finditer(_near(image, step)):
                return match[0]
    return b""


def _near(image: Image, step: Instruction) -> bytes:
    """The text at the address that an instruction puts into a register."""
    place = memory(step, 1)
    if place and place[0] == "rip":
        address = step.address + step.size + place[1]
    elif step.mnemonic == "mov" and len(step.operands) == 2 and not image.is_pie:
        address = step.operands[1].imm
    else:
        return b""
    segment = image.segment_at(address)
    return image.read(address, min(_MOST_TEXT_BYTES, segment.address + segment.file_size - address))


class _Stretches:
    """Code, each function once, up to a limit in all.

    Attributes:
        left_out: (what it is, address, bytes) of what was too large, or too much.
    """

    def __init__(self, image: Image) -> None:
        self.left_out: list[list[Any]] = []
        self._image = image
        self._code = Code(image)
        self._found: dict[tuple[int, int], str] = {}
        self._without_range: set[int] = set()
        self._starts: dict[str, int] = {}
        self._left_bytes = MOST_CODE_BYTES

    def add_handlers(self, table: Iterable[int], numbers: Mapping[str, int]) -> None:
        """The functions that hold the opcode handlers."""
        handlers = list(table)
        for address in sorted(set(handlers)):
            self._add(_HANDLERS, address, most=_MOST_OF_ONE_BYTES)
        for name, number in numbers.items():
            if any(word in name for word in _CONCERNED):
                self._starts[name] = handlers[number]

    def add_functions(self, addresses: Mapping[str, int]) -> None:
        """Functions by their names, or what holds a marker."""
        for name, address in addresses.items():
            self._add(name, address, most=_MOST_OF_ONE_BYTES)
            self._starts.setdefault(name, address)

    def add_called(self) -> None:
        """What is called or jumped to from there, and from that again; and the parts that were put elsewhere."""
        starts = list(self._starts.items())
        for _ in range(2):
            goals = {goal: name for name, start in starts for goal in self._leaves(start)}
            starts = [(f"called by {name.removeprefix('called by ')}", goal) for goal, name in goals.items()]
            for name, goal in starts:
                self._add(name, goal, most=_MOST_OF_CALLED_BYTES)
        for (start, end), name in list(self._found.items()):
            for _, goal in self._code.sweep([(start, end)]).jumps:
                self._add(f"part of {name}", goal, most=_MOST_OF_CALLED_BYTES)

    def encoded(self) -> list[dict[str, Any]]:
        """By address; the bytes as base64 of what zlib makes of them; whether it is all of a function."""
        return [
            {
                "of": name,
                "address": start,
                "bytes": end - start,
                "function": start not in self._without_range,
                "zlib": base64.b64encode(zlib.compress(self._image.read(start, end - start))).decode(),
            }
            for (start, end), name in sorted(self._found.items())
        ]

    def bound(self) -> list[list[Any]]:
        """(slot, name, address) of each slot of the global offset table by which one of these functions is called."""
        slots: set[int] = set()
        for stretch in self._found:
            for line in self._code.sweep([stretch]).lines:
                if (slot := slot_of(line)) is not None:
                    slots.add(slot)
        symbols = [(slot, self._image.bound_symbol(slot)) for slot in sorted(slots)]
        return [[slot, it.name, it.address] for slot, it in symbols if it and self._known(it.address)]

    def called(self) -> list[list[Any]]:
        """(address, its first bytes) of everything else that the opcode handlers call."""
        stretches = [stretch for stretch, name in self._found.items() if name == _HANDLERS]
        lines = (line for line in self._code.sweep(stretches).lines if line.mnemonic == "call")
        goals = {int(line.operands, 16) for line in lines if line.operands.startswith("0x")}
        return [[goal, self._beginning(goal)] for goal in sorted(goals) if not self._known(goal)][:_MOST_CALLED]

    def _beginning(self, address: int) -> str:
        with suppress(MalformedImage):
            return self._image.read(address, _BEGINNING_BYTES).hex()
        return ""

    def _known(self, address: int) -> bool:
        return any(
            start <= address < (start + 1 if start in self._without_range else end) for start, end in self._found
        )

    def _add(self, name: str, address: int, *, most: int) -> None:
        if self._known(address):
            return
        try:
            segment = self._image.segment_at(address)
        except MalformedImage:
            return
        if not segment.executable:
            return
        end_of_file = segment.address + segment.file_size
        known = self._image.code_range(address)
        start, end = known or (address, min(address + _NO_RANGE_BYTES, end_of_file))
        if not segment.address <= start <= address < end <= end_of_file:
            return
        if end - start > min(most, self._left_bytes):
            if all(place != start for _, place, _ in self.left_out):
                self.left_out.append([name, start, end - start])
            return
        if not known:
            self._without_range.add(start)
        self._left_bytes -= end - start
        self._found[start, end] = name

    def _leaves(self, start: int) -> Iterator[int]:
        """Where calls and jumps go from the first instructions of a function, on each side of its branches."""
        if not self._known(start):
            return
        ways = [start, *(goal for step in self._straight(start) if is_branch(step) and (goal := target(step)))]
        for way in ways:
            if not self._known(way):  # a part that the compiler put elsewhere
                yield way
            for step in self._straight(way):
                goal = target(step)
                if goal is not None and not is_branch(step) and not self._known(goal):
                    yield goal
                    if is_jump(step):
                        break

    def _straight(self, start: int) -> Iterator[Instruction]:
        """The instructions from there on, while they can be read."""
        with suppress(UnsupportedBuild, MalformedImage):
            yield from self._code.straight(start, limit=_WALK_LIMIT, follow=True)
