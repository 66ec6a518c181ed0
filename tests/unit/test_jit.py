"""Whether the JIT is told, from a process's environment and its mappings."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from latency.cpython.jit import blind_spots
from latency.target.build import Build
from latency.target.process import Process

FILE = "00400000-00500000 r-xp 00000000 08:01 1234 /usr/bin/python3.15\n"
SPECIAL = "7ff000000000-7ff000002000 r-xp 00000000 00:00 0 [vdso]\n"
HEAP = "01000000-01100000 rw-p 00000000 00:00 0 [heap]\n"
WRITABLE = "7f0000000000-7f0000010000 rwxp 00000000 00:00 0 \n"
MADE = "7f0000020000-7f0000030000 r-xp 00000000 00:00 0 \n"
NAMED = "7f0000020000-7f0000030000 r-xp 00000000 00:00 0 [anon:cpython:jit]\n"


class Flags:
    """All that is asked of a build."""

    def __init__(self, *flags: str) -> None:
        self.flags = frozenset(flags)


def spots(folder: Path, environ: bytes, maps: str, *flags: str) -> tuple[str, ...]:
    it = folder / "42"
    it.mkdir()
    (it / "stat").write_text(f"42 (python3) S {' '.join(['0'] * 49)}\n")
    (it / "environ").write_bytes(environ)
    (it / "maps").write_text(maps)
    return blind_spots(Process(42, proc=folder), cast("Build", Flags(*flags)))


@pytest.mark.parametrize("environ", [b"PYTHON_JIT=1\0", b"A=b\0PYTHON_JIT=yes\0C=d\0", b"PYTHON_JIT=\xff\0"])
def test_a_jit_that_is_switched_on_is_told(tmp_path: Path, environ: bytes) -> None:
    (spot,) = spots(tmp_path, environ, FILE, "jit-capable")
    assert "the JIT is on" in spot
    assert spot.isascii()


@pytest.mark.parametrize("environ", [b"", b"PYTHON_JIT=\0", b"PYTHON_JIT=0\0", b"NOT_PYTHON_JIT=1\0"])
def test_a_jit_that_is_not_switched_on_and_made_nothing_is_not_told(tmp_path: Path, environ: bytes) -> None:
    assert spots(tmp_path, environ, FILE + HEAP + WRITABLE + SPECIAL, "jit-capable") == ()


@pytest.mark.parametrize("made", [MADE, NAMED])
def test_a_jit_that_is_on_by_default_is_told_by_the_code_that_it_made(tmp_path: Path, made: str) -> None:
    (spot,) = spots(tmp_path, b"PATH=/bin\0", FILE + made + SPECIAL, "jit-capable")
    assert "PYTHON_JIT=0" in spot


def test_code_that_others_made_is_no_matter_where_the_jit_is_switched_off(tmp_path: Path) -> None:
    assert spots(tmp_path, b"PYTHON_JIT=0\0", FILE + MADE, "jit-capable") == ()


def test_a_build_without_a_jit_has_none(tmp_path: Path) -> None:
    assert spots(tmp_path, b"PYTHON_JIT=1\0", FILE + MADE, "dtrace") == ()
