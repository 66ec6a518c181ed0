"""The distribution of calls of which some were cut: how long these had run is known, and not how long they took.

A measurement in slices sees the ends of short calls more often than those of long ones. Left out, the cut calls would
make every percentile too small. Kaplan and Meier's estimate (1958) counts each of them among those that reached its
age. It is right for the calls that began within a slice, which are a fair sample of all: the slices begin and end
without regard to the calls.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latency.histogram import Floats, Histogram


def quantiles(complete: Histogram, cut: Histogram, qs: Sequence[float]) -> tuple[Floats, Floats]:
    """Quantiles of the latency of all calls.

    Args:
        complete: the calls that ended.
        cut: the ages at which the others were seen last. Within a bucket they count as older than those that ended.
        qs: 0 .. 1.

    Returns:
        Nanoseconds of each quantile, nan where too many calls were cut to tell it; and where it is nan, what it is at
        least, else nan. Without cut calls the first is ``complete.quantiles(qs)``. All nan without calls.
    """
    found, at_least = np.full((2, len(qs)), np.nan)
    scale = min(complete.scale, cut.scale)
    ended, lost = complete.downscale(scale), cut.downscale(scale)
    used = [part for part in (ended, lost) if len(part.counts)]
    if not used:
        return found, at_least
    oldest_ns = float(max(part.max_ns for part in used))
    if not len(ended.counts):
        return found, np.full(len(qs), oldest_ns)
    first = min(part.offset for part in used)
    size = max(part.offset + len(part.counts) for part in used) - first
    ends, cuts = np.zeros((2, size))
    for counts, part in ((ends, ended), (cuts, lost)):
        counts[part.offset - first :][: len(part.counts)] = part.counts
    reaching = (ends + cuts)[::-1].cumsum()[::-1]
    reached = 1.0 - np.cumprod(1.0 - ends / np.maximum(reaching, 1.0))
    for column, q in enumerate(qs):
        at = int(np.searchsorted(reached, q * (1 - 1e-12)))
        at = max(at, int(ends.nonzero()[0][0]))
        if at == size:
            at_least[column] = oldest_ns
            continue
        before = reached[at - 1] if at else 0.0
        low, high = ended.bounds_ns(first + at)
        low = max(ended.min_ns, 1.0) if first + at == ended.offset else low
        high = max(ended.max_ns, 1.0) if first + at == ended.offset + len(ended.counts) - 1 else high
        share = min(max((q - before) / (reached[at] - before), 0.0), 1.0)
        found[column] = low * (high / low) ** share
    return found, at_least
