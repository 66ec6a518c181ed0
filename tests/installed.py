"""Builds pylat's distributions, and installs them as its users do: outside of the checkout."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path


def build(kind: str, project: Path, to: Path) -> Path:
    """A ``"wheel"`` or an ``"sdist"``, by the development environment's hatchling."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(to)]
    subprocess.run(command, cwd=project, check=True)
    (artifact,) = to.iterdir()
    return artifact


def unpacked(sdist: Path, to: Path) -> Path:
    """The project of an sdist."""
    to.mkdir()
    subprocess.run(["tar", "--extract", "--file", sdist, "--directory", to], check=True)
    (project,) = to.iterdir()
    return project


def installed(wheel: Path, to: Path) -> Path:
    """A virtual environment with this wheel; the system's packages are seen, as bcc has to be.

    What the wheel depends on is the development environment's, so that nothing is downloaded.

    Returns:
        Its folder of commands.
    """
    subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", to], check=True)
    python = to / "bin/python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    subprocess.run([*pip, "install", "-q", "--no-deps", "--no-index", "--no-cache-dir", wheel], check=True)
    (packages,) = to.glob("lib/python*/site-packages")
    # The environment's own packages come before; and what a line of this file names is not searched for such files.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return to / "bin"
