"""``bpf/statistics.h``: whoever goes beyond what stands in the statistics is told so, and keeps it elsewhere, too."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import pytest

from latency.tracing.counted import wire

SHIM = """
#include "statistics.h"
int add(struct pylat_statistics *of, u64 ns)
{
    return pylat_count_latency(of, ns);
}
"""


@pytest.fixture(scope="module")
def add(compile_bpf: Callable[..., ctypes.CDLL]) -> Callable[[np.ndarray, int], int]:  # type: ignore[type-arg]
    function = compile_bpf(SHIM).add
    function.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
    return lambda row, ns: int(function(row.ctypes.data, ns))


def test_what_is_shorter_or_longer_than_all_before_is_told(add: Callable[..., int]) -> None:
    row = np.zeros(1, wire.STATISTICS)
    told = [add(row, ns) for ns in (50, 50, 40, 60, 41, 59, 0, 1, 60, 61)]
    assert told == [1, 0, 1, 1, 0, 0, 1, 0, 0, 1]
    assert (row["min_ns"][0], row["max_ns"][0], row["counts"].sum()) == (1, 61, 10)


def test_a_value_that_another_thread_overwrote_with_an_older_one_was_told(add: Callable[..., int]) -> None:
    row, own = np.zeros(1, wire.STATISTICS), []
    for ns in (50, 30):
        if add(row, ns):
            own.append(ns)
    row["min_ns"] = 40  # by a thread that saw 50
    assert min(own) == 30
    assert add(row, 39) == 1  # more than needed is told, never less


def test_a_call_of_which_nothing_is_left_took_a_nanosecond(add: Callable[..., int]) -> None:
    row = np.zeros(1, wire.STATISTICS)
    add(row, 0)
    assert (row["min_ns"][0], row["max_ns"][0], row["sum_ns"][0]) == (1, 1, 1)
