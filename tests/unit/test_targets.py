"""The programs that the integration tests measure."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TARGETS = Path(__file__).parents[1] / "targets"
PROGRAMS = sorted(path for path in TARGETS.glob("*.py") if "from protocol import" in path.read_text())


def functions_of(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda it: it.stem)
def test_no_function_of_a_program_is_called_as_one_of_the_protocol(program: Path) -> None:
    """A measurement by name would take both."""
    assert functions_of(program) & functions_of(TARGETS / "protocol.py") == set()
