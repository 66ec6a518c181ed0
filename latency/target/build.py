"""``Build``: which CPython a process runs, from which file, with which flags.

Everything is read from the mapped file itself. It is never executed, and its name proves nothing.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from latency.errors import MalformedImage, NotCPython, TargetError, UnsupportedBuild
from latency.target.elf import Image
from latency.target.maps import Mapping
from latency.target.notes import Marker
from latency.target.process import Process

Version = tuple[int, int, int]

# Public since Python 1.x and defined by nobody else: PyPy and GraalPy rename or lack them.
_PROOF = ("PyCode_Type", "Py_GetVersion")

_OTHER_PYTHONS = {
    "pypy": "PyPy",
    "graalpy": "GraalPy",
    "libpythonvm": "GraalPy",
    "micropython": "MicroPython",
}
_OTHER_SYMBOLS = {"pypy_main_startup": "PyPy", "rpython_startup_code": "PyPy", "mp_obj_print_helper": "MicroPython"}

_VERSION_TEXT = re.compile(rb"(\d{1,2})\.(\d{1,3})\.(\d{1,3})((?:a|b|rc)\d{1,2})?(\+)?")
_VERSION_TEXT_LIMIT_BYTES = 24
_LEVELS = {0xA: "a", 0xB: "b", 0xC: "rc", 0xF: ""}  # patchlevel.h: PY_RELEASE_LEVEL_*
_DELETED = " (deleted)"
_CODE_LIMIT_BYTES = 1024
# How x86-64 compilers put the address of a string into a register: LEA r64, [RIP + disp32] in
# position-independent code, MOV r32, imm32 elsewhere. Lookahead, since any byte may begin one.
_LEA = re.compile(rb"(?=[\x48\x4c]\x8d[\x05\x0d\x15\x1d\x25\x2d\x35\x3d](.{4}))", re.DOTALL)
_LEA_BYTES = 7
_MOV = re.compile(rb"(?=[\xb8-\xbf](.{4}))", re.DOTALL)


@dataclass(frozen=True)
class Build:
    """The CPython that a process runs.

    Attributes:
        version: (major, minor, micro).
        version_text: as ``sys.version`` begins, ``"3.15.0rc1"`` say.
        file: the path of the interpreter's file as the target sees it; for display only.
        build_id: the file's GNU build id, ``""`` if it has none.
        bias: what the process added to the file's addresses.
        image: the file. Its ``fd`` stays open: ``/proc/self/fd/N`` is the very inode that is mapped.
        device_inode: the file as ``/proc/PID/maps`` names it: ``("08:01", 1234)``.
        flags: ``"free-threaded"``; ``"debug"`` (Py_DEBUG, Py_REF_DEBUG or Py_TRACE_REFS, which move
            struct members); ``"jit-capable"`` (has tier 2 executors, which bypass the opcode
            handlers); ``"dtrace"`` (has USDT markers).
        where: ``"executable"``, or ``"libpython"`` for any shared object.
        executable: what the process executes; the same as ``file`` or not.
        markers: the USDT markers of the file, all sites, unrelocated.
        program: the executable, if it is another file.
        program_bias: what the process added to that file's addresses.
    """

    version: Version
    version_text: str
    file: str
    build_id: str
    bias: int
    image: Image
    device_inode: tuple[str, int]
    flags: frozenset[str]
    where: str
    executable: str
    markers: tuple[Marker, ...]
    program: Image | None = None
    program_bias: int = 0
    implementation: str = "cpython"

    @property
    def fd(self) -> int:
        """A descriptor of the very file that is mapped."""
        return self.image.fd

    def address(self, symbol: str) -> int:
        """The run-time address of a symbol. Raises UnsupportedBuild if the build has it not."""
        # A program that embeds libpython and names one of its variables holds a copy of that
        # variable (R_X86_64_COPY), and everybody, libpython too, is bound to the copy.
        copy = self.program.exported_symbol(symbol) if self.program else None
        if copy and copy.kind == "object":
            return copy.address + self.program_bias
        found = self.image.symbol(symbol)
        if found is None:
            raise UnsupportedBuild(
                f"the CPython {self.version_text} in {self.file} has no symbol {symbol}",
                "it was stripped of more than strip removes; use the distribution's build",
            )
        return found.address + self.bias


def identify(process: Process) -> Build:
    """The CPython that ``process`` runs.

    The executable is asked first, for a symbol that it defines is the one that everything in the
    process is bound to; then files named libpython, then all other mapped code.

    Raises:
        NotCPython: there is none.
        UnsupportedBuild: there are two, or one whose version cannot be proven.
        TargetGone, NoPrivilege, TargetError: the process or its files cannot be read.
    """
    files: dict[tuple[str, int], list[Mapping]] = {}
    for mapping in process.maps():
        if mapping.inode and mapping.path.startswith("/"):
            files.setdefault(mapping.device_inode, []).append(mapping)
    code = [mappings for mappings in files.values() if any(mapping.executable for mapping in mappings)]
    executable = process.executable
    other = ""
    tiers = _tiers(code, executable.removesuffix(_DELETED))
    for tier in tiers:
        found: list[tuple[Image, list[Mapping]]] = []
        for mappings in tier:
            image, hint = _look(process, mappings)
            other = other or hint
            if image is not None:
                found.append((image, mappings))
        if len(found) > 1:
            names = ", ".join(mappings[0].path for _, mappings in found)
            raise UnsupportedBuild(f"process {process.pid} has {len(found)} CPythons: {names}", "pylat measures one")
        if found:
            program = [] if tier is tiers[0] else [_open(process, mappings, process.entry) for mappings in tiers[0]]
            process.check()
            entry = process.entry if tier is tiers[0] else 0
            return _describe(*found[0], executable=executable, program=program, entry=entry)
    other = other or _named_other_python([executable, *(mappings[0].path for mappings in code)])
    for mappings in tiers[0] if not other else ():
        os.close(process.open_mapped_file(mappings[0]))  # what was replaced and cannot be reached may well be one
    raise NotCPython(
        f"PID {process.pid} ({process.comm}) is {other or 'not a CPython process'}",
        "pylat measures CPython only; give the PID of a CPython process",
    )


class SeenFiles:
    """Files that have been seen to be no CPython's: of a program that opens one file after the other."""

    def __init__(self) -> None:
        self._known: set[tuple[str, int]] = set()

    def is_python_among(self, process: Process) -> bool:
        """Whether a file that the process has mapped may be CPython's. Raises TargetGone, NoPrivilege."""
        for mapping in process.maps():
            file = mapping.device_inode
            if mapping.executable and mapping.inode and file not in self._known:
                image, _ = _look(process, [mapping])
                if image is not None:
                    return True
                self._known.add(file)
        return False


