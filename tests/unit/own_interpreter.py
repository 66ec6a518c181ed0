"""The interpreter that runs the tests, as a file."""

from __future__ import annotations

import platform
import sys
import sysconfig
from pathlib import Path

from tests.requirements import require


def own_interpreter() -> Path:
    """The file that holds its CPython, executable or libpython; skips where pylat does not know it."""
    known = platform.machine() == "x86_64" and sys.implementation.name == "cpython"
    require(known and sys.version_info < (3, 16), "these tests run on a CPython that pylat knows")
    library = Path(sysconfig.get_config_var("LIBDIR") or "/") / (sysconfig.get_config_var("LDLIBRARY") or "none")
    shared = bool(sysconfig.get_config_var("Py_ENABLE_SHARED")) and ".so" in library.name
    return library if shared else Path(sys.executable).resolve()
