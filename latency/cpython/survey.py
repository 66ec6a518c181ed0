"""What can be probed in one interpreter, from its file alone or in a process: the markers, and pylat's own sites.

Unlike ``Target``, a survey goes on where pylat cannot measure, and says why.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from latency.cache import Cache
from latency.cpython.debug_offsets import READ_BYTES
from latency.cpython.offsets import for_build
from latency.cpython.sites import ENGINES, Site, SitePlan
from latency.cpython.sites.code import Code, emulated, text
from latency.cpython.sites.kept import kept_or_found
from latency.errors import NotCPython, TargetError, UnsupportedBuild, UsageError
from latency.target.build import Build, build_flags, identify, python_version
from latency.target.elf import Image
from latency.target.notes import Marker
from latency.target.process import Process

_INT3, _CALL, _NOP5 = b"\xcc", b"\xe8", b"\x0f\x1f\x44\x00\x00"
_LIBRARIES = ("lib", "lib64", f"lib/{platform.machine()}-linux-gnu")  # below a prefix
_SEMAPHORE_BYTES = 2  # sys/sdt.h: unsigned short


@dataclass(frozen=True)
class Spot:
    """One instruction that can be probed.

    Attributes:
        address: in the file's own addresses; ``offset`` in the file, in bytes.
        symbol: the function around it, ``"_PyEval_EvalFrameDefault+0x1f"``, say; ``""`` where symbols do not know.
        instruction: as text; ``emulated`` if the kernel need not single-step it.
        code: its bytes in the file.
        memory: its bytes in the process, now; None without a process, or where they cannot be read.
    """

    address: int
    offset: int
    symbol: str
    instruction: str
    emulated: bool
    code: bytes
    memory: bytes | None

    @property
    def state(self) -> str:
        """What stands in memory: ``"as in the file"``, ``"int3"`` or ``"call"`` (a probe), ``"changed"``, ``""``."""
        if self.memory is None:
            return ""
        if self.memory == self.code:
            return "as in the file"
        if self.memory == _INT3 + self.code[1:]:
            return "int3"
        # Linux 6.18: a probed 5-byte nop becomes a call (arch/x86/kernel/uprobes.c, arch_uprobe_optimize)
        return "call" if self.code == _NOP5 and self.memory[:1] == _CALL else "changed"


@dataclass(frozen=True)
class Survey:
    """What was found.

    Attributes:
        build: of a file that no process was given for, with a load bias of 0.
        markers: each with its place and the semaphore's value (None without a process, or without a semaphore).
        plans: the engines that work, with the sites of each and their places.
        engine: the engine that pylat takes; ``""`` if none works.
        refused: why another engine does not work, by its name; under ``"any"`` why none does.
    """

    build: Build
    markers: tuple[tuple[Marker, Spot, int | None], ...]
    plans: Mapping[str, tuple[SitePlan, tuple[tuple[Site, Spot], ...]]]
    engine: str
    refused: Mapping[str, str]


def survey_file(path: Path, *, cache: Cache | None = None) -> Survey:
    """The survey of an interpreter's executable, or of a libpython. Raises as ``build_of_file`` does."""
    return _survey(build_of_file(path), None, cache or Cache())


def survey_process(process: Process, *, cache: Cache | None = None) -> Survey:
    """The survey of the interpreter in a process, with its memory. Raises as ``identify`` does."""
    return _survey(identify(process), process, cache or Cache())


def build_of_file(path: Path) -> Build:
    """The build in an interpreter's executable, in the libpython that it needs, or in a libpython; no process need run.

    Raises:
        NotCPython: the file holds no CPython.
        UnsupportedBuild, MalformedImage: its version cannot be told, or it is damaged.
        TargetError: it cannot be read.
    """
    image = Image.open(path)
    if image.symbol("PyCode_Type") is None:
        library = _libpython(image, path)
        if library is None:
            raise NotCPython(
                f"{path} holds no CPython",
                "an executable may have it in a libpython: give that file, or a running process with -p",
            )
        path, image = library
    version, version_text = python_version(image)
    about = os.fstat(image.fd)
    markers = tuple(image.markers())
    return Build(
        version=version,
        version_text=version_text,
        file=str(path),
        build_id=image.build_id,
        bias=0,
        image=image,
        device_inode=(f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}", about.st_ino),
        flags=build_flags(image, version, markers),
        where="file",
        executable="",
        markers=markers,
    )


