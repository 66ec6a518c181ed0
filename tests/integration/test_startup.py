"""What one start leaves for the next, and what a measurement does not hold.

How soon it starts and in how much memory is measured by ``benchmarks/starting.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.lab import Interpreter
from tests.pylat_command import Tracing
from tests.target_program import TargetProgram


def kept(cache: Path) -> dict[str, int]:
    """The cache's files, with the time of their last change."""
    return {str(path): path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}


def test_the_second_start_needs_neither_the_compiler_nor_the_site_finder_and_none_holds_the_compiler(
    own_interpreter: Interpreter, start_target: Callable[..., TargetProgram], tmp_path: Path
) -> None:
    target = start_target(own_interpreter, "requests.py", 1)
    environ = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    seen = []
    for _ in range(2):
        # All functions, so that no other engine is made ready meanwhile.
        with Tracing("-p", target.pid, environ=environ) as tracing:
            maps = Path(f"/proc/{tracing.pid}/maps").read_text()
            tracing.stop()
        assert "libbcc" not in maps
        assert "LLVM" not in maps
        seen.append(kept(tmp_path))
    first, second = seen
    assert first
    assert second == first
