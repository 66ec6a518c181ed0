"""``latency/tracing/kernel/sources.py`` against a C preprocessor: putting headers in their places changes nothing."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest

from latency.tracing.kernel.sources import whole

SWITCHES = ("PYLAT_TRACE", "PYLAT_SLOWER", "PYLAT_SPLIT")


def preprocessed(path: Path, folder: Path, flags: list[str]) -> list[str]:
    """The words of a C file without its comments, as a compiler reads them."""
    compiler = shutil.which("cc")
    assert compiler is not None, "no C compiler: install cc"
    command = [compiler, "-E", "-P", f"-I{folder}", f"-I{folder}/include/include", *flags, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("program", ["pylat.bpf.c", "watch.bpf.c", "markers.bpf.c"])
def test_one_text_is_what_the_preprocessor_makes_of_the_files(program: str, bpf_folder: Path, tmp_path: Path) -> None:
    one = tmp_path / program
    one.write_text(whole(bpf_folder / program))
    for values in itertools.product((0, 1), repeat=len(SWITCHES)):
        flags = [f"-D{name}={value}" for name, value in zip(SWITCHES, values, strict=True)]
        assert preprocessed(one, bpf_folder, flags) == preprocessed(bpf_folder / program, bpf_folder, flags)
