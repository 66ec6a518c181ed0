"""What a test needs of the machine: where it lacks, CI fails, and a developer's run skips with the reason."""

from __future__ import annotations

import os
import subprocess

import pytest


def require(met: object, what: str) -> None:
    """Skips, or fails in CI, unless ``met``; ``what`` says what is lacking."""
    if met:
        return
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"needed in CI: {what}", pytrace=False)
    pytest.skip(what)


def can_mount_privately() -> bool:
    """Whether a mount namespace can be made here; not below a root that is no mount point, as in a plain chroot."""
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
