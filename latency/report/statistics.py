"""Whether two sides differ, when the run and not the call is what varies. Pure numbers, many tests at once.

Calls of one run are not independent of each other: what treats them so cries wolf in a quarter of all comparisons.
All here works on logarithms, so that differences are ratios and heavy tails do not rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latency.histogram import Floats

ALPHA = 0.05
"""Two-sided: of comparisons of a program with itself, half as many say slower."""
MIN_RUNS = 5
"""A side with fewer is described and not judged."""
MAX_RUNS = 1000
"""More runs than that are not proposed to anyone."""


class Verdict(Enum):
    """What a comparison says of one statistic of one function."""

    SLOWER = "slower"
    INCONCLUSIVE = "inconclusive"
    FASTER = "faster"
    SAME = "same"
    DESCRIBED = "described"


@dataclass(frozen=True, eq=False)
class Welch:
    """Welch's t-test of each column of two tables. Each attribute has one element for each test.

    Attributes:
        base, head: mean logarithm of each side; nan without runs.
        shift: logarithm of head / base.
        base_runs, head_runs: how many runs have a value.
        base_variance, head_variance: of the logarithm between runs; nan with fewer than two.
        half: half the width of the interval of ``shift`` that holds it with a probability of 1 - ``ALPHA``, as far as
            runs tell.
        below, above: how far below and above ``shift`` what the runs tell may lie off, however many there are.
        p: two-sided, of no shift beyond that; nan where there is no test.
    """

    base: Floats
    head: Floats
    shift: Floats
    base_runs: NDArray[np.int64]
    head_runs: NDArray[np.int64]
    base_variance: Floats
    head_variance: Floats
    half: Floats
    below: Floats
    above: Floats
    p: Floats

    @property
    def interval(self) -> tuple[Floats, Floats]:
        """What holds the real shift: what the runs leave open, and what no run can tell."""
        return self.shift - self.half - self.below, self.shift + self.half + self.above

    def decidable(self, up: Floats, down: Floats) -> NDArray[np.bool_]:
        """Whether more runs would decide, if the shift stays what it is; ``up`` and ``down`` as for :func:`judge`."""
        shift = self.shift
        beyond = (shift > np.maximum(up, self.below)) | (shift < np.minimum(down, -self.above))
        within = (shift + self.above <= up) & (shift - self.below >= down)
        found: NDArray[np.bool_] = beyond | within
        return found


def welch(base: Floats, head: Floats, errors: Sequence[Sequence[Floats]] | None = None) -> Welch:
    """Compare two tables of positive values, shape (runs, tests); nan where a run has no value.

    Args:
        errors: of base, and of head: by which share of itself each test's values may be too high, and too low, in all
            runs alike; shape (tests,) each. None for none.
    """
    base_mean, base_variance, base_runs = _moments(base)
    head_mean, head_variance, head_runs = _moments(head)
    parts = base_variance / np.maximum(base_runs, 1), head_variance / np.maximum(head_runs, 1)
    error = np.sqrt(parts[0] + parts[1])
    freedom = _freedom(*parts, base_runs, head_runs)
    shift = head_mean - base_mean
    below, above = _systematic(errors, shift)
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = np.maximum(np.where(shift > 0, shift - below, -shift - above), 0.0)
        # Runs that are all alike to the last digit: any difference is one, and none is none.
        t = np.where((error == 0) & (excess == 0), 0.0, excess / error)
    p = np.where(np.isnan(error), np.nan, 2 * _upper_tail(t, freedom))
    half = critical(ALPHA, freedom) * error
    return Welch(base_mean, head_mean, shift, base_runs, head_runs, base_variance, head_variance, half, below, above, p)


def _systematic(errors: Sequence[Sequence[Floats]] | None, shift: Floats) -> tuple[Floats, Floats]:
    """How far below and above the shift of logarithms the real one can lie; infinite where all of a value is error."""
    if errors is None:
        return np.zeros(shift.shape), np.zeros(shift.shape)
    with np.errstate(divide="ignore"):
        (base_more, base_less), (head_more, head_less) = (
            (np.log1p(too_low), -np.log1p(-np.minimum(too_high, 1.0))) for too_high, too_low in errors
        )
    return base_more + head_less, head_more + base_less


def holm(p: Floats) -> Floats:
    """p-values adjusted so that all of them together keep their promise (Holm, 1979); nan are no tests."""
    adjusted = np.full(p.shape, np.nan)
    tests = np.flatnonzero(~np.isnan(p))
    order = tests[np.argsort(p[tests], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


def judge(test: Welch, p_adjusted: Floats, up: Floats, down: Floats) -> NDArray[np.object_]:
    """A :class:`Verdict` for each test.

    Slower: the test rejects, and the shift is above ``up``. Faster likewise below ``down``. Same: the whole interval
    is within both. Described: a side has fewer than ``MIN_RUNS``. All else is inconclusive.

    Args:
        p_adjusted: of :func:`holm`; nan where nothing is to be judged.
        up, down: the least shifts that matter, as logarithms of ratios: above 0, and below.
    """
    shift, (low, high) = test.shift, test.interval
    rejected = p_adjusted < ALPHA
    verdicts = np.full(shift.shape, Verdict.INCONCLUSIVE, object)
    verdicts[(high <= up) & (low >= down)] = Verdict.SAME
    verdicts[rejected & (shift > up)] = Verdict.SLOWER
    verdicts[rejected & (shift < down)] = Verdict.FASTER
    few = np.minimum(test.base_runs, test.head_runs) < MIN_RUNS
    verdicts[few | np.isnan(p_adjusted)] = Verdict.DESCRIBED
    return verdicts


def runs_needed(test: Welch, tests: int, up: Floats, down: Floats) -> NDArray[np.int64]:
    """About how many runs a side would decide each test, if shift and spread stay what they are.

    Args:
        tests: how many are judged together.
        up, down: as for :func:`judge`.

    Returns:
        Runs a side, 0 where more than ``MAX_RUNS``, no number at all, or nothing is known.
    """
    shift = test.shift
    beyond = (shift > up) | (shift < down)
    # Outside, the test has to reject even as the first of all; inside, the interval has to fit in.
    with np.errstate(invalid="ignore"):
        excess = np.where(shift > 0, shift - test.below, -shift - test.above)
        margin = np.where(beyond, excess, np.minimum(up - shift - test.above, shift - test.below - down))
    alpha = np.where(beyond, ALPHA / max(tests, 1), ALPHA)
    variance = test.base_variance + test.head_variance
    least = np.maximum(np.minimum(test.base_runs, test.head_runs) + 1, MIN_RUNS).astype(np.float64)
    runs = least
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(6):
            freedom = _freedom(test.base_variance / runs, test.head_variance / runs, runs, runs)
            wanted = np.ceil(critical(alpha, freedom) ** 2 * variance / margin**2)
            runs = np.clip(wanted, least, MAX_RUNS + 1)
    return np.where((runs <= MAX_RUNS) & test.decidable(up, down), runs, 0).astype(np.int64)


def critical(alpha: float | Floats, freedom: Floats) -> Floats:
    """What Student's t exceeds, up or down, with a probability of alpha."""
    from scipy.special import stdtrit  # slow to import, and not every report needs it

    found: Floats = stdtrit(freedom, 1 - np.asarray(alpha) / 2)
    return found


def _upper_tail(t: Floats, freedom: Floats) -> Floats:
    from scipy.special import stdtr

    found: Floats = stdtr(freedom, -t)
    return found


def _moments(values: Floats) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Mean and variance of the logarithm over runs, and how many runs there are."""
    logs = np.log(values)
    known = ~np.isnan(logs)
    runs = known.sum(axis=0)
    mean = np.where(runs > 0, np.where(known, logs, 0.0).sum(axis=0) / np.maximum(runs, 1), np.nan)
    squares = (np.where(known, logs - mean, 0.0) ** 2).sum(axis=0)
    # The rounding of a mean is no spread.
    squares[squares < runs * 1e-28] = 0.0
    return mean, np.where(runs > 1, squares / np.maximum(runs - 1, 1), np.nan), runs


def _freedom(base: Floats, head: Floats, base_runs: ArrayLike, head_runs: ArrayLike) -> Floats:
    """Welch's degrees of freedom, from each side's variance of its mean."""
    base_runs, head_runs = np.asarray(base_runs), np.asarray(head_runs)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = (base + head) ** 2 / (base**2 / (base_runs - 1) + head**2 / (head_runs - 1))
    return np.where(base + head == 0, base_runs + head_runs - 2.0, found)
