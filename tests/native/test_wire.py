"""``latency/tracing/counted/wire.py`` against ``bpf/pylat.h``, as a C compiler sees it."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latency.histogram import BUCKETS
from latency.tracing.counted import wire

Structs = Mapping[str, np.dtype[Any]]


def members(structs: Structs = wire.STRUCTS) -> list[tuple[str, str]]:
    return [(struct, name) for struct, dtype in structs.items() for name in dtype.names or ()]


def source(structs: Structs = wire.STRUCTS) -> str:
    layout = [f"{{ offsetof(struct {s}, {m}), sizeof(((struct {s} *)0)->{m}) }}" for s, m in members(structs)]
    return "\n".join(
        [
            '#include <stddef.h>\n#include "pylat.h"',
            f"int layout[][2] = {{ {', '.join(layout)} }};",
            f"int sizes[] = {{ {', '.join(f'sizeof(struct {name})' for name in wire.STRUCTS)} }};",
            f"int constants[] = {{ {', '.join(wire.header_constants())} }};",
            "int buckets = PYLAT_BUCKETS;",
        ]
    )


@pytest.fixture(scope="module")
def header(compile_bpf: Callable[..., ctypes.CDLL]) -> ctypes.CDLL:
    """The header, compiled: a member that only ``wire`` has does not compile."""
    return compile_bpf(source())


def test_what_a_program_that_splits_times_keeps_lies_where_the_header_puts_it(
    compile_bpf: Callable[..., ctypes.CDLL],
) -> None:
    library = compile_bpf(source(wire.SPLIT_STRUCTS), "-DPYLAT_SPLIT=1")
    flat = ints(library, "layout", 2 * len(members(wire.SPLIT_STRUCTS)))
    mirrored = [
        number
        for dtype in wire.SPLIT_STRUCTS.values()
        for member, offset, *_ in (dtype.fields or {}).values()
        for number in (offset, member.itemsize)
    ]
    assert mirrored == flat
    sizes = [dtype.itemsize for dtype in wire.SPLIT_STRUCTS.values()]
    assert sizes == ints(library, "sizes", len(wire.SPLIT_STRUCTS))


def ints(library: ctypes.CDLL, name: str, count: int) -> list[int]:
    return list((ctypes.c_int * count).in_dll(library, name))


def test_every_member_lies_where_the_header_puts_it(header: ctypes.CDLL) -> None:
    flat = ints(header, "layout", 2 * len(members()))
    compiled = dict(zip(members(), zip(flat[::2], flat[1::2], strict=True), strict=True))
    mirrored = {}
    for struct, dtype in wire.STRUCTS.items():
        for name, (member, offset, *_) in (dtype.fields or {}).items():
            mirrored[struct, name] = (offset, member.itemsize)
    assert mirrored == compiled


def test_every_struct_has_the_size_that_the_header_gives_it(header: ctypes.CDLL) -> None:
    assert [dtype.itemsize for dtype in wire.STRUCTS.values()] == ints(header, "sizes", len(wire.STRUCTS))


def test_the_header_has_no_padding_and_no_member_that_wire_lacks(header: ctypes.CDLL) -> None:
    sizes = iter(ints(header, "layout", 2 * len(members()))[1::2])
    named = [sum(next(sizes) for _ in dtype.names or ()) for dtype in wire.STRUCTS.values()]
    assert named == ints(header, "sizes", len(wire.STRUCTS))


def test_wire_mirrors_every_struct_of_the_header(bpf_folder: Path) -> None:
    text = (bpf_folder / "pylat.h").read_text()
    assert set(re.findall(r"^struct (\w+) {", text, re.MULTILINE)) == set(wire.STRUCTS)


def test_members_are_unsigned_little_endian_integers() -> None:
    kinds = {dtype[name].base.kind for dtype in wire.STRUCTS.values() for name in dtype.names or ()}
    assert kinds <= {"u", "V"}  # V: an array of structs that is compared by itself
    assert all(dtype == dtype.newbyteorder("<") for dtype in wire.STRUCTS.values())


def test_every_constant_of_the_header_has_its_value_in_wire(header: ctypes.CDLL) -> None:
    names = list(wire.header_constants())
    compiled = dict(zip(names, ints(header, "constants", len(names)), strict=True))
    assert compiled == {name: getattr(wire, name.removeprefix("PYLAT_")) for name in names}
    assert compiled == wire.header_constants()


def test_flags_are_single_bits_and_different() -> None:
    flags = {wire.WANTED, wire.SUSPENDS, wire.RESUMED}
    assert [flag.bit_count() for flag in flags] == [1, 1, 1]


def test_slots_fit_their_members_and_leave_room_for_none() -> None:
    assert np.iinfo(wire.OPEN["slot"]).max == wire.NO_SLOT == np.iinfo(wire.FUNCTION["active_slot"]).max


def test_statistics_have_one_counter_for_each_bucket(header: ctypes.CDLL) -> None:
    assert ctypes.c_int.in_dll(header, "buckets").value == BUCKETS
    assert wire.STATISTICS["counts"].shape == (BUCKETS,)


def test_the_table_is_a_power_of_two_because_its_indices_are_masked() -> None:
    assert wire.DEPTH & (wire.DEPTH - 1) == 0


def test_losses_are_all_counters_from_unmatched_return_on() -> None:
    names = list(wire.COUNTERS.names or ())
    assert list(wire.LOSSES) == names[names.index("unmatched_return") :]
