"""Latencies against what the program under test measured of the same calls: from within each, and from around it.

All clocks are one (CLOCK_MONOTONIC), and a probe's look at it lies between two looks of the program's own, whatever
else the machine does. So it is no matter how busy it is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from latency.histogram import Histogram, longest_ns

CLOCK_NS = 500
"""The clock of CPython 3.6 is a floating-point number of seconds."""


def outside(measured: Histogram, inner_ns: ArrayLike, outer_ns: ArrayLike) -> list[str]:
    """What does not lie between the two, in words; empty where all is right.

    No call was shorter than from within nor longer than from around: so it is of their number, of their sum, and up to
    the end of each bucket.

    Args:
        inner_ns, outer_ns: of each call, nanoseconds; in any order.
    """
    inner, outer = (np.sort(np.asarray(each, np.int64)) for each in (inner_ns, outer_ns))
    if not measured.count == len(inner) == len(outer):
        return [f"{measured.count} calls, and {len(inner)} and {len(outer)}"]
    found = []
    least, most = inner.sum() - CLOCK_NS * len(inner), outer.sum() + CLOCK_NS * len(outer)
    if not least <= measured.sum_ns <= most:
        found.append(f"the sum is {measured.sum_ns} ns, and not {least} to {most}")
    ends = np.array([longest_ns(measured.offset + place) for place in range(len(measured.counts))])
    fewest = np.searchsorted(outer, ends - CLOCK_NS, "right")
    highest = np.searchsorted(inner, ends + CLOCK_NS, "right")
    for end, counted, low, high in zip(ends, measured.counts.cumsum(), fewest, highest, strict=True):
        if not low <= counted <= high:
            found.append(f"{counted} calls up to {end} ns, and not {low} to {high}")
    return found
