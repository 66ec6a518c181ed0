"""``offsets/generate.py``: sources that differ write no table; the tables are what it writes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from offsets import builds, dwarf, generate
from tests.requirements import require

SOURCE = """
#include <stddef.h>
typedef struct { long ob_refcnt; void *ob_type; } PyObject;
typedef const struct Tagged {
    PyObject ob_base;
    unsigned char first;
    unsigned int bits : 3;
    union { long whole; struct { short low, high; } parts; };
    struct { char inner[3]; struct { double deep; } below; } nested;
    PyObject embedded;
    enum { FRAME_CREATED = -1 } state;
    void *(*function)(int);
    short flexible[];
} PyListObject;
PyListObject *list; PyObject *object;
"""


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> dwarf.Layout:
    folder = tmp_path_factory.mktemp("dwarf")
    (folder / "made_up.c").write_text(SOURCE)
    subprocess.run(["cc", "-g", "-c", "made_up.c"], cwd=folder, check=True)
    return dwarf.read(folder / "made_up.o", frozenset({"PyListObject", "PyObject"}))[0]


def test_members_are_placed_as_the_compiler_places_them(layout: dwarf.Layout) -> None:
    assert layout.fields["PyListObject"] == {
        "first": (16, 1),
        "whole": (24, 8),
        "parts": (24, 4),
        "parts.low": (24, 2),
        "parts.high": (26, 2),
        "nested": (32, 16),
        "nested.inner": (32, 3),
        "nested.below": (40, 8),
        "nested.below.deep": (40, 8),
        "embedded": (48, 16),
        "state": (64, 4),
        "function": (72, 8),
        "flexible": (80, 0),
    }


def test_the_sizes_of_structs_are_read(layout: dwarf.Layout) -> None:
    assert layout.sizes == {"PyObject": 16, "PyListObject": 80}


def test_the_states_of_a_frame_keep_their_sign(layout: dwarf.Layout) -> None:
    assert layout.enumerators == {"FRAME_CREATED": -1}


def told(**members: tuple[int, int]) -> dwarf.Layout:
    return dwarf.Layout({"PyListObject": members}, {"PyListObject": 40}, {})


def test_two_sources_that_differ_are_both_named() -> None:
    merge = generate.Merge()
    merge.layout("dwarf", "3.12.1", "", told(ob_item=(24, 8)), {})
    with pytest.raises(
        dwarf.Disagreement, match=r"ob_item: \[24, 8\] by dwarf of 3.12.1, \[32, 8\] by offsetof of 3.12.7"
    ):
        merge.layout("offsetof", "3.12.7", "", told(ob_item=(32, 8)), {})


def test_a_member_that_only_one_source_has_is_a_disagreement() -> None:
    merge = generate.Merge()
    merge.layout("dwarf", "3.12.1", "", told(ob_item=(24, 8)), {})
    with pytest.raises(dwarf.Disagreement, match="allocated"):
        merge.layout("offsetof", "3.12.1", "", told(ob_item=(24, 8), allocated=(32, 8)), {})


def test_what_only_one_source_told_is_listed() -> None:
    merge = generate.Merge()
    merge.layout("dwarf", "3.12.1", "", told(ob_item=(24, 8), allocated=(32, 8)), {})
    merge.confirm({"kind": "ctypes", "build": "3.12.1"}, ["PyListObject.ob_item"])
    assert merge.table("3.12")["single_source"] == {"PyListObject": ["allocated", "sizeof"]}


def test_one_source_alone_makes_no_table() -> None:
    with pytest.raises(dwarf.Disagreement, match="neither DWARF nor headers"):
        generate.make("3.12", [builds.Build("3.12.1", Path("/nowhere"), (), None, has_dwarf=False)])


def test_the_tables_are_what_the_builds_of_this_machine_say(capsys: pytest.CaptureFixture[str]) -> None:
    found = builds.find(Path.home() / ".pyenv/versions", [Path("/")])
    complete = [version for version, all_of_it in found.items() if any(it.include for it in all_of_it)]
    require(complete, "no CPython with its internal headers on this machine")
    assert generate.main(["--check", complete[-1]]) == 0, capsys.readouterr().err
