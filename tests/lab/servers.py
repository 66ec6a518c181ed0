"""Servers of metrics of other suites: newer Prometheuses than the machine's, and VictoriaMetrics, which takes
OpenTelemetry's protocol from trixie on.

They are unpacked into the cache, and run with the C library that they were built for.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.lab.interpreter import LabError
from tests.lab.suites import unpack_packages

SUITE, NEWEST = "trixie", "sid"
"""That of the tests; and the one whose Prometheus is 3.x, which ``script/fleet`` runs as well."""
_PACKAGES = "prometheus,victoria-metrics"


def root_of(cache: Path, suite: str = SUITE) -> Path:
    """The root in which they lie."""
    return cache / f"servers-{suite}"


def make(cache: Path, suite: str = SUITE) -> None:
    """Unpacks them, unless they are there. What cannot be had is left out, with a line that says why."""
    try:
        unpack_packages(root_of(cache, suite), suite, _PACKAGES, f"the servers of metrics of Debian {suite}")
    except LabError as error:
        print(f"lab: the servers of metrics of Debian {suite} are left out: {error}", file=sys.stderr)


def command(cache: Path, name: str, suite: str = SUITE) -> list[str] | None:
    """What runs one of them; None where it is not there."""
    root = root_of(cache, suite)
    program, loader = root / "usr/bin" / name, root / "lib64/ld-linux-x86-64.so.2"
    if not program.exists():
        return None
    return [str(loader), "--library-path", str(root / "usr/lib/x86_64-linux-gnu"), str(program)]
