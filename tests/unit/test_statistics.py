"""The promise of a verdict: how often it is wrong, on runs that are as unpleasant as real ones."""

from __future__ import annotations

from math import log, log1p

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from latency.report.statistics import ALPHA, MAX_RUNS, Verdict, Welch, holm, judge, runs_needed, welch

PAIRS = 2000
CALLS = 800
LIMIT = log1p(0.03)
Floats = NDArray[np.float64]


def simulate(runs: int, tests: int, seed: int) -> Floats:
    """The medians of runs, shape (runs, tests), whose calls follow each other, come in bursts and have heavy tails."""
    rng = np.random.default_rng(seed)
    size = runs * tests
    wave = rng.normal(0, 0.3, size).astype(np.float32)
    burst = np.zeros(size, bool)
    calls = np.empty((size, CALLS), np.float32)
    for call in range(CALLS):
        wave = 0.8 * wave + rng.normal(0, 0.3 * (1 - 0.8**2) ** 0.5, size).astype(np.float32)
        chance = rng.random(size, np.float32)
        burst = np.where(burst, chance > 0.1, chance < 0.01)
        tail = np.where(rng.random(size, np.float32) < 0.02, rng.exponential(1.0, size), 0.0)
        calls[:, call] = wave + 0.5 * burst + tail
    medians = np.median(calls, axis=1) + rng.normal(0, 0.02, size)
    return np.exp(medians).reshape(runs, tests)


@pytest.fixture(scope="module")
def runs() -> Floats:
    return simulate(20, PAIRS, seed=1)


def verdicts(base: Floats, head: Floats) -> NDArray[np.object_]:
    """Each column as a comparison of its own."""
    test = welch(base, head)
    limits = np.full(test.p.shape, LIMIT)
    return judge(test, test.p, limits, -limits)


def share(found: NDArray[np.object_], verdict: Verdict) -> float:
    return float((found == verdict).mean())


def at_most(rate: float, trials: int = PAIRS) -> float:
    """The largest share that trials of this rate show in 999 of 1000 cases."""
    return float(stats.binom.ppf(0.999, trials, rate)) / trials


@pytest.mark.parametrize("number", [5, 10])
def test_a_program_against_itself_is_rarely_slower(runs: Floats, number: int) -> None:
    found = verdicts(runs[:number], runs[10 : 10 + number])
    assert share(found, Verdict.SLOWER) <= at_most(ALPHA / 2)
    assert share(found, Verdict.FASTER) <= at_most(ALPHA / 2)


@pytest.mark.parametrize(("number", "caught"), [(5, 0.8), (10, 0.99)])
def test_a_tenth_more_is_caught(runs: Floats, number: int, caught: float) -> None:
    found = verdicts(runs[:number], 1.1 * runs[10 : 10 + number])
    assert share(found, Verdict.SLOWER) >= caught
    assert share(found, Verdict.FASTER) == 0


def test_intervals_hold_the_true_shift_as_often_as_they_promise(runs: Floats) -> None:
    test = welch(runs[:10], 1.1 * runs[10:])
    held = float((np.abs(test.shift - log(1.1)) <= test.half).mean())
    assert 1 - at_most(ALPHA) <= held <= 1 - ALPHA + 0.02


def test_a_machine_that_drifts_alarms_in_blocks_and_not_in_turns(runs: Floats) -> None:
    drift = 1.005 ** np.arange(20)[:, None]
    drifting = runs * drift
    assert share(verdicts(drifting[0::2], drifting[1::2]), Verdict.SLOWER) <= at_most(ALPHA / 2)
    assert share(verdicts(drifting[:10], drifting[10:]), Verdict.SLOWER) > 0.1


def test_many_gates_together_are_as_rarely_wrong_as_one() -> None:
    rng = np.random.default_rng(2)
    gates, jobs = 30, 600
    # Three percentiles of one function move together, and ten functions of one run a little.
    noise = [np.repeat(rng.normal(0, 0.03, (10, jobs, 10)), 3, axis=2) for _ in range(2)]
    base, head = (np.exp(each + rng.normal(0, 0.01, (10, jobs, gates))).reshape(10, -1) for each in noise)
    test = welch(base, head)
    adjusted = np.concatenate([holm(p) for p in test.p.reshape(jobs, gates)])
    limits = np.full(test.p.shape, LIMIT)
    corrected = (judge(test, adjusted, limits, -limits) == Verdict.SLOWER).reshape(jobs, gates).any(axis=1).mean()
    naive = (judge(test, test.p, limits, -limits) == Verdict.SLOWER).reshape(jobs, gates).any(axis=1).mean()
    assert corrected <= at_most(ALPHA, jobs)
    assert naive > 2 * ALPHA


