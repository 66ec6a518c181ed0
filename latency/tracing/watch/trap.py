"""What a hit of a watchpoint takes: a byte of pylat's own is read, with one and without."""

from __future__ import annotations

import ctypes
import time

_READS_OF_A_RUN, _RUNS = 100, 12
CALIBRATION_READS = _READS_OF_A_RUN * _RUNS


def reading_ns(byte: ctypes.c_ubyte) -> float:
    """What one read of the byte takes from here, nanoseconds: the mean of the fastest run."""
    best = float("inf")
    for _ in range(_RUNS):
        begin = time.perf_counter_ns()
        for _ in range(_READS_OF_A_RUN):
            byte.value  # noqa: B018  the read is what is timed
        best = min(best, time.perf_counter_ns() - begin)
    return best / _READS_OF_A_RUN
