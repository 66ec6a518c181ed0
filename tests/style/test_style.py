"""Style and types hold, by pinned tools: ``script/style``."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


def test_style_and_types_hold(repository: Path) -> None:
    done = subprocess.run(["script/style"], cwd=repository, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(done.stdout + done.stderr, pytrace=False)
