"""Modules of pylat that run as programs of their own."""

from __future__ import annotations

import sys
from pathlib import Path

_PACKAGES = Path(__file__).resolve().parents[3]
_RUN = """
import sys
sys.path.append(sys.argv[1])
from importlib import import_module
import_module(sys.argv[2]).main()
"""


def command(module: str) -> list[str]:
    """What runs ``main()`` of a module; ``sys.argv[3:]`` are the arguments that are added to it.

    It may import the standard library and pylat, nothing of the current folder, of the user's or of the environment's
    packages, which also makes it start quickly.
    """
    return [sys.executable, "-I", "-S", "-c", _RUN, str(_PACKAGES), module]
