"""The lab: every CPython that the integration tests can run, those of the machine and those of other Debian suites.

The suites are unpacked (not installed) into roots of their own, in a cache outside the repository; an interpreter of a
root runs by ``unshare --root``. ``script/lab`` is this file as a program.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

REQUIRED = ((3, 9), (3, 11), (3, 13), (3, 14), (3, 15))
"""Minor versions without which the integration tests fail: each has call sites that no other one has."""

KNOWN = tuple((3, minor) for minor in range(6, 16))
"""Minor versions that pylat knows."""

SUITES = ("bullseye", "bookworm", "trixie", "sid")
_EXECUTABLE = re.compile(r"python3\.\d+t?d?")
# every interpreter that the suite has, whichever those are by now
_PACKAGES = r"?and(?name(^python3\.[0-9]+$),?not(?virtual))"
_IMPORTED_BY_TARGETS = (
    *("asyncio", "collections", "concurrent.futures", "ctypes", "dataclasses", "datetime", "decimal", "enum", "gc"),
    *("functools", "json", "mmap", "multiprocessing", "queue", "random", "runpy", "subprocess", "threading", "trace"),
)
_ABOUT = (
    "import platform, sys;"
    "print(platform.python_version() + getattr(sys, 'abiflags', '').replace('m', ''), platform.python_implementation())"
)


class LabError(Exception):
    """A suite cannot be unpacked, in one line."""


@dataclass(frozen=True)
class Interpreter:
    """One CPython.

    ``version`` is as the interpreter says it (``"3.15.0rc1"``, ``"3.13.0t"``); ``path`` is the executable as the host
    sees it, below ``root`` when it needs one; ``origin`` says who built it (``"debian-sid"``, ``"source"``).
    """

    version: str
    path: str
    root: str | None
    origin: str

    @property
    def minor(self) -> tuple[int, int]:
        """``(3, 12)`` for ``"3.12.1"``."""
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)

    @property
    def id(self) -> str:
        """``"3.9.2-debian-bullseye"``: a name for a test parameter."""
        return f"{self.version}-{self.origin}"

    @property
    def embeddable(self) -> tuple[Path, Path] | None:
        """(the folder of its headers, its shared libpython), where a C program can be built around it."""
        name, prefix = f"python{self.minor[0]}.{self.minor[1]}", Path(self.path).parents[1]
        headers = sorted(prefix.glob(f"include/{name}*/Python.h"))
        libraries = sorted(prefix.glob(f"lib/lib{name}*.so.1.0")) or sorted(prefix.glob(f"lib/*/lib{name}.so.1.0"))
        return (headers[0].parent, libraries[0]) if self.root is None and headers and libraries else None

    def command(self, *arguments: str, directory: str = "/") -> list[str]:
        """The command that runs the interpreter, with no process in between, in a directory as its root sees it."""
        if self.root is None:
            return [self.path, *arguments]
        inside = self.path.removeprefix(self.root)
        return ["unshare", f"--root={self.root}", f"--wd={directory}", "--", inside, *arguments]


def cache_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """``$PYLAT_LAB``, else ``pylat-lab`` in the user's cache."""
    if given := environ.get("PYLAT_LAB"):
        return Path(given)
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pylat-lab"


def interpreters(environ: Mapping[str, str] = os.environ) -> list[Interpreter]:
    """Every CPython from 3.6 on that is there and starts, by version; nothing is unpacked."""
    found: dict[Path, Interpreter] = {}
    for path, root, origin in _candidates(environ):
        version = None if path.resolve() in found else _cpython_version(path, root)
        if version is not None:
            found[path.resolve()] = Interpreter(version, str(path), root, origin)
    known = [interpreter for interpreter in found.values() if interpreter.minor >= KNOWN[0]]
    return sorted(known, key=lambda it: (it.minor, it.id))


def unpack(cache: Path, suites: Sequence[str]) -> None:
    """Unpacks the interpreters of each suite that is not in the cache yet.

    Raises:
        LabError: not root, no mmdebstrap, no Debian mirror, or the mirror refused.
    """
    missing = [suite for suite in suites if not (cache / suite).is_dir()]
    if not missing:
        return
    if os.geteuid() != 0:
        raise LabError("only root can unpack Debian suites")
    if shutil.which("mmdebstrap") is None:
        raise LabError("mmdebstrap is not installed: run script/setup --tests")
    mirror = debian_mirror()
    cache.mkdir(parents=True, exist_ok=True)
    for suite in missing:
        print(f"lab: unpacking the interpreters of Debian {suite}", file=sys.stderr)
        _unpack_suite(cache, suite, mirror)


def foreign_suites(release: Mapping[str, str] | None = None) -> list[str]:
    """The suites whose interpreters the machine does not have as its own."""
    own = (platform.freedesktop_os_release() if release is None else release).get("VERSION_CODENAME")
    return [suite for suite in SUITES if suite != own]


