"""Compile headers of ``bpf/`` as ordinary C, so that the text that runs in the kernel runs in tests."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def bpf_folder() -> Path:
    """The folder of the BPF sources."""
    return Path(__file__).resolve().parents[2] / "bpf"


@pytest.fixture(scope="session")
def compile_bpf(bpf_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ctypes.CDLL]:
    """A function that compiles C text against ``bpf/`` and loads it: ``compile_bpf(source, *cflags)``.

    ``PYLAT_NATIVE`` is defined, warnings are errors, and undefined behaviour aborts.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.fail("no C compiler: install cc")

    def build(source: str, *cflags: str) -> ctypes.CDLL:
        folder = tmp_path_factory.mktemp("native")
        (folder / "unit.c").write_text(source)
        library = folder / "unit.so"
        command = [compiler, "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function"]
        command += ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error", "-shared", "-fPIC"]
        command += ["-DPYLAT_NATIVE", f"-I{bpf_folder}", *cflags, "-o", str(library), str(folder / "unit.c")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.fail(f"cc failed:\n{done.stderr}")
        return ctypes.CDLL(str(library))

    return build
