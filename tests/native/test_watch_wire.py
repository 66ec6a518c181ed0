"""``latency/tracing/watch/wire.py`` against ``bpf/watch.h``, as a C compiler sees it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest

from latency.cpython.sites.fetches import MOST_PARTS
from latency.tracing.watch import wire as watch_wire


def members() -> list[tuple[str, str]]:
    return [(struct, name) for struct, dtype in watch_wire.STRUCTS.items() for name in dtype.names or ()]


@pytest.fixture(scope="module")
def header(compile_bpf: Callable[..., ctypes.CDLL]) -> ctypes.CDLL:
    """The header, compiled: a member that only ``watch_wire`` has does not compile."""
    layout = [f"{{ offsetof(struct {s}, {m}), sizeof(((struct {s} *)0)->{m}) }}" for s, m in members()]
    sizes = [f"sizeof(struct {name})" for name in watch_wire.STRUCTS]
    return compile_bpf(
        '#include <stddef.h>\n#include "watch.h"\n'
        f"int layout[][2] = {{ {', '.join(layout)} }};\nint sizes[] = {{ {', '.join(sizes)} }};\n"
        "int most[] = { PYLAT_WATCHED, PYLAT_WATCH_SLOTS, PYLAT_WATCH_RETURNS, "
        "PYLAT_WATCH_PARTS, PYLAT_WATCH_AGAIN, PYLAT_WATCH_LEAVES };\n"
        "u64 no_part = PYLAT_WATCH_NO_PART;\n"
    )


def test_every_member_lies_where_the_header_puts_it(header: ctypes.CDLL) -> None:
    flat = list((ctypes.c_int * (2 * len(members()))).in_dll(header, "layout"))
    compiled = dict(zip(members(), zip(flat[::2], flat[1::2], strict=True), strict=True))
    mirrored = {
        (struct, name): (offset, member.itemsize)
        for struct, dtype in watch_wire.STRUCTS.items()
        for name, (member, offset, *_) in (dtype.fields or {}).items()
    }
    assert mirrored == compiled


def test_every_struct_has_the_size_that_the_header_gives_it(header: ctypes.CDLL) -> None:
    compiled = list((ctypes.c_int * len(watch_wire.STRUCTS)).in_dll(header, "sizes"))
    assert [dtype.itemsize for dtype in watch_wire.STRUCTS.values()] == compiled


def test_the_header_knows_as_many_of_each(header: ctypes.CDLL) -> None:
    known = (
        *(watch_wire.WATCHED_FUNCTIONS, watch_wire.SLOTS, watch_wire.MOST_RETURNS),
        *(watch_wire.MOST_PARTS, watch_wire.MOST_AGAIN, watch_wire.MOST_LEAVES),
    )
    assert tuple((ctypes.c_int * len(known)).in_dll(header, "most")) == known


def test_the_header_takes_the_same_address_for_none(header: ctypes.CDLL) -> None:
    assert ctypes.c_uint64.in_dll(header, "no_part").value == watch_wire.NO_PART


def test_as_many_stretches_of_code_are_found_as_the_header_has_room_for() -> None:
    assert MOST_PARTS == watch_wire.MOST_PARTS
