"""``bpf/histogram.h`` against exact integers: never floats, which are wrong for some values above 3.8e13."""

from __future__ import annotations

import ctypes
import random
import re
from bisect import bisect_left
from collections.abc import Callable
from math import isqrt
from pathlib import Path

import numpy as np
import pytest

from latency.histogram import BUCKET_MIN, BUCKETS, SCALE, Histogram

SOURCE = """
#include "histogram.h"
u32 bucket(u64 ns) { return pylat_bucket(ns); }
void buckets(const u64 *ns, u32 *out, int n) { for (int i = 0; i < n; i++) out[i] = pylat_bucket(ns[i]); }
int constants[] = { PYLAT_SCALE, PYLAT_BUCKETS, PYLAT_BUCKET_MIN };
"""


def root16(value: int) -> int:
    """The 16th root of an integer, rounded down."""
    for _ in range(4):
        value = isqrt(value)
    return value


def longest_ns(p: int) -> int:
    """The longest whole number of nanoseconds in bucket p: floor(10^9 * 2^(p/16))."""
    return root16(10**144 << p if p >= 0 else 10**144 >> -p)


# The last counter takes everything above, so the bound of the bucket before it is the last one.
BOUNDS = [longest_ns(p) for p in range(-382, -382 + 575)]


def oracle(ns: int) -> int:
    return bisect_left(BOUNDS, ns)


@pytest.fixture(scope="module")
def native(compile_bpf: Callable[..., ctypes.CDLL]) -> ctypes.CDLL:
    library = compile_bpf(SOURCE)
    library.bucket.argtypes, library.bucket.restype = [ctypes.c_uint64], ctypes.c_uint32
    return library


def indices(native: ctypes.CDLL, values: list[int]) -> list[int]:
    given, found = np.array(values, np.uint64), np.zeros(len(values), np.uint32)
    native.buckets(given.ctypes.data_as(ctypes.c_void_p), found.ctypes.data_as(ctypes.c_void_p), len(values))
    return [int(index) for index in found]


def test_every_boundary_and_its_neighbours_are_in_the_right_bucket(native: ctypes.CDLL) -> None:
    near = [bound + step for bound in BOUNDS for step in (-2, -1, 0, 1, 2)]
    assert indices(native, near) == [oracle(ns) for ns in near]


def test_the_upper_bound_of_a_bucket_is_inclusive(native: ctypes.CDLL) -> None:
    second = native.bucket(10**9)
    assert second + BUCKET_MIN == 0
    assert native.bucket(10**9 + 1) == second + 1


def test_every_power_of_two_up_to_64_bits_and_its_neighbours(native: ctypes.CDLL) -> None:
    near = [ns for e in range(65) for ns in range((1 << e) - 2, (1 << e) + 3) if 0 <= ns < 1 << 64]
    assert indices(native, near) == [oracle(ns) for ns in near]


def test_random_values_of_every_magnitude(native: ctypes.CDLL) -> None:
    rng = random.Random(4)
    values = [rng.getrandbits(rng.randint(1, 64)) for _ in range(200_000)]
    assert indices(native, values) == [oracle(ns) for ns in values]


@pytest.mark.parametrize(("ns", "index"), [(0, 0), (64, 0), (65, 1), (4096 * 10**9, 574), ((1 << 64) - 1, 575)])
def test_what_is_too_short_or_too_long_is_counted_at_the_ends(native: ctypes.CDLL, ns: int, index: int) -> None:
    assert native.bucket(ns) == index


def test_the_constants_in_the_header_are_the_exact_roots(bpf_folder: Path) -> None:
    written = re.findall(r"PYLAT_ABOVE\(ns, (0x[0-9a-f]+)ULL\)", (bpf_folder / "histogram.h").read_text())
    assert [int(text, 16) for text in written] == [root16(10**144 << p + 33 * 16) for p in range(-14, 2)]


def test_python_and_the_header_share_one_grid(native: ctypes.CDLL) -> None:
    constants = (ctypes.c_int * 3).in_dll(native, "constants")
    assert list(constants) == [SCALE, BUCKETS, BUCKET_MIN]
    values = [0, 64, 65, *BOUNDS, *(bound + 1 for bound in BOUNDS), 10**15]
    expected = np.bincount(indices(native, values), minlength=BUCKETS)
    assert np.array_equal(Histogram.from_values(values).dense(), expected)
