"""The programs of ``bpf/``: what one consists of as one text, and when one is compiled anew."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from latency import resources
from latency.tracing.kernel.compiler import _key
from latency.tracing.kernel.sources import whole

BPF = resources.directory("bpf")
PROGRAMS = sorted(path.name for path in BPF.glob("*.bpf.c"))


def test_headers_stand_where_they_are_included_first_and_below_their_names(tmp_path: Path) -> None:
    (tmp_path / "a.h").write_text('#include "b.h"\nint a;\n')
    (tmp_path / "b.h").write_text("int b;\n")
    (tmp_path / "program.c").write_text('#include <of/others.h>\n#include "a.h"\n#include "b.h"\nint c;\n')
    assert whole(tmp_path / "program.c") == (
        "#include <of/others.h>\n/* a.h */\n/* b.h */\nint b;\nint a;\nint c;\n"
    )  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_holds_each_of_its_headers_once(program: str) -> None:
    text = whole(BPF / program)
    headers = re.findall(r"^/\* (\w+\.h) \*/$", text, re.MULTILINE)
    guards = re.findall(r"^#define (PYLAT_(?:\w+_)?H)$", text, re.MULTILINE)
    assert '#include "' not in text
    assert len(headers) == len(set(headers)) == len(guards) == len(set(guards)) > 2


def test_every_header_belongs_to_a_program() -> None:
    texts = "".join(whole(BPF / program) for program in PROGRAMS)
    assert [header.name for header in BPF.glob("*.h") if f"/* {header.name} */\n" not in texts] == []


def test_a_change_of_any_file_is_another_program(tmp_path: Path) -> None:
    folder = tmp_path / "bpf"
    shutil.copytree(BPF, folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    keys = {_key(folder, "pylat.bpf.c", ["-DPYLAT_SPLIT=1"], ["pylat_entry"])}
    for file in files:
        file.write_text(file.read_text() + "\n")
        keys.add(_key(folder, "pylat.bpf.c", ["-DPYLAT_SPLIT=1"], ["pylat_entry"]))
    assert len(keys) == len(files) + 1
