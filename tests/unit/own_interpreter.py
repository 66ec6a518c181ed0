"""The interpreter that runs the tests, as a file."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from tests.requirements import require


def own_interpreter() -> Path:
    """The file that holds its CPython, executable or libpython; skips where pylat does not know it."""
    known = platform.machine() == "x86_64" and sys.implementation.name == "cpython"
    require(known and sys.version_info < (3, 16), "these tests run on a CPython that pylat knows")
    # not from sysconfig: Debian's names a libpython that its own interpreter does not use, and that need not be there
    maps = Path("/proc/self/maps").read_text().splitlines()
    mapped = {line.split(maxsplit=5)[5] for line in maps if "/libpython3" in line}
    return Path(min(mapped)) if mapped else Path(sys.executable).resolve()
