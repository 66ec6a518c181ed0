"""``latency/tracing/markers/wire.py`` against ``bpf/markers.h``, as a C compiler sees it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest

from latency.tracing.markers import wire as markers_wire

CONSTANTS = {
    "PYLAT_MARKER_DEPTH": markers_wire.DEPTH,
    "PYLAT_MARKER_ITEMS": markers_wire.ITEMS,
    "PYLAT_MARKER_NAME_BYTES": markers_wire.NAME_BYTES,
    "PYLAT_ARGUMENT_PRESENT": markers_wire.PRESENT,
    "PYLAT_ARGUMENT_SIGNED": markers_wire.SIGNED,
    "PYLAT_ARGUMENT_MEMORY": markers_wire.MEMORY,
    "PYLAT_NO_REGISTER": markers_wire.NO_REGISTER,
    "PYLAT_MARKER_KEYED": markers_wire.KEYED,
    "PYLAT_MARKER_OWN": markers_wire.OWN,
    "PYLAT_MARKER_OUTCOME": markers_wire.OUTCOME,
}


def members() -> list[tuple[str, str]]:
    return [(struct, name) for struct, dtype in markers_wire.STRUCTS.items() for name in dtype.names or ()]


@pytest.fixture(scope="module")
def header(compile_bpf: Callable[..., ctypes.CDLL]) -> ctypes.CDLL:
    """The header, compiled: a member that only ``markers_wire`` has does not compile."""
    layout = [f"{{ offsetof(struct {s}, {m}), sizeof(((struct {s} *)0)->{m}) }}" for s, m in members()]
    sizes = [f"sizeof(struct {name})" for name in markers_wire.STRUCTS]
    return compile_bpf(
        '#include <stddef.h>\n#include "markers.h"\n'
        f"int layout[][2] = {{ {', '.join(layout)} }};\nint sizes[] = {{ {', '.join(sizes)} }};\n"
        f"int constants[] = {{ {', '.join(CONSTANTS)} }};\n"
    )


def test_every_member_lies_where_the_header_puts_it(header: ctypes.CDLL) -> None:
    flat = list((ctypes.c_int * (2 * len(members()))).in_dll(header, "layout"))
    compiled = dict(zip(members(), zip(flat[::2], flat[1::2], strict=True), strict=True))
    mirrored = {
        (struct, name): (offset, member.itemsize)
        for struct, dtype in markers_wire.STRUCTS.items()
        for name, (member, offset, *_) in (dtype.fields or {}).items()
    }
    assert mirrored == compiled


def test_every_struct_has_the_size_that_the_header_gives_it(header: ctypes.CDLL) -> None:
    compiled = list((ctypes.c_int * len(markers_wire.STRUCTS)).in_dll(header, "sizes"))
    assert [dtype.itemsize for dtype in markers_wire.STRUCTS.values()] == compiled


def test_every_constant_has_the_value_that_the_header_gives_it(header: ctypes.CDLL) -> None:
    assert list((ctypes.c_int * len(CONSTANTS)).in_dll(header, "constants")) == list(CONSTANTS.values())
