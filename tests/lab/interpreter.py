"""What a CPython of the lab is, and where the lab's cache lies."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

REQUIRED = ((3, 9), (3, 11), (3, 13), (3, 14), (3, 15))
"""Minor versions without which the integration tests fail: each has call sites that no other one has."""

KNOWN = tuple((3, minor) for minor in range(6, 16))
"""Minor versions that pylat knows."""


class LabError(Exception):
    """Something cannot be had here, in one line."""


class Candidate(NamedTuple):
    """An executable that is named like an interpreter.

    ``in_every_run`` of the tests, or else only where all are asked for.
    """

    path: Path
    root: Path | None
    origin: str
    in_every_run: bool = True


@dataclass(frozen=True)
class Interpreter:
    """One CPython.

    ``version`` is as the interpreter says it (``"3.15.0rc1"``, ``"3.13.0t"``); ``path`` is the executable as the host
    sees it, below ``root`` when it needs one; ``origin`` says who built it (``"debian-sid"``, ``"source"``).
    ``in_every_run`` of the tests, or else only where all are asked for.
    """

    version: str
    path: str
    root: str | None
    origin: str
    in_every_run: bool = True

    @property
    def minor(self) -> tuple[int, int]:
        """``(3, 12)`` for ``"3.12.1"``."""
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)

    @property
    def free_threaded(self) -> bool:
        """Whether several threads can run Python at once."""
        return self.version.endswith("t")

    @property
    def id(self) -> str:
        """``"3.9.2-debian-bullseye"``: a name for a test parameter."""
        return f"{self.version}-{self.origin}"

    @property
    def has_markers(self) -> bool:
        """Whether it was built with USDT markers: Debian and Fedora do; from source nobody does without being told."""
        return self.origin.startswith(("debian-", "trixie-", "sid-", "built-fedora"))

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