def _describe(
    image: Image, mappings: list[Mapping], *, executable: str, program: list[tuple[Image, int]], entry: int
) -> Build:
    version, text = python_version(image)
    markers = tuple(image.markers())
    program_image, program_bias = program[0] if program else (None, 0)
    return Build(
        version=version,
        version_text=text,
        file=mappings[0].path,
        build_id=image.build_id,
        bias=image.load_bias(mappings, entry=entry),
        image=image,
        device_inode=mappings[0].device_inode,
        flags=build_flags(image, version, markers),
        where="libpython" if program else "executable",
        executable=executable,
        markers=markers,
        program=program_image,
        program_bias=program_bias,
    )


def python_version(image: Image) -> tuple[Version, str]:
    """((major, minor, micro), the text of it), from the file alone.

    From 3.11 on ``Py_Version`` holds PY_VERSION_HEX (Python/pylifecycle.c). Before, the text is
    the one string among the operands of ``Py_GetVersion`` that reads as a version
    (Python/getversion.c formats PY_VERSION). To search for such a string in all read-only data
    would not do: the linker may store it as the tail of another one, and zlib's and the unicode
    database's versions look the same.

    Raises:
        UnsupportedBuild: neither proves a version.
    """
    if symbol := image.symbol("Py_Version"):
        return _from_hex(int.from_bytes(image.read(symbol.address, 8), "little"))
    texts = set(_version_operands(image))
    if len(texts) != 1:
        listed = ", ".join(sorted(texts)) or "none"
        raise UnsupportedBuild(
            f"cannot tell the version of the CPython in {image.name} (found: {listed})",
            "pylat needs Py_Version or a plain Py_GetVersion in it",
        )
    text = texts.pop()
    major, minor, micro = (int(re.match(r"\d+", part)[0]) for part in text.split("."))  # type: ignore[index]
    return (major, minor, micro), text


