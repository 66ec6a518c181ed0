"""The lab: every CPython that the integration tests can run, those of the machine and those that it makes.

It makes them in a cache outside the repository: those of other Debian suites (``suites``), those of PyPI's wheels
(``wheels``), small programs around Debian's libpythons (``embedded``), and where it is told to, builds by other
compilers and flags (``builds``). It makes programs of freezing tools, too (``frozen``). An interpreter of a root runs
by ``unshare --root``. ``script/lab`` is this package as a program.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.lab import builds, embedded, frozen, servers, wheels
from tests.lab.interpreter import KNOWN, REQUIRED, Candidate, Interpreter, LabError, cache_directory
from tests.lab.suites import SUITES, debian_mirror, foreign_suites, unpack, unpack_packages, write_bytecode

__all__ = [
    "KNOWN",
    "REQUIRED",
    "SUITES",
    "Candidate",
    "Interpreter",
    "LabError",
    "all_wanted",
    "cache_directory",
    "candidates",
    "debian_mirror",
    "foreign_suites",
    "interpreters",
    "make",
    "unpack",
    "unpack_packages",
]

_EXECUTABLE = re.compile(r"python3\.\d+t?d?")
_CONDAS = ("~/miniconda3", "~/miniforge3", "~/anaconda3", "/opt/conda")
_CLOUDS = ("/usr/lib", "/usr/local", "/opt", "~")
_BROUGHT = (
    ("~/.local/share/uv/python/*/bin", "uv"),
    *((f"{place}{below}/bin", "conda") for place in _CONDAS for below in ("", "/envs/*")),
    *((f"{place}/google-cloud-sdk/platform/bundledpythonunix/bin", "google-cloud") for place in _CLOUDS),
    ("/opt/*/bin", "opt"),
    ("/opt/python/*/bin", "opt"),  # in pypa's images
)
_ABOUT = (
    "import platform, sys;"
    "print(platform.python_version() + getattr(sys, 'abiflags', '').replace('m', ''), platform.python_implementation())"
)


def all_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether every build is asked for (``PYLAT_LAB_ALL=1``), or those that no run of the tests is without."""
    return environ.get("PYLAT_LAB_ALL", "") not in ("", "0")


def interpreters(environ: Mapping[str, str] = os.environ) -> list[Interpreter]:
    """Every CPython from 3.6 on that is there, wanted and starts, by version; nothing is made."""
    found: dict[Path, Interpreter] = {}
    for it in candidates(environ):
        path = it.path.resolve()
        if path in found or not (it.in_every_run or all_wanted(environ)):
            continue
        root = str(it.root) if it.root else None
        version = _cpython_version(it.path, root)
        if version is not None:
            found[path] = Interpreter(version, str(it.path), root, it.origin, it.in_every_run)
    known = [it for it in found.values() if it.minor >= KNOWN[0]]
    return sorted(known, key=lambda it: (it.minor, it.id))


def make(environ: Mapping[str, str] = os.environ) -> None:
    """Makes what is wanted and not in the cache yet; what cannot be had is left out with a line.

    Raises:
        LabError: a Debian suite cannot be unpacked.
    """
    cache, every = cache_directory(environ), all_wanted(environ)
    unpack(cache, foreign_suites())
    for it in (found := interpreters({**environ, "PYLAT_LAB_ALL": ""})):
        write_bytecode(it)
    wheels.make(cache, [it for it in wheels.WHEELS if every or it.name in wheels.IN_EVERY_RUN], found)
    servers.make(cache)
    embedded.make(cache, [it for it in embedded.SUITES if every or it in dict(embedded.IN_EVERY_RUN)])
    frozen.make(cache)


def candidates(environ: Mapping[str, str] = os.environ) -> Iterator[Candidate]:
    """Everything that is named like an interpreter where interpreters are, whether it starts or not."""
    release = platform.freedesktop_os_release()
    own = f"{release.get('ID', 'linux')}-{release.get('VERSION_CODENAME', release.get('VERSION_ID', 'unknown'))}"
    home, cache = Path(environ.get("HOME", "/")), cache_directory(environ)
    places = [("/usr/bin", None, own), ("/usr/local/bin", None, "local")]
    places += [(str(place), None, "source") for place in sorted(home.glob(".pyenv/versions/*/bin"))]
    for place, root, origin in places:
        for path in _executables(Path(place)):
            yield Candidate(path, root, origin)
    for name in filter(None, environ.get("PYLAT_LAB_PYTHONS", "").split(":")):
        given, _, inside = name.rpartition("//")
        yield Candidate(Path(given, inside), Path(given) if given else None, "given")
    for suite in foreign_suites(release):
        for path in _executables(cache / suite / "usr/bin"):
            yield Candidate(path, cache / suite, f"debian-{suite}")
    yield from wheels.made(cache)
    yield from embedded.made(cache)
    yield from builds.made(cache)
    for pattern, origin in _BROUGHT:
        start = home if pattern.startswith("~/") else Path("/")
        for place in sorted(start.glob(pattern.lstrip("~/"))):
            for path in _executables(place):
                yield Candidate(path, None, origin, in_every_run=False)


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
