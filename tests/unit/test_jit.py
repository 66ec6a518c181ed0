"""Whether the JIT is told, from a process's environment and its mappings."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from latency.cpython.jit import blind_spots, require_off
from latency.errors import TargetError
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


def process(folder: Path, environ: bytes, maps: str) -> Process:
    it = folder / "42"
    it.mkdir()
    (it / "stat").write_text(f"42 (python3) S {' '.join(['0'] * 49)}\n")
    (it / "environ").write_bytes(environ)
    (it / "maps").write_text(maps)
    return Process(42, proc=folder)


def build(*flags: str) -> Build:
    return cast("Build", Flags(*flags))


def spots(folder: Path, environ: bytes, maps: str, *flags: str) -> tuple[str, ...]:
    """Those of a process that is not refused."""
    it = process(folder, environ, maps)
    require_off(it, build(*flags))
    return blind_spots(it, build(*flags))


@pytest.mark.parametrize("environ", [b"PYTHON_JIT=1\0", b"A=b\0PYTHON_JIT=yes\0C=d\0", b"PYTHON_JIT=\xff\0"])
def test_a_jit_that_is_switched_on_is_refused(tmp_path: Path, environ: bytes) -> None:
    with pytest.raises(TargetError, match="the JIT is on in process 42") as refusal:
        require_off(process(tmp_path, environ, FILE), build("jit-capable"))
    assert "PYTHON_JIT=0" in refusal.value.hint


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