def _from_hex(number: int) -> tuple[Version, str]:
    major, minor, micro, level, serial = (
        number >> 24,
        number >> 16 & 255,
        number >> 8 & 255,
        number >> 4 & 15,
        number & 15,
    )
    if major > 99 or level not in _LEVELS:
        raise UnsupportedBuild(f"{number:#x} is not a Python version", "the file is damaged, or made to mislead")
    suffix = f"{_LEVELS[level]}{serial}" if _LEVELS[level] else ""
    return (major, minor, micro), f"{major}.{minor}.{micro}{suffix}"


def _version_operands(image: Image) -> Iterator[str]:
    function = image.symbol("Py_GetVersion")
    if function is None:
        return
    code = image.read(function.address, min(function.size, _CODE_LIMIT_BYTES))
    for match in _LEA.finditer(code):
        after = function.address + match.start() + _LEA_BYTES
        yield from _version_at(image, after + struct.unpack("<i", match[1])[0])
    if not image.is_pie:
        for match in _MOV.finditer(code):
            yield from _version_at(image, struct.unpack("<I", match[1])[0])


def _version_at(image: Image, address: int) -> Iterator[str]:
    try:
        segment = image.segment_at(address)
        left = segment.address + segment.file_size - address
        text, end, _ = image.read(address, min(left, _VERSION_TEXT_LIMIT_BYTES)).partition(b"\0")
    except MalformedImage:  # an operand that is no address, or points to .bss
        return
    if end and _VERSION_TEXT.fullmatch(text):
        yield text.decode()


def build_flags(image: Image, version: Version, markers: Iterable[Marker]) -> frozenset[str]:
    """How a CPython was configured, from its file alone: see ``Build.flags``."""
    flags = set()
    if _is_free_threaded(image, version):
        flags.add("free-threaded")
    # Include/object.h: declared for Py_REF_DEBUG only, which Py_DEBUG and Py_TRACE_REFS imply.
    if image.symbol("_Py_NegativeRefcount"):
        flags.add("debug")
    # Python/optimizer.c: compiled for _Py_TIER2 only, that is for the JIT or its interpreter.
    if image.symbol("_PyOptimizer_Optimize"):
        flags.add("jit-capable")
    if any(marker.provider == "python" for marker in markers):
        flags.add("dtrace")
    return frozenset(flags)


def _is_free_threaded(image: Image, version: Version) -> bool:
    runtime = image.symbol("_PyRuntime")
    if version < (3, 13, 0) or runtime is None:
        return False
    # struct _Py_DebugOffsets, 3.13 to 3.15: cookie[8], uint64 version, uint64 free_threaded
    cookie, _, free_threaded = struct.unpack("<8sQQ", image.read(runtime.address, 24))
    if cookie == b"xdebugpy":
        return bool(free_threaded)
    # Include/refcount.h: declared for Py_GIL_DISABLED only.
    return image.symbol("_Py_MergeZeroLocalRefcount") is not None


def _tiers(code: Iterable[list[Mapping]], executable: str) -> list[list[list[Mapping]]]:
    tiers: list[list[list[Mapping]]] = [[], [], []]
    for mappings in code:
        if mappings[0].path == executable:
            tiers[0].append(mappings)
        elif _file_name(mappings).startswith("libpython"):
            tiers[1].append(mappings)
        else:
            tiers[2].append(mappings)
    return tiers


def _open(process: Process, mappings: list[Mapping], entry: int) -> tuple[Image, int]:
    """(the image that is mapped, its load bias)."""
    image = Image(process.open_mapped_file(mappings[0]), name=mappings[0].path)
    return image, image.load_bias(mappings, entry=entry)


def _look(process: Process, mappings: list[Mapping]) -> tuple[Image | None, str]:
    """(the image if it is CPython's, what else it is if that can be told)."""
    image = None
    try:
        image = Image(process.open_mapped_file(mappings[0]), name=mappings[0].path)
        if len(image.symbols(_PROOF)) == len(_PROOF):
            return image, ""
        return None, _other_python(image)
    except TargetError:
        # Of a stranger's file nothing is wanted; what calls itself libpython had better be right.
        if _file_name(mappings).startswith("libpython"):
            raise
        process.check()
        return None, ""


def _file_name(mappings: list[Mapping]) -> str:
    return mappings[0].path.rpartition("/")[2]


def _other_python(image: Image) -> str:
    return next((name for symbol, name in _OTHER_SYMBOLS.items() if image.symbol(symbol)), "")


def _named_other_python(paths: Iterable[str]) -> str:
    for path in paths:
        for part, name in _OTHER_PYTHONS.items():
            if part in path.rpartition("/")[2].lower():
                return name
    return ""