def debian_mirror(apt: Path = Path("/etc/apt"), environ: Mapping[str, str] = os.environ) -> str:
    """``$PYLAT_LAB_MIRROR``, else the first Debian archive among the machine's package sources.

    Raises:
        LabError: there is none.
    """
    if given := environ.get("PYLAT_LAB_MIRROR"):
        return given
    for source in (apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))):
        text = source.read_text() if source.is_file() else ""
        for uri in re.findall(r"^(?:URIs:|deb(?:\s+\[[^]]*\])?)\s+(\S+)", text, re.MULTILINE):
            if uri.rstrip("/").endswith("/debian"):
                return str(uri)
    raise LabError("no Debian archive among the package sources: set PYLAT_LAB_MIRROR to one")


def _candidates(environ: Mapping[str, str]) -> Iterator[tuple[Path, str | None, str]]:
    """(executable, root, origin) of everything that is named like an interpreter."""
    release = platform.freedesktop_os_release()
    own = f"{release.get('ID', 'linux')}-{release.get('VERSION_CODENAME', release.get('VERSION_ID', 'unknown'))}"
    for path in _executables(Path("/usr/bin")):
        yield path, None, own
    for path in _executables(Path("/usr/local/bin")):
        yield path, None, "local"
    for directory in sorted(Path.home().glob(".pyenv/versions/*/bin")):
        for path in _executables(directory):
            yield path, None, "source"
    for name in filter(None, environ.get("PYLAT_LAB_PYTHONS", "").split(":")):
        root, _, inside = name.rpartition("//")
        yield Path(root, inside), root or None, "given"
    for suite in foreign_suites(release):
        root = cache_directory(environ) / suite
        for path in _executables(root / "usr/bin"):
            yield path, str(root), f"debian-{suite}"


def _executables(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob("python3.*") if _EXECUTABLE.fullmatch(path.name))


def _cpython_version(path: Path, root: str | None) -> str | None:
    """What the interpreter says it is, or None when it does not start or is no CPython."""
    command = Interpreter("", str(path), root, "").command("-E", "-S", "-c", _ABOUT)
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError) as error:
        print(f"lab: {path} is left out: {error}", file=sys.stderr)
        return None
    return answer[0] if answer[1:] == ["CPython"] else None


def _unpack_suite(cache: Path, suite: str, mirror: str) -> None:
    """Unpacks beside the final place and renames, so that a root that is there is whole."""
    with tempfile.TemporaryDirectory(prefix=f".{suite}-", dir=cache) as temporary:
        root = Path(temporary) / "root"
        # a mirror that stands still has an old date: its signature is what counts
        command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=extract"]
        command += ["--aptopt=Acquire::Check-Valid-Until false", f"--include={_PACKAGES}", suite, str(root), mirror]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            reason = (answer.stderr.strip().splitlines() or ["mmdebstrap failed"])[0]
            raise LabError(f"Debian {suite} cannot be unpacked from {mirror}: {reason}")
        for name in ("bin", "lib", "lib64", "sbin"):
            # since trixie these links are in a package that nothing here depends on
            if not os.path.lexists(root / name):
                (root / name).symlink_to(f"usr/{name}")
        try:
            root.rename(cache / suite)
        except OSError:
            if not (cache / suite).is_dir():  # else somebody else was faster, with the same result
                raise


def write_bytecode(interpreter: Interpreter) -> None:
    """Lets an unpacked interpreter keep its bytecode, which is the work of packages that were not configured.

    Only of what the targets import: without it each start of one takes half a second. A root that is not of this cache
    stays as it is.
    """
    if interpreter.root is None or Path(interpreter.root).parent != cache_directory():
        return
    library = Path(f"{interpreter.root}/usr/lib/python{'.'.join(map(str, interpreter.minor))}")
    if any(library.joinpath("asyncio/__pycache__").glob("tasks.*")):
        return
    text = f"""
for name in {_IMPORTED_BY_TARGETS!r}:
    try:
        __import__(name)
    except ImportError:
        pass
"""
    subprocess.run(
        interpreter.command("-c", text), env={"PATH": "/usr/bin:/bin"}, stderr=subprocess.DEVNULL, check=False
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Unpacks what is missing and lists the lab; 1 when a suite or a required version is missing."""
    parser = argparse.ArgumentParser(prog="script/lab", description="Unpack and list the CPythons of the tests.")
    parser.add_argument("--json", action="store_true", help="a list of objects instead of a table")
    options = parser.parse_args(arguments)
    try:
        unpack(cache_directory(), foreign_suites())
    except LabError as error:
        print(f"script/lab: {error}", file=sys.stderr)
        return 1
    found = interpreters()
    for it in found:
        write_bytecode(it)
    if options.json:
        print(json.dumps([asdict(it) for it in found], indent=2))
    else:
        for it in found:
            print(f"{it.version:<10} {it.origin:<18} {it.path}")
    missing = sorted(set(REQUIRED) - {it.minor for it in found})
    for major, minor in missing:
        print(f"script/lab: CPython {major}.{minor} is missing", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
