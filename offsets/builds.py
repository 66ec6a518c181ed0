"""Finds the CPythons of this machine, and asks the ones that can run."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile

from latency.cpython import debug_offsets, offsets
from latency.cpython.meanings import MEANINGS
from latency.errors import UnsupportedBuild

HERE = Path(__file__).resolve().parent


class Refuted(Exception):
    """An interpreter's own memory contradicts the table."""


@dataclass(frozen=True)
class Build:
    """One CPython.

    Attributes:
        label: its version and where it comes from, for people.
        binary: the ELF file that holds the interpreter: libpython, or the executable.
        command: how to run it; empty if it cannot be run.
        include: the folder of its ``Python.h`` with the ``internal`` headers, or None.
        has_dwarf: whether ``binary`` carries DWARF.
    """

    label: str
    binary: Path
    command: tuple[str, ...]
    include: Path | None
    has_dwarf: bool


def find(pyenv: Path, roots: list[Path]) -> dict[str, list[Build]]:
    """All builds by minor version (``{"3.12": [...]}``; ``"3.13t"``: free-threaded ones), oldest version first.

    Args:
        pyenv: a folder of installations (``…/bin/python3``).
        roots: folders that hold a whole ``/usr``.
    """
    found: dict[str, list[Build]] = {}
    for prefix in sorted(pyenv.glob("3.*")):
        named = re.fullmatch(r"(3\.\d+)\.\d+(t?)", prefix.name)  # not "3.13.0d"
        if not named:
            continue
        minor = named[1] + named[2]
        library = next(iter(sorted(prefix.glob(f"lib/libpython{minor}*.so.1.0"))), prefix / "bin" / f"python{minor}")
        _add(found, minor, prefix, library, (str(prefix / "bin" / f"python{minor}"),), "source build")
    for root in roots:
        minors = {path.name.removeprefix("python") for path in root.glob("usr/bin/python3.*")}
        minors |= {path.name.removeprefix("python") for path in root.glob("usr/include/python3.*")}
        for minor in sorted(minor for minor in minors if re.fullmatch(r"3\.\d+", minor)):
            binary = root / "usr/bin" / f"python{minor}"
            chroot = () if root == Path("/") else ("chroot", str(root))
            _add(found, minor, root / "usr", binary, (*chroot, f"/usr/bin/python{minor}"), "distribution build")
    return dict(sorted(found.items(), key=lambda item: (int(item[0].rstrip("t").split(".")[1]), item[0])))


def _add(
    found: dict[str, list[Build]], minor: str, prefix: Path, binary: Path, command: tuple[str, ...], kind: str
) -> None:
    include = next((path.parent for path in sorted(prefix.glob(f"include/python{minor}/Python.h"))), None)
    include = include or next((it.parent for it in sorted(prefix.glob(f"include/python{minor}[mu]/Python.h"))), None)
    runs = binary.exists()
    version = _version(include) if include else ""
    if runs and not version:
        version = json.loads(_run(command, "import json, sys; print(json.dumps(sys.version.split()[0]))", ""))
    if not (runs or include):
        return
    has_dwarf = runs and _has_dwarf(binary)
    found.setdefault(minor, []).append(Build(f"{version} {kind}", binary, command if runs else (), include, has_dwarf))


def _version(include: Path) -> str:
    match = re.search(r'#define\s+PY_VERSION\s+"([^"]+)"', (include / "patchlevel.h").read_text())
    return match[1] if match else ""


def _has_dwarf(binary: Path) -> bool:
    with binary.open("rb") as file:
        return bool(ELFFile(file).has_dwarf_info(strict=True))


def confirm(build: Build, table: dict[str, Any]) -> list[tuple[dict[str, str], list[str]]]:
    """Asks the binary and the running interpreter: the sources that agree with the table, and on which members.

    Raises:
        Refuted: the interpreter's memory says otherwise.
    """
    if not build.command:
        return []
    build_id, debug = _debug_offsets(build.binary, table["structs"].get("_Py_DebugOffsets"))
    source = {"build": build.label, "build_id": build_id}
    sources = []
    if debug is not None:
        try:
            offsets.cross_check(_loaded(table), debug)
        except UnsupportedBuild as error:
            raise Refuted(f"{build.label}: {error}") from error
        candidates = {candidate for meaning in debug.values for candidate in MEANINGS[meaning]}
        members = {f"{struct}.{name}" for struct, names in table["structs"].items() for name in names}
        sources.append(({"kind": "debug_offsets", **source}, sorted(candidates & members)))
    said = json.loads(_run(build.command, (HERE / "live.py").read_text(), json.dumps(table)))
    if said["wrong"]:
        raise Refuted(f"the memory of a running {build.label} contradicts {', '.join(said['wrong'])}")
    return [*sources, ({"kind": "ctypes", **source}, said["right"])]


def _loaded(table: dict[str, Any]) -> offsets.Offsets:
    with tempfile.TemporaryDirectory() as folder:
        letters = "t" if table["flags"] else ""
        Path(folder, f"cpython-{table['version']}{letters}-{table['machine']}.json").write_text(json.dumps(table))
        version = tuple(int(part) for part in table["version"].split("."))
        return offsets.load(version, flags=frozenset(table["flags"]), directory=Path(folder))


def _debug_offsets(binary: Path, layout: dict[str, Any] | None) -> tuple[str, debug_offsets.DebugOffsets | None]:
    """The build id of an ELF file, and the ``_Py_DebugOffsets`` in its data if the version has them."""
    with binary.open("rb") as file:
        elf = ELFFile(file)
        note = elf.get_section_by_name(".note.gnu.build-id")
        build_id = next((n["n_desc"] for n in note.iter_notes()), "") if note else ""
        if layout is None:
            return build_id, None
        symbol = elf.get_section_by_name(".dynsym").get_symbol_by_name("_PyRuntime")[0]
        (start,) = elf.address_offsets(symbol["st_value"])
        file.seek(start)
        return build_id, debug_offsets.parse(file.read(debug_offsets.READ_BYTES), layout)


def _run(command: tuple[str, ...], script: str, text: str) -> str:
    whole = [*command, "-I", "-c", script]
    done = subprocess.run(whole, input=text, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise Refuted(f"{' '.join(command)} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout
