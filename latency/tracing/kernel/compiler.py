"""bcc as a compiler, in a process of its own: C source and flags in, BPF instructions and map shapes out.

The only file that imports bcc, and only when it runs; differences between bcc versions live here alone. The process
ends before anything is attached, so LLVM's 100 MB are not held while pylat measures, and what the compiler prints is
caught. bcc's own maps end with it: ``program.py`` makes the real ones.

As a program (``python -m latency.tracing.kernel.compiler``) it reads a request from standard input, writes the object
to standard output as JSON, and prints what went wrong to standard error.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latency import __version__, resources
from latency.cache import Cache, key_of
from latency.errors import CompileError, MissingBcc, NoPrivilege
from latency.tracing.kernel.sources import whole

SOURCE = "pylat.bpf.c"
_NO_BCC, _FAILED = 3, 4  # exit statuses
_INSTRUCTION = struct.Struct("<BBhi")  # struct bpf_insn: code, dst:4 src:4, off, imm
_LD_IMM64, _PSEUDO_MAP_FD = 0x18, 1


@dataclass(frozen=True)
class MapShape:
    """One map, as the source declares it. Sizes in bytes; the program's maps may hold more than ``max_entries``."""

    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


@dataclass(frozen=True)
class Object:
    """What the compiler made.

    Attributes:
        maps: in the order of their numbers.
        programs: BPF instructions by function name; where they name a map, its number stands in place of a descriptor.
    """

    maps: tuple[MapShape, ...]
    programs: dict[str, bytes]

    def to_json(self) -> dict[str, Any]:
        """For a file or a pipe."""
        code = {name: base64.b64encode(each).decode() for name, each in self.programs.items()}
        return {"maps": [asdict(shape) for shape in self.maps], "programs": code}

    @classmethod
    def from_json(cls, value: Any) -> Object:
        """The inverse of ``to_json``. Raises ValueError, TypeError or KeyError on anything else."""
        programs = {str(name): base64.b64decode(each, validate=True) for name, each in value["programs"].items()}
        return cls(tuple(MapShape(**shape) for shape in value["maps"]), programs)

    def instructions(self, name: str, descriptors: Sequence[int]) -> bytes:
        """A program's instructions with the descriptors of its maps, by their numbers."""
        return _replace_maps(self.programs[name], dict(enumerate(descriptors)))


def import_bcc() -> Any:
    """The distribution's bcc module.

    Raises:
        MissingBcc: it is not there, or it is the unrelated package of that name.
    """
    try:
        import bcc
    except ImportError as error:
        raise MissingBcc(
            "the Python module bcc is missing" if isinstance(error, ModuleNotFoundError) else f"bcc: {error}",
            "install the distribution's python3-bpfcc (bcc on the package index is unrelated), and make pylat's "
            "environment of the system's Python, with --system-site-packages",
        ) from None
    if not hasattr(bcc, "BPF"):
        raise MissingBcc(
            "the Python module bcc is an unrelated package of the same name",
            "pip uninstall bcc; then install the distribution's python3-bpfcc",
        )
    return bcc


def kept_or_compiled(flags: Sequence[str], programs: Sequence[str], cache: Cache, *, source: str = SOURCE) -> Object:
    """What an earlier run compiled from the same sources with the same flags and bcc; else ``compiled``, and kept."""
    folder = resources.directory("bpf")
    key = _key(folder, source, flags, programs)
    with suppress(ValueError, TypeError, KeyError):
        return Object.from_json(cache.get(key))
    made = compiled(flags, programs, folder=folder, source=source)
    cache.put(key, made.to_json())
    return made


def _key(folder: Path, source: str, flags: Sequence[str], programs: Sequence[str]) -> str:
    """Another one for each change of any file of the folder, the kernel's headers included."""
    texts = [each.read_bytes() for each in sorted(folder.rglob("*.[ch]"))]
    return key_of([__version__, _compiler_version(), source, *flags, "programs", *programs, "sources", *texts])


def _compiler_version() -> str:
    """Changes whenever another bcc is installed; bcc itself is not imported."""
    found = importlib.util.find_spec("bcc")
    if found is None or found.origin is None:
        return ""
    return f"{found.origin} {os.stat(found.origin).st_mtime_ns}"


