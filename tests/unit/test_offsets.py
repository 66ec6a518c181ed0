"""The tables of struct offsets: what they must say, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from latency.cpython.meanings import MEANINGS, PLACES
from latency.cpython.offsets import Field, Offsets, for_build, known, load
from latency.errors import UnsupportedBuild

VERSIONS = [(3, minor) for minor in range(6, 16)]
FREE_THREADED = frozenset({"free-threaded"})
LEGACY, MODERN = VERSIONS[:5], VERSIONS[5:]  # frame objects; _PyInterpreterFrame

# Found in live processes of fourteen builds by other means than generate.py's; None: there is no such thing.
MEASURED: dict[str, list[int | None]] = {
    "frame.code": [32, 32, 32, 32, 32, 32, 0, 0, 0, 0],
    "frame.previous": [24, 24, 24, 24, 24, 48, 8, 8, 8, 8],
    "frame.localsplus": [376, 360, 360, 360, 352, 72, 72, 72, 80, 80],
    "frame.instr": [120, 104, 104, 104, 96, 56, 56, 56, 56, 56],
    "frame.stacktop": [72, 72, 72, 72, None, 64, 64, 64, None, None],
    "frame.executing": [132, 116, 116, 116, None, None, None, None, None, None],
    "frame.state": [None, None, None, None, 108, None, None, None, None, None],
    "frame.blocks": [128, 112, 112, 112, 104, None, None, None, None, None],
    "frame.owner": [None, None, None, None, None, 69, 70, 70, 74, 74],
    "pyframe.f_frame": [None, None, None, None, None, 24, 24, 24, 24, 24],
    "code.filename": [96, 96, 104, 104, 104, 112, 112, 112, 112, 112],
    "code.name": [104, 104, 112, 112, 112, 120, 120, 120, 120, 120],
    "code.qualname": [None, None, None, None, None, 128, 128, 128, 128, 128],
    "code.flags": [32, 32, 36, 36, 36, 48, 48, 48, 48, 48],
    "code.argcount": [16, 16, 16, 16, 16, 56, 52, 52, 52, 52],
    "code.firstlineno": [36, 36, 40, 40, 40, 72, 68, 68, 68, 68],
    "unicode.length": [16] * 10,
    "unicode.state": [32] * 10,
    "unicode.ascii_data": [48, 48, 48, 48, 48, 48, 40, 40, 40, 40],
    "tuple.items": [24, 24, 24, 24, 24, 24, 24, 24, 32, 32],
    "bytes.data": [32] * 10,
}


@pytest.mark.parametrize("meaning", MEASURED)
def test_the_tables_agree_with_what_was_measured(meaning: str) -> None:
    assert [load(version).get(meaning) for version in VERSIONS] == MEASURED[meaning]


def test_every_version_from_3_6_to_3_15_is_known() -> None:
    assert [name for name in known() if "t-" not in name] == [f"3.{minor}-x86_64" for _, minor in VERSIONS]


def test_free_threaded_builds_have_tables_of_their_own() -> None:
    assert [name for name in known() if "t-" in name] == ["3.13t-x86_64", "3.14t-x86_64"]
    for version in ((3, 13), (3, 14)):
        offsets = load(version, flags=FREE_THREADED)
        assert offsets.free_threaded
        assert offsets.source == f"table 3.{version[1]}t"
        # a word and a half come before the counts of references, and the type behind them
        assert (offsets["object.ref_local"], offsets["object.ref_shared"], offsets["object.type"]) == (12, 16, 24)
        assert offsets["code.filename"] == load(version)["code.filename"] + 16
        assert not load(version).free_threaded


def test_threads_have_copies_of_the_units_in_free_threaded_builds_from_3_14_on() -> None:
    known = {"code.tlbc", "frame.tlbc_index"}
    tables = [load((3, 13), flags=FREE_THREADED), load((3, 14)), load((3, 14), flags=FREE_THREADED)]
    assert [known & offsets.fields.keys() for offsets in tables] == [set(), set(), known]
    assert [offsets.string_kind for offsets in tables] == [2, 2, 8]


def test_every_meaning_is_found_in_some_version() -> None:
    found = set().union(*(load(version).fields for version in VERSIONS))
    found |= load((3, 14), flags=FREE_THREADED).fields.keys()
    assert found == MEANINGS.keys() | PLACES.keys()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_has_what_any_measurement_needs(version: tuple[int, int]) -> None:
    offsets = load(version)
    for meaning in ("frame.code", "frame.previous", "code.filename", "code.name", "tstate.frame", "interp.tstate_head"):
        assert offsets.size(meaning) == 8


@pytest.mark.parametrize(("versions", "member"), [(LEGACY, "gen.frame"), (MODERN, "gen.iframe")])
def test_a_generators_frame_is_pointed_to_before_3_11_and_inside_it_since(
    versions: list[tuple[int, int]], member: str
) -> None:
    both = {"gen.frame", "gen.iframe"}
    assert [both & load(version).fields.keys() for version in versions] == [{member}] * len(versions)


@pytest.mark.parametrize(
    ("version", "mask"),
    [((3, 13), 0xFFFF_FFFF_FFFF_FFFF), ((3, 14), 0xFFFF_FFFF_FFFF_FFFC), ((3, 15), 0xFFFF_FFFF_FFFF_FFFC)],
)
def test_frame_words_are_tagged_from_3_14(version: tuple[int, int], mask: int) -> None:
    assert load(version).stackref_mask == mask


def test_a_patch_release_has_its_minor_versions_table() -> None:
    assert load((3, 12, 7)) == load((3, 12))


def test_the_source_is_named_for_the_recording() -> None:
    assert load((3, 11)).source == "table 3.11"


def test_what_a_version_does_not_have_is_absent_or_refused() -> None:
    offsets = load((3, 9))
    assert "frame.owner" not in offsets
    assert offsets.get("frame.owner") is None
    with pytest.raises(UnsupportedBuild, match=r"CPython 3\.9 has no 'frame\.owner'"):
        offsets["frame.owner"]


@pytest.mark.parametrize(
    ("version", "machine", "flags", "words"),
    [
        ((3, 16), "x86_64", frozenset(), "CPython 3.16 on x86_64"),
        ((3, 5), "x86_64", frozenset(), "CPython 3.5 on x86_64"),
        ((4, 0), "x86_64", frozenset(), "CPython 4.0 on x86_64"),
        ((3, 12), "aarch64", frozenset(), "CPython 3.12 on aarch64"),
        ((3, 16), "x86_64", frozenset({"free-threaded"}), "free-threaded CPython 3.16 on x86_64"),
    ],
)
def test_an_unknown_build_is_refused_and_told_what_is_known(
    version: tuple[int, int], machine: str, flags: frozenset[str], words: str
) -> None:
    with pytest.raises(UnsupportedBuild) as refusal:
        load(version, machine, flags)
    assert words in str(refusal.value)
    assert "3.15-x86_64" in refusal.value.hint
    assert "offsets/README.md" in refusal.value.hint


@pytest.mark.parametrize("flag", ["free-threaded", "debug"])
def test_an_odd_build_of_a_known_version_is_refused_with_the_way_out(flag: str) -> None:
    with pytest.raises(UnsupportedBuild, match=f"{flag} CPython 3.15 on x86_64") as refusal:
        load((3, 15), "x86_64", frozenset({flag, "dtrace"}))
    assert "an ordinary build" in refusal.value.hint


def test_flags_that_change_no_struct_do_not_choose_the_table() -> None:
    assert load((3, 14), flags=frozenset({"jit", "dtrace"})) == load((3, 14))


def test_the_first_candidate_that_is_there_gives_the_meaning(tmp_path: Path) -> None:
    table = minimal()
    table["structs"]["_PyInterpreterFrame"] = {"f_code": [40, 8]}
    assert written(table, tmp_path)["frame.code"] == 40
    table["structs"]["_PyInterpreterFrame"] = {"f_code": [40, 8], "f_executable": [16, 8]}
    assert written(table, tmp_path)["frame.code"] == 16


def test_a_structs_own_size_is_an_offset_past_its_end(tmp_path: Path) -> None:
    table = minimal()
    table["structs"]["PyASCIIObject"] = {"sizeof": 40}
    assert written(table, tmp_path)["unicode.ascii_data"] == 40


def test_a_target_before_3_13_needs_no_debug_offsets() -> None:
    assert for_build((3, 12, 1), runtime=b"").source == "table 3.12"


def minimal() -> dict[str, Any]:
    """The smallest table that is accepted."""
    return {
        "version": "3.99",
        "machine": "x86_64",
        "flags": [],
        "constants": {},
        "places": {},
        "structs": {
            "PyObject": {"ob_type": [8, 8]},
            "PyFrameObject": {"f_code": [32, 8]},
            "PyCodeObject": {"co_name": [104, 8]},
        },
    }


def written(table: object, folder: Path) -> Offsets:
    (folder / "cpython-3.99-x86_64.json").write_text(table if isinstance(table, str) else json.dumps(table))
    return load((3, 99), directory=folder)


def test_the_smallest_table_is_accepted(tmp_path: Path) -> None:
    assert written(minimal(), tmp_path).fields["frame.code"] == Field(32, 8)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", '"table"', "[" * 100_000, "\ud800", "1" * 10_000, " " * (1 << 21)),
        *('{"version": "3.99"}', '{"version": ["3.99"]}'),
    ],
    ids=lambda text: repr(text[:10]),
)
def test_what_is_no_table_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "cpython-3.99-x86_64.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UnsupportedBuild, match=path.name):
        load((3, 99), directory=tmp_path)


@pytest.mark.parametrize(
    "place",
    [
        *(8, None, "8", [], [8], [8, 8, 8], [8.0, 8], [True, 8], [-8, 8], [8, -8], [1 << 40, 8], ["8", 8]),
        {"offset": 8},
    ],
    ids=repr,
)
def test_a_member_that_cannot_be_is_refused(place: object, tmp_path: Path) -> None:
    table = minimal()
    table["structs"]["PyCodeObject"]["co_flags"] = place
    with pytest.raises(UnsupportedBuild, match=r"PyCodeObject\.co_flags"):
        written(table, tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("version", "3.98"), ("machine", "riscv64"), ("flags", ["debug"]), ("structs", []), ("structs", {})),
        *(("places", None), ("places", {"managed_dict": "-24"}), ("constants", {"FRAME_CREATED": 1.5})),
    ],
)
def test_a_table_of_something_else_is_refused(key: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedBuild, match="is not a table of struct offsets"):
        written({**minimal(), key: value}, tmp_path)


def test_a_directory_without_tables_is_a_clear_refusal(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedBuild) as refusal:
        load((3, 12), directory=tmp_path)
    assert "known: none" in refusal.value.hint
