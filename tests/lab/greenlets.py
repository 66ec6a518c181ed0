"""The package greenlet for interpreters of the lab: the one file of PyPI for each minor version."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

from tests.lab.interpreter import Interpreter, LabError, cache_directory
from tests.lab.suites import into_place
from tests.lab.wheels import Wheel, download

_PLATFORM = "manylinux_2_28"
_WHEELS = {
    wheel.minor: wheel
    for wheel in (
        Wheel("greenlet", "3.2.5", 9, _PLATFORM, "bdd67619cefe1cc9fcab57c8853d2bb36eca9f166c0058cc0d428d471f7c785c"),
        Wheel("greenlet", "3.5.6", 11, _PLATFORM, "1c20ea32a73d17b9b60e3371240e17b0068120c98a5ec01a224a7dd8c89733ba"),
        Wheel("greenlet", "3.5.6", 13, _PLATFORM, "f98e8215e172f567ce80eeaed9107fb4d32b6c44f26983d9b8334658136a205a"),
        Wheel("greenlet", "3.5.6", 15, _PLATFORM, "ccadce0130fd813ec86ebfe969a6c58b42acc1d0fe55a47525375b740e07b605"),
    )
}
MINORS = tuple((3, minor) for minor in _WHEELS)
"""Versions for which there is one."""


ENVIRON = {"LD_LIBRARY_PATH": "."}
"""What a program needs whose working directory holds ``package``."""
_LIBRARIES = "/usr/lib/x86_64-linux-gnu"
_PLACES = (_LIBRARIES, "/lib/x86_64-linux-gnu")  # two folders up to Debian 11
_OF_CXX = ("libstdc++.so.6", "libgcc_s.so.1")


def package(interpreter: Interpreter) -> list[Path]:
    """The package's folder, which lies in the cache, and the libraries of this machine that a root has not.

    Raises:
        LabError: PyPI cannot be reached, or the file is another one.
    """
    wheel = _WHEELS[interpreter.minor[1]]
    place = cache_directory() / "greenlets" / wheel.name
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{wheel.name}-", dir=place.parent) as temporary:
            folder = Path(temporary)
            with zipfile.ZipFile(download(wheel, folder)) as content:
                names = [it for it in content.namelist() if it.startswith("greenlet/") and "/tests/" not in it]
                content.extractall(folder / "fresh", names)
            into_place(folder / "fresh", place)
    if not (found := place / "greenlet").is_dir():
        raise LabError(f"{place} holds no greenlet")
    missing = [it for it in _OF_CXX if interpreter.root and not _has(interpreter.root, it)]
    return [found, *(Path(_LIBRARIES, it) for it in missing)]


def _has(root: str, library: str) -> bool:
    return any(Path(f"{root}{place}/{library}").exists() for place in _PLACES)