def _libpython(image: Image, path: Path) -> tuple[Path, Image] | None:
    """The libpython that an executable needs: where it says, or among the libraries of its own prefix. What a system's
    linker would find elsewhere may be another one."""
    names, folders = image.needed()
    real = path.resolve()
    said = [Path(re.sub(r"\$(ORIGIN\b|\{ORIGIN\})", lambda _: str(real.parent), folder)) for folder in folders]
    own = [real.parents[1] / folder for folder in _LIBRARIES] if len(real.parents) > 1 else []
    for name in (name for name in names if name.startswith("libpython") and "/" not in name):
        for folder in (*(each for each in said if each.is_absolute()), *own):
            with suppress(TargetError):
                found = Image.open(folder / name)
                if found.symbol("PyCode_Type"):
                    return folder / name, found
    return None


def _survey(build: Build, process: Process | None, cache: Cache) -> Survey:
    look = _Look(build, process)
    plans: dict[str, tuple[SitePlan, tuple[tuple[Site, Spot], ...]]] = {}
    refused: dict[str, str] = {}
    taken = ""
    try:
        offsets = for_build(build.version, platform.machine(), build.flags, runtime=look.runtime())
        taken = kept_or_found(build, offsets, engine="auto", cache=cache).engine
        for engine in sorted(ENGINES, key=lambda each: each != taken):
            try:
                plan = kept_or_found(build, offsets, engine=engine, cache=cache)
            except (UnsupportedBuild, UsageError) as error:
                refused[engine] = str(error)
            else:
                plans[engine] = (plan, tuple((site, look.spot(site.address)) for site in plan.sites))
    except UnsupportedBuild as error:
        refused["any"] = str(error)
    markers = tuple((marker, look.spot(marker.address), look.semaphore(marker)) for marker in build.markers)
    return Survey(build, markers, plans, taken, refused)


def offset_text(name: str, distance: int) -> str:
    """``"code_dealloc+0x1f"``; the name alone for its beginning."""
    return f"{name}{distance:+#x}" if distance else name


class _Look:
    """Looks at places of a build, in its file and in a process."""

    def __init__(self, build: Build, process: Process | None) -> None:
        self._build = build
        self._process = process
        self._code = Code(build.image)

    def spot(self, address: int) -> Spot:
        image = self._build.image
        instruction = self._code.at(address)
        known = image.symbol_at(address)
        memory = self._memory(address, instruction.size)
        return Spot(
            address=address,
            offset=image.offset_of(address),
            symbol=offset_text(known[0].name, known[1]) if known else "",
            instruction=text(instruction),
            emulated=emulated(instruction),
            code=bytes(instruction.bytes),
            memory=memory,
        )

    def semaphore(self, marker: Marker) -> int | None:
        """How many want this marker, now."""
        value = self._memory(marker.semaphore, _SEMAPHORE_BYTES) if marker.semaphore else None
        return None if value is None else int.from_bytes(value, "little")

    def runtime(self) -> bytes | None:
        """The beginning of ``_PyRuntime``, where 3.13 and later describe themselves; None before."""
        image = self._build.image
        symbol = image.symbol("_PyRuntime") if self._build.version >= (3, 13) else None
        if symbol is None:
            return None
        segment = image.segment_at(symbol.address)
        size = min(READ_BYTES, segment.address + segment.file_size - symbol.address)
        return self._memory(symbol.address, size) or image.read(symbol.address, size)

    def _memory(self, address: int, size: int) -> bytes | None:
        if self._process is None:
            return None
        try:
            return self._process.read(address + self._build.bias, size)
        except TargetError:
            return None
