"""``bpf/capture.h`` takes along what objects hold: run on this process's own, which then change."""

from __future__ import annotations

import ctypes
import datetime
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from latency.cpython.offsets import load
from latency.cpython.sites import SitePlan
from latency.cpython.values import Memory, Reader
from latency.target.build import identify
from latency.target.process import Process
from latency.tracing.counted import capture
from latency.tracing.counted.parameters import cflags, defined

OFFSETS = load(sys.version_info[:2])
IGNORED = [f"-Wno-{name}" for name in ("type-limits", "unused-parameter", "unused-variable", "unknown-pragmas")]
"""Of the text that other versions need."""
SHIM = """
#define _GNU_SOURCE
#include <stddef.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
static long native_read(void *to, unsigned size, const void *from)
{
    struct iovec here = {to, size}, there = {(void *)from, size};
    if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) == size)
        return 0;
    memset(to, 0, size); /* as bpf_probe_read_user does */
    return -14;
}
#define BPF_FUNC_probe_read_user native_read
#define BPF_FUNC_probe_read_user_str native_read
#define BPF_FUNC_probe_read_kernel native_read
struct pt_regs;
#include "pylat.h"
typedef int s32;
#include "capture.h"
int layout[] = {sizeof(struct pylat_snapshot), offsetof(struct pylat_snapshot, stream), sizeof(struct pylat_block),
                sizeof(struct pylat_worklist), offsetof(struct pylat_worklist, extent), sizeof(struct pylat_extent),
                PYLAT_SNAPSHOT_BYTES, PYLAT_BLOCK_BYTES, PYLAT_QUEUED};
int take(struct pylat_worklist *work, struct pylat_snapshot *to, u64 array, u32 count, u64 code_type)
{
    int rounds = 1;
    pylat_begin_with_values(work, to, array, count);
    while (pylat_take_along(work, to, code_type))
        rounds++;
    return rounds;
}
void take_both(struct pylat_worklist *work, struct pylat_snapshot *to, u64 address, u64 words)
{
    pylat_begin_with_object(work, to, address);
    pylat_enqueue(work, address, words, 1);
    while (pylat_take_along(work, to, 0))
        ;
}
"""


class User:
    def __init__(self, **attributes: object) -> None:
        self.__dict__.update(attributes)


class Taken:
    """Takes along what some objects hold, and describes it from that and, with ``beneath``, from the process now."""

    def __init__(self, library: ctypes.CDLL, process: Process) -> None:
        build = identify(process)
        self._take = library.take
        self._take.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint64]
        self._process = process
        self._reader = Reader(process, build, OFFSETS)
        self._code_type = build.address("PyCode_Type")
        self._work = np.zeros(1, capture.WORKLIST)

    def __call__(self, *values: object) -> np.ndarray[Any, Any]:
        to = np.zeros(1, capture.SNAPSHOT)
        array = (ctypes.c_uint64 * len(values))(*map(id, values))
        self._take(self._work.ctypes.data, to.ctypes.data, ctypes.addressof(array), len(values), self._code_type)
        return to[0]

    def described(self, taken: Any, value: object, *, beneath: Memory | None = None) -> tuple[str, int]:
        """(its text, how often the process was asked)."""
        snapshot = capture.Snapshot(taken["stream"][: taken["bytes"]].tobytes(), beneath)
        return self._reader.describe(id(value), memory=snapshot), snapshot.later

    def alone(self, taken: Any, value: object) -> str:
        """Its text from what was taken along, and from classes."""
        stream = taken["stream"][: taken["bytes"]].tobytes()
        snapshot = capture.Snapshot(stream, capture.NOTHING, classes=self._process)
        return self._reader.describe(id(value), memory=snapshot)


@pytest.fixture(scope="module")
def library(compile_bpf: Callable[..., ctypes.CDLL]) -> ctypes.CDLL:
    plan = SitePlan(engine="handlers", sites=(), places={}, start_by="oparg")
    flags = [*cflags(OFFSETS, plan, every_function=False), *defined(capture.capture_flags(OFFSETS))]
    return compile_bpf(SHIM, "-fno-strict-aliasing", *IGNORED, "-DPYLAT_FOLLOWED=128", *flags)


@pytest.fixture(scope="module")
def taken(library: ctypes.CDLL) -> Iterator[Taken]:
    with Process(os.getpid()) as process:
        yield Taken(library, process)


def test_the_dtypes_have_the_layout_of_the_header(library: ctypes.CDLL) -> None:
    mirrored = [
        capture.SNAPSHOT.itemsize, 8, capture.BLOCK.itemsize,
        capture.WORKLIST.itemsize, capture.WORKLIST.fields["extent"][1], capture.EXTENT.itemsize,
        capture.SNAPSHOT_BYTES, capture.BLOCK_BYTES, capture.QUEUED,
    ]  # fmt: skip
    assert mirrored == list((ctypes.c_int * len(mirrored)).in_dll(library, "layout"))