def compiled(
    flags: Sequence[str], programs: Sequence[str], *, folder: Path | None = None, source: str = SOURCE
) -> Object:
    """Compile ``bpf/pylat.bpf.c``, or another file there.

    Args:
        flags: from ``parameters.cflags``.
        programs: the BPF functions that are wanted.
        folder: where the sources lie.
        source: the file's name.

    Raises:
        MissingBcc, CompileError, NoPrivilege
    """
    folder = folder or resources.directory("bpf")
    request = {"source": str(folder / source), "flags": list(flags), "programs": list(programs)}
    child = subprocess.run(
        [sys.executable, "-m", __name__], input=json.dumps(request), capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    if child.returncode == 0:
        return Object.from_json(json.loads(child.stdout))
    if child.returncode == _NO_BCC:
        what, _, hint = child.stderr.rstrip().rpartition("\n")[2].partition("\t")
        raise MissingBcc(what, hint)
    if "Operation not permitted" in child.stderr:
        raise NoPrivilege(
            "the kernel does not let this user make BPF maps", "run as root, or with CAP_BPF and CAP_PERFMON"
        )
    raise CompileError(
        "the BPF program did not compile", "run again with -v to see the compiler's text", detail=child.stderr.strip()
    )


def _compile(source: Path, flags: Sequence[str], programs: Sequence[str]) -> Object:
    """In the child: run bcc."""
    # bcc looks for the kernel's headers here; ours are enough for a program that only reads user memory.
    os.environ["BCC_KERNEL_SOURCE"] = str(source.parent / "include")
    # One text: what bcc makes of calls to maps it writes into the file that it was given, and in no header.
    text = whole(source)
    bpf = import_bcc().BPF(text=text.encode(), cflags=list(flags))
    shapes: list[MapShape] = []
    numbers: dict[int, int] = {}
    for name in _declared(text):
        try:
            fd = bpf[name].map_fd
        except KeyError:  # under an #if that is not so
            continue
        numbers[fd] = len(shapes)
        shapes.append(_shape(name, fd))
    return Object(tuple(shapes), {name: _replace_maps(bpf.dump_func(name), numbers) for name in programs})


def _declared(text: str) -> list[str]:
    """The names of the maps, from bcc's macros in the source."""
    names = []
    for line in text.splitlines():
        macro, _, rest = line.partition("(")
        arguments = [word.strip(" );") for word in rest.split(",")]
        if macro in ("BPF_TABLE", "BPF_F_TABLE"):
            names.append(arguments[3])
        elif macro in ("BPF_ARRAY", "BPF_PERCPU_ARRAY", "BPF_STACK", "BPF_RINGBUF_OUTPUT", "BPF_PROG_ARRAY"):
            names.append(arguments[0])
    return names


def _shape(name: str, fd: int) -> MapShape:
    """What /proc says of a map (Linux kernel/bpf/syscall.c, bpf_map_show_fdinfo)."""
    info = dict(line.split(":\t", 1) for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines())
    return MapShape(
        name=name,
        type=int(info["map_type"]),
        key_size=int(info["key_size"]),
        value_size=int(info["value_size"]),
        max_entries=int(info["max_entries"]),
        flags=int(info["map_flags"], 16),
    )


def _replace_maps(code: bytes, replacement: dict[int, int]) -> bytes:
    """The instructions with each map's number or descriptor replaced by another."""
    changed = bytearray(code)
    at = 0
    while at < len(changed):
        opcode, registers, offset, value = _INSTRUCTION.unpack_from(changed, at)
        if opcode == _LD_IMM64:
            if registers >> 4 == _PSEUDO_MAP_FD:
                _INSTRUCTION.pack_into(changed, at, opcode, registers, offset, replacement[value])
            at += _INSTRUCTION.size  # the upper half of the constant
        at += _INSTRUCTION.size
    return bytes(changed)


def _main() -> int:
    request = json.load(sys.stdin)
    answer = os.dup(1)
    os.dup2(2, 1)  # bcc prints to standard output, too
    try:
        made = _compile(Path(request["source"]), request["flags"], request["programs"])
    except MissingBcc as error:
        sys.stderr.write(f"{error}\t{error.hint}\n")
        return _NO_BCC
    except Exception as error:  # bcc raises nothing more exact
        sys.stderr.write(f"{error}\n")
        return _FAILED
    with os.fdopen(answer, "w") as file:
        json.dump(made.to_json(), file)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
