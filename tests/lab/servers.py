"""Servers of metrics of one suite: a newer Prometheus than the machine's, and VictoriaMetrics, which takes
OpenTelemetry's protocol from trixie on.

They are unpacked into the cache, and run with the C library that they were built for.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.lab.interpreter import LabError
from tests.lab.suites import unpack_packages

SUITE = "trixie"
_PACKAGES = "prometheus,victoria-metrics"


def root_of(cache: Path) -> Path:
    """The root in which they lie."""
    return cache / f"servers-{SUITE}"


def make(cache: Path) -> None:
    """Unpacks them, unless they are there. What cannot be had is left out, with a line that says why."""
    try:
        unpack_packages(root_of(cache), SUITE, _PACKAGES, f"the servers of metrics of Debian {SUITE}")
    except LabError as error:
        print(f"lab: the servers of metrics of Debian {SUITE} are left out: {error}", file=sys.stderr)


def command(cache: Path, name: str) -> list[str] | None:
    """What runs one of them; None where it is not there."""
    root = root_of(cache)
    program, loader = root / "usr/bin" / name, root / "lib64/ld-linux-x86-64.so.2"
    if not program.exists():
        return None
    return [str(loader), "--library-path", str(root / "usr/lib/x86_64-linux-gnu"), str(program)]
