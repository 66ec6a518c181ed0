"""Debian's suites, unpacked (not installed) into roots of their own."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tests.lab.interpreter import Interpreter, LabError, cache_directory

SUITES = ("bullseye", "bookworm", "trixie", "sid")
# every interpreter that the suite has, whichever those are by now
_PACKAGES = r"?and(?name(^python3\.[0-9]+$),?not(?virtual))"
_IMPORTED_BY_TARGETS = (
    *("asyncio", "collections", "concurrent.futures", "ctypes", "dataclasses", "datetime", "decimal", "enum", "gc"),
    *("functools", "json", "mmap", "multiprocessing", "queue", "random", "runpy", "subprocess", "threading", "trace"),
)


def foreign_suites(release: Mapping[str, str] | None = None) -> list[str]:
    """The suites whose interpreters the machine does not have as its own."""
    own = (platform.freedesktop_os_release() if release is None else release).get("VERSION_CODENAME")
    return [suite for suite in SUITES if suite != own]


def unpack(cache: Path, suites: Sequence[str]) -> None:
    """Unpacks the interpreters of each suite that is not in the cache yet.

    Raises:
        LabError: not root, no mmdebstrap, no Debian mirror, or the mirror refused.
    """
    for suite in suites:
        unpack_packages(cache / suite, suite, _PACKAGES, f"the interpreters of Debian {suite}")


def unpack_packages(
    root: Path, suite: str, packages: str, what: str, sources: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Unpacks packages of a suite, and what they depend on, into a root, unless it is there.

    Beside the final place, and renamed, so that a root that is there is whole.

    Args:
        packages: their name, or a pattern as apt reads it.
        what: these, for people.
        sources: the suites of source packages by their names, whose files are laid into ``usr/src``.

    Raises:
        LabError: not root, no mmdebstrap, no Debian mirror, or the mirror refused.
    """
    if root.is_dir():
        return
    if os.geteuid() != 0:
        raise LabError("only root can unpack Debian suites")
    if shutil.which("mmdebstrap") is None:
        raise LabError("mmdebstrap is not installed: run script/setup --tests")
    mirror = debian_mirror()
    root.parent.mkdir(parents=True, exist_ok=True)
    print(f"lab: unpacking {what}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as temporary:
        fresh = Path(temporary) / "root"
        # a mirror that stands still has an old date: its signature is what counts
        command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=extract"]
        command += ["--aptopt=Acquire::Check-Valid-Until false", f"--include={packages}", *_fetching(sources)]
        command += [suite, str(fresh), f"deb {mirror} {suite} main"]
        command += [f"deb-src {mirror} {each} main" for each in sorted(set(sources.values()))]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            reason = (answer.stderr.strip().splitlines() or ["mmdebstrap failed"])[0]
            raise LabError(f"Debian {suite} cannot be unpacked from {mirror}: {reason}")
        for name in ("bin", "lib", "lib64", "sbin"):
            # since trixie these links are in a package that nothing here depends on
            if not os.path.lexists(fresh / name):
                (fresh / name).symlink_to(f"usr/{name}")
        into_place(fresh, root)


def _fetching(sources: Mapping[str, str]) -> list[str]:
    """What lets mmdebstrap fetch the files of source packages as well."""
    if not sources:
        return []
    fetch = f'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get source --download-only {" ".join(sources)}'
    return [f'--extract-hook=mkdir -p "$1/usr/src" && cd "$1/usr/src" && {fetch}']


def into_place(fresh: Path, place: Path) -> None:
    """Renames a folder that is whole to where it is looked for, unless somebody else was faster with the same."""
    try:
        fresh.rename(place)
    except OSError:
        if not place.is_dir():
            raise


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


def write_bytecode(interpreter: Interpreter) -> None:
    """Lets an unpacked interpreter keep its bytecode, which is the work of packages that were not configured.

    Without it each start of a target takes half a second. A root that is not of this cache stays as it is.
    """
    if interpreter.root is None or Path(interpreter.root).parent != cache_directory():
        return
    library = Path(f"{interpreter.root}/usr/lib/python{'.'.join(map(str, interpreter.minor))}")
    if library.is_dir() and not any(library.joinpath("asyncio/__pycache__").glob("tasks.*")):
        import_what_targets_do(interpreter)


def import_what_targets_do(interpreter: Interpreter) -> None:
    """Imports once what the targets import, so that its bytecode is kept."""
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
