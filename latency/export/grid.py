"""A histogram as the formats want it: cumulative in wide buckets, or exponential with a bucket for next to nothing.

Nothing is put into other buckets than pylat's own: wider ones are sums of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import inf, ldexp, sqrt
from typing import Any, NamedTuple

import numpy as np

from latency.errors import UsageError
from latency.export.families import Exemplar
from latency.histogram import BUCKET_MIN, SCALE, Counts, Histogram

CLASSIC_SCALE = 1
CLASSIC = range(-20 * 2, 10 * 2 + 1)
"""The classic buckets end at 2^(k/2) seconds, k of these: 0.95 µs to 17 min, two to a power of two. They are the same
for each series, since sums over series would be wrong where one has a bucket that another lacks; a histogram of scale 0
has every other one."""
ZERO_THRESHOLD_S = 2 ** (BUCKET_MIN / 2**SCALE)
"""The first bucket of a recorded histogram has no lower bound: all up to this, 64 ns, is next to nothing."""


def bound(k: int) -> float:
    """Where the classic bucket k ends, in seconds."""
    # A square root is rounded alike everywhere, and a power of two times it is not rounded again.
    return ldexp(sqrt(2) if k % 2 else 1.0, k // 2)


class Bucket(NamedTuple):
    """A classic bucket.

    Attributes:
        bound_s: where it ends, inclusive; infinite of the last one.
        reached: calls in it and in those below.
        exemplar: the longest of the calls in it that are known one by one.
    """

    bound_s: float
    reached: int
    exemplar: Exemplar | None = None


def classic(histogram: Histogram, exemplars: Sequence[Exemplar] = ()) -> list[Bucket]:
    """All classic buckets.

    Args:
        exemplars: the longest first.
    """
    coarse = histogram.downscale(min(histogram.scale, CLASSIC_SCALE))
    bounds, ends = _ends(coarse.scale)
    counted = np.concatenate([[0], coarse.counts.cumsum()])
    upto = counted[np.clip(ends - (coarse.offset - 1), 0, len(coarse.counts))].tolist()
    upto.append(int(counted[-1]))
    if not exemplars:
        return list(map(Bucket, bounds, upto))
    found, waiting = [], list(exemplars)
    for bound_s, reached in zip(bounds, upto, strict=True):
        longer = [each for each in waiting if each.duration_ns > bound_s * 1e9]
        found.append(Bucket(bound_s, reached, waiting[len(longer)] if len(longer) < len(waiting) else None))
        waiting = longer
    return found


@cache
def _ends(scale: int) -> tuple[list[float], np.ndarray[Any, Any]]:
    """(Where all classic buckets end, seconds; the buckets of this scale that end where all but the last do.)"""
    step = 2 ** (CLASSIC_SCALE - scale)
    ends = [k for k in CLASSIC if k % step == 0]
    return [*map(bound, ends), inf], np.array(ends) // step


@dataclass(frozen=True, slots=True)
class Exponential:
    """An exponential histogram.

    Attributes:
        scale: 2^scale buckets make one power of two: OpenTelemetry's scale and Prometheus' schema.
        zero_count: calls of at most ``ZERO_THRESHOLD_S``; they are in no other bucket.
        offset: the bucket of ``counts[0]``, on pylat's grid: it ends at 2^(offset/2^scale) seconds. That is Prometheus'
            number of it; OpenTelemetry's is one less.
        counts: calls in each bucket, int64, without zeros at either end.
    """

    scale: int
    zero_count: int
    offset: int
    counts: Counts


def exponential(histogram: Histogram, scale: int = SCALE) -> Exponential:
    """The histogram on a grid of this scale, or of its own where that is coarser.

    Raises:
        UsageError: there is no such scale.
    """
    if not 0 <= scale <= SCALE:
        raise UsageError(f"there are no exponential histograms of scale {scale}", f"give one from 0 to {SCALE}")
    zero, rest = 0, histogram
    if histogram.scale == SCALE and histogram.offset == BUCKET_MIN and len(histogram.counts):
        zero = int(histogram.counts[0])
        rest = Histogram(SCALE, histogram.offset + 1, histogram.counts[1:], 0, 0, 0)
    coarse = rest.downscale(min(scale, rest.scale))
    return Exponential(coarse.scale, zero, coarse.offset, coarse.counts)