def test_welch_is_that_of_scipy() -> None:
    rng = np.random.default_rng(3)
    base, head = np.exp(rng.normal(0, 1, (7, 20))), np.exp(rng.normal(0.5, 2, (9, 20)))
    test = welch(base, head)
    expected = stats.ttest_ind(np.log(head), np.log(base), equal_var=False)
    ends = expected.confidence_interval(1 - ALPHA)
    np.testing.assert_allclose(test.p, expected.pvalue)
    np.testing.assert_allclose(test.shift - test.half, ends.low)
    np.testing.assert_allclose(test.shift + test.half, ends.high)


def test_runs_without_a_value_are_left_out() -> None:
    full = welch(np.array([[1.0], [2.0], [3.0]]), np.array([[2.0], [3.0]]))
    holes = welch(np.array([[1.0], [np.nan], [2.0], [3.0]]), np.array([[2.0], [3.0], [np.nan]]))
    assert (holes.base_runs[0], holes.head_runs[0]) == (3, 2)
    assert holes.p[0] == pytest.approx(full.p[0])


def test_one_run_a_side_has_a_shift_and_no_test() -> None:
    test = welch(np.array([[1.0]]), np.array([[2.0]]))
    assert test.shift[0] == pytest.approx(log(2))
    assert np.isnan(test.p[0])
    assert np.isnan(test.half[0])


def test_runs_all_alike_differ_or_do_not() -> None:
    test = welch(np.full((5, 2), 7.0), np.array([[7.0, 8.0]] * 5))
    assert test.p.tolist() == [1.0, 0.0]
    assert test.half.tolist() == [0.0, 0.0]


def test_holm_by_hand() -> None:
    adjusted = holm(np.array([0.04, 0.01, np.nan, 0.03]))
    assert adjusted[[0, 1, 3]].tolist() == pytest.approx([0.06, 0.03, 0.06])
    assert np.isnan(adjusted[2])


def one(shift: float, spread: float, number: int = 5) -> Welch:
    """A test with exactly this shift and this standard deviation between runs, as logarithms."""
    deviations = np.linspace(-1, 1, number)
    deviations *= spread / deviations.std(ddof=1)
    return welch(np.exp(deviations)[:, None], np.exp(deviations + shift)[:, None])


@pytest.mark.parametrize(
    ("shift", "spread", "number", "verdict"),
    [
        (0.10, 0.02, 5, Verdict.SLOWER),
        (-0.10, 0.02, 5, Verdict.FASTER),
        (0.001, 0.005, 5, Verdict.SAME),
        (0.10, 0.20, 5, Verdict.INCONCLUSIVE),
        (0.001, 0.05, 5, Verdict.INCONCLUSIVE),
        (0.02, 0.001, 5, Verdict.SAME),
        (0.10, 0.02, 4, Verdict.DESCRIBED),
    ],
)
def test_each_verdict(shift: float, spread: float, number: int, verdict: Verdict) -> None:
    test = one(shift, spread, number)
    assert judge(test, test.p, np.array([LIMIT]), np.array([-LIMIT])).tolist() == [verdict]


@pytest.mark.parametrize(("shift", "spread"), [(0.001, 0.03), (0.10, 0.12), (-0.05, 0.06), (0.02, 0.02)])
def test_so_many_runs_would_do(shift: float, spread: float) -> None:
    up, down = np.array([LIMIT]), np.array([-LIMIT])
    test = one(shift, spread)
    assert judge(test, test.p, up, down)[0] is Verdict.INCONCLUSIVE
    (needed,) = runs_needed(test, 1, up, down).tolist()
    enough, fewer = one(shift, spread, needed), one(shift, spread, max(needed * 2 // 3, 5))
    assert judge(enough, enough.p, up, down)[0] is not Verdict.INCONCLUSIVE
    assert judge(fewer, fewer.p, up, down)[0] is Verdict.INCONCLUSIVE


def test_too_many_runs_are_not_proposed() -> None:
    assert runs_needed(one(LIMIT, 0.5), 1, np.array([LIMIT]), np.array([-LIMIT])).tolist() == [0]
    assert runs_needed(one(0.0, 0.1), 1, np.array([LIMIT]), np.array([-LIMIT]))[0] < MAX_RUNS
