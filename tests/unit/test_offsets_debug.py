"""``_Py_DebugOffsets``: parsed with suspicion, and compared with the table."""

from __future__ import annotations

import struct

import pytest

from latency.cpython.debug_offsets import READ_BYTES, parse
from latency.cpython.meanings import MEANINGS
from latency.cpython.offsets import Offsets, cross_check, for_build, load
from latency.errors import UnsupportedBuild

CARRIERS = [(3, 13), (3, 14), (3, 15)]
FREE_THREADED = frozenset({"free-threaded"})


def places(offsets: Offsets) -> dict[str, int]:
    """Where in the struct each meaning is told: parsed out of a struct whose every word is its own place."""
    layout = offsets.structs["_Py_DebugOffsets"]
    size = layout["sizeof"].offset
    data = bytearray(b"xdebugpy" + struct.pack(f"<{size // 8 - 1}Q", *range(8, size, 8)))
    struct.pack_into("<Q", data, layout["free_threaded"].offset, int(offsets.free_threaded))
    return dict(parse(bytes(data), layout).values)


def runtime(offsets: Offsets, *, version_hex: int = 0, **changed: int) -> bytes:
    """The start of a ``_PyRuntime`` that says what the table says, except for what is changed (``a__b`` is ``a.b``)."""
    layout = offsets.structs["_Py_DebugOffsets"]
    data = bytearray(layout["sizeof"].offset)
    data[:8] = b"xdebugpy"
    minor = int(offsets.version.split(".")[1])
    struct.pack_into("<Q", data, 8, version_hex or 0x0300_05F0 | minor << 16)
    for meaning, place in places(offsets).items():
        struct.pack_into("<Q", data, place, offsets[meaning])
    struct.pack_into("<Q", data, layout["free_threaded"].offset, int(offsets.free_threaded))
    for name, value in changed.items():
        struct.pack_into("<Q", data, layout[name.replace("__", ".")].offset, value)
    return bytes(data)


@pytest.mark.parametrize("version", CARRIERS)
def test_two_agreeing_sources_are_both_named(version: tuple[int, int]) -> None:
    table = load(version)
    checked = for_build(version, runtime=runtime(table))
    assert checked.source == f"debug offsets + table {table.version}"
    assert checked.fields == table.fields


@pytest.mark.parametrize("version", CARRIERS)
def test_every_meaning_taken_from_them_is_one_of_pylats(version: tuple[int, int]) -> None:
    table = load(version)
    values = parse(runtime(table), table.structs["_Py_DebugOffsets"]).values
    assert values.keys() <= MEANINGS.keys()
    assert len(values) > 40


def test_the_version_word_is_read() -> None:
    table = load((3, 13))
    assert parse(runtime(table), table.structs["_Py_DebugOffsets"]).version == (3, 13, 5)


def test_a_disagreement_names_the_meaning_and_both_values() -> None:
    table = load((3, 13))
    with pytest.raises(UnsupportedBuild, match=r"code\.filename is at 112 in table 3\.13, at 120 in the target's"):
        for_build((3, 13), runtime=runtime(table, code_object__filename=120))


def test_another_versions_debug_offsets_are_refused() -> None:
    table = load((3, 13))
    with pytest.raises(UnsupportedBuild, match=r"of CPython 3\.14, not 3\.13"):
        for_build((3, 13), runtime=runtime(table, version_hex=0x030E_0AF0))


def test_a_free_threaded_build_is_refused_by_an_ordinary_table() -> None:
    table = load((3, 13))
    with pytest.raises(UnsupportedBuild, match="free-threaded"):
        for_build((3, 13), runtime=runtime(table, free_threaded=1))


@pytest.mark.parametrize("version", [(3, 13), (3, 14)])
def test_a_free_threaded_build_agrees_with_its_own_table_alone(version: tuple[int, int]) -> None:
    table = load(version, flags=FREE_THREADED)
    checked = for_build(version, flags=FREE_THREADED, runtime=runtime(table))
    assert checked.source == f"debug offsets + table 3.{version[1]}t"
    with pytest.raises(UnsupportedBuild, match="an ordinary build, the table is not"):
        for_build(version, flags=FREE_THREADED, runtime=runtime(table, free_threaded=0))


@pytest.mark.parametrize("name", ["code_object__co_tlbc", "interpreter_frame__tlbc_index"])
def test_where_copies_of_the_units_are_is_compared_too(name: str) -> None:
    table = load((3, 14), flags=FREE_THREADED)
    with pytest.raises(UnsupportedBuild, match="tlbc"):
        for_build((3, 14), flags=FREE_THREADED, runtime=runtime(table, **{name: 8}))


@pytest.mark.parametrize("value", [1 << 16, 1 << 32, (1 << 64) - 1])
def test_an_offset_that_cannot_be_is_refused(value: int) -> None:
    table = load((3, 14))
    with pytest.raises(UnsupportedBuild, match=r"interpreter_frame\.owner: that cannot be"):
        for_build((3, 14), runtime=runtime(table, interpreter_frame__owner=value))


def test_without_the_cookie_there_are_none() -> None:
    with pytest.raises(UnsupportedBuild, match="no _Py_DebugOffsets"):
        for_build((3, 13), runtime=bytes(READ_BYTES))


@pytest.mark.parametrize("version", CARRIERS)
def test_every_truncation_is_refused(version: tuple[int, int]) -> None:
    table = load(version)
    layout = table.structs["_Py_DebugOffsets"]
    whole = runtime(table)
    needed = max(places(table).values()) + 8
    for length in range(0, needed, 8):
        with pytest.raises(UnsupportedBuild):
            parse(whole[:length], layout)


@pytest.mark.parametrize("version", CARRIERS)
def test_the_bytes_to_read_hold_the_whole_struct(version: tuple[int, int]) -> None:
    assert load(version).structs["_Py_DebugOffsets"]["sizeof"].offset <= READ_BYTES


def test_bytes_beyond_the_struct_do_not_matter() -> None:
    table = load((3, 15))
    debug = parse(runtime(table) + b"\xff" * 999, table.structs["_Py_DebugOffsets"])
    assert cross_check(table, debug).fields == table.fields