VALUES: list[Any] = [
    None, 0, -1, 10**100, 1.5, 2j, "", "a", "größe", "\ud800", "\U0001f600" * 150, "x" * 150, b"\x00\xff", b"y" * 190,
    (), (1, (2, "three")), [], [1, [2, {"four": [5]}]], list(range(1000, 1028)), {}, {"a": 1, "b": {"c": [None]}},
    {number: str(number) for number in range(2000, 2025)}, set(), {1, "a"}, frozenset([2.5]), {*range(3000, 3008)},
    datetime.datetime(2026, 11, 23, 5), ValueError("x", [1]), bytearray(), User(id=7, name="Ada"), User(), User,
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=[f"{type(it).__name__}-{at}" for at, it in enumerate(VALUES)])
def test_a_value_within_the_bounds_is_taken_along_whole(taken: Taken, value: object) -> None:
    with Process(os.getpid()) as process:
        whole = taken._reader.describe(id(value), memory=process)
        snapshot = taken(value)
        text, later = taken.described(snapshot, value, beneath=process)
    assert text == whole
    assert not later
    assert taken.alone(snapshot, value) == whole


def test_what_changes_afterwards_does_not_change_the_text(taken: Taken) -> None:
    inner, user = [1, "two"], User(name="Ada")
    value = {"inner": inner, "user": user}
    with Process(os.getpid()) as process:
        before = taken._reader.describe(id(value))
        snapshot = taken(value)
        inner[:] = ["other"] * 50
        user.name = "Eve"
        value.clear()
        assert taken.described(snapshot, value, beneath=process) == (before, 0)


def test_what_lies_beyond_the_bounds_is_asked_of_the_process_and_counted(taken: Taken) -> None:
    value = [[str(1000 + 30 * row + column) for column in range(30)] for row in range(30)]
    with Process(os.getpid()) as process:
        text, later = taken.described(taken(value), value, beneath=process)
        assert text == taken._reader.describe(id(value))
    assert later > 0


def test_where_nothing_is_asked_later_what_lies_beyond_the_bounds_is_an_ellipsis(taken: Taken) -> None:
    value = [[str(1000 + 30 * row + column) for column in range(30)] for row in range(30)]
    snapshot = taken(value)
    whole = taken._reader.describe(id(value))
    value.clear()
    text = taken.alone(snapshot, value)
    assert text != whole
    assert text.startswith(whole[:20])
    assert "…" in text
    assert "unreadable" not in text


def addresses(taken: Any) -> set[int]:
    """Of all blocks."""
    stream, at, found = taken["stream"][: taken["bytes"]].tobytes(), 0, set()
    while at < len(stream):
        address, size, _ = np.frombuffer(stream, capture.BLOCK, 1, at)[0]
        found.add(int(address))
        at += capture.BLOCK.itemsize + int(size)
    return found


def test_memory_in_which_no_object_lies_is_taken_along_and_leads_nowhere(taken: Taken) -> None:
    elsewhere = [[number] for number in range(1000, 1032)]
    value = bytearray(np.array([id(each) for each in elsewhere], np.uint64).tobytes())
    snapshot = taken(value)
    assert taken.alone(snapshot, value)[:20] == repr(value)[:20]
    assert addresses(snapshot).isdisjoint(map(id, elsewhere))


def test_an_array_that_begins_where_an_object_lies_is_taken_along_too(library: ctypes.CDLL, taken: Taken) -> None:
    """As the values of an instance do, to 3.12: what is taken begins in front of them, where anything may lie."""
    items = [[number] for number in range(1000, 1008)]
    value = (ctypes.c_uint64 * 10)(1, id(int), *map(id, items))  # an object of two words, as it seems, and the rest
    to = np.zeros(1, capture.SNAPSHOT)
    library.take_both.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64]
    library.take_both(taken._work.ctypes.data, to.ctypes.data, ctypes.addressof(value), len(value))
    assert addresses(to[0]) >= set(map(id, items))


def test_a_snapshot_stays_within_its_bounds_and_ends_for_a_cycle(taken: Taken) -> None:
    cycle: list[Any] = [{"number": number, "text": "x" * 900} for number in range(500)]
    cycle.append(cycle)
    snapshot = taken(*[cycle] * 200)
    assert 0 < snapshot["bytes"] <= capture.SNAPSHOT_BYTES + capture.BLOCK_BYTES + capture.BLOCK.itemsize
    assert snapshot["blocks"] <= capture.QUEUED


def test_any_words_may_stand_where_values_are_expected(taken: Taken) -> None:
    random = np.random.default_rng(1)
    words = random.integers(0, 1 << 63, 64, np.uint64) >> random.integers(0, 60, 64, np.uint64)
    to = np.zeros(1, capture.SNAPSHOT)
    taken._take(taken._work.ctypes.data, to.ctypes.data, words.ctypes.data, 64, 0)
    first = to[0]["stream"][16 : 16 + 512].tobytes()
    assert first == words.tobytes()


def test_captures_beyond_the_16_bits_of_their_number_take_along_the_same(taken: Taken) -> None:
    value = [1000, "text", {"key": 2.5}]
    expected = taken(value)["stream"]
    taken._work["number"] = 0xFFFE
    for _ in range(4):
        assert (taken(value)["stream"][32:200] == expected[32:200]).all()
