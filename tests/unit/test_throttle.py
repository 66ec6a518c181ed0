"""The limit on what a measurement costs: kept on average, with slices that are long enough and never in step."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from latency.tracing.limit.throttle import AWAY_S, CREDIT_S, KEPT_S, LONGEST_S, SHORTEST_S, Keeper, Throttle

POLL_S = 0.05


def run(throttle: Throttle, rate: Callable[[float], float], seconds: float) -> tuple[float, list[tuple[bool, float]]]:
    """(cost in all, (watching, how long) of each stretch) where a second with probes costs ``rate`` of its time."""
    now, cost, stretches = 0.0, 0.0, [(True, 0.0)]
    while now < seconds:
        if throttle.watching:
            cost += rate(now) * POLL_S
        now += POLL_S
        watching, length = stretches[-1]
        stretches[-1] = watching, length + POLL_S
        if throttle.step(now, cost) != watching:
            stretches.append((not watching, 0.0))
    return cost, stretches


def limited(limit: float = 0.05) -> Throttle:
    return Throttle(limit, 0.0, random=random.Random(3))


@pytest.mark.parametrize("rate", [0.06, 0.2, 1.0, 3.0])
def test_the_average_stays_under_the_limit(rate: float) -> None:
    cost, _ = run(limited(), lambda _: rate, 300)
    assert 0.04 * 300 < cost <= 0.05 * (300 + CREDIT_S) + rate * 2 * SHORTEST_S


def test_what_costs_less_than_the_limit_is_watched_all_the_time() -> None:
    throttle = limited()
    _, stretches = run(throttle, lambda _: 0.049, 100)
    assert len(stretches) == 1
    assert not throttle.sliced


def test_a_short_burst_at_the_beginning_cuts_nothing() -> None:
    _, stretches = run(limited(), lambda now: 0.8 if now < POLL_S else 0.0, 10)
    assert len(stretches) == 1


def test_no_stretch_is_too_short_to_matter() -> None:
    for rate in (0.06, 0.3, 2.0):
        _, stretches = run(limited(), lambda _, rate=rate: rate, 200)
        others = stretches[1:-1]
        assert min(length for watching, length in others if watching) >= 0.8 * SHORTEST_S - POLL_S
        assert min(length for watching, length in others if not watching) >= 0.75 * AWAY_S - POLL_S


def test_slices_begin_at_no_fixed_beat() -> None:
    _, stretches = run(limited(), lambda _: 1.0, 600)
    begins = np.cumsum([length for _, length in stretches])[1::2]
    beats = np.diff(begins)
    assert len(beats) > 50
    assert np.std(beats) > 0.1 * np.mean(beats)
    # against a target that works once a second: no part of its second is left out
    assert len(np.unique((begins % 1.0 * 10).astype(int))) >= 8


def test_a_target_that_grows_quiet_is_watched_all_the_time_again() -> None:
    _, stretches = run(limited(), lambda now: 1.0 if now < 20 else 0.01, 200)
    watching, length = stretches[-1]
    assert watching
    assert length > 100


def test_a_slice_in_which_far_more_happens_than_was_foreseen_ends_early() -> None:
    throttle = limited()
    cost, _ = run(throttle, lambda now: 0.06 if now < 60 else 3.0, 60.5)
    assert cost <= 0.05 * 60.5 + 1.0


@pytest.mark.parametrize("quiet_s", [60, 3600])
def test_what_was_left_of_the_limit_long_ago_is_no_credit(quiet_s: int) -> None:
    throttle, busy_s = limited(), 60
    cost, _ = run(throttle, lambda now: 0.5 if now > quiet_s else 0.0, quiet_s + busy_s)
    assert 0.04 * busy_s < cost <= 0.05 * (busy_s + KEPT_S + CREDIT_S) + 0.5 * 2 * SHORTEST_S


def test_a_slice_that_is_ended_late_makes_the_next_ones_rarer() -> None:
    """Whoever asks seldom lets a slice last longer; the average holds all the same, over a longer time."""
    throttle, now, cost = limited(), 0.0, 0.0
    while now < 600:
        cost += 0.8 * 0.5 if throttle.watching else 0.0
        now += 0.5
        throttle.step(now, cost)
    assert 0.04 * 600 < cost <= 0.05 * (600 + CREDIT_S) + 0.8 * 2 * 0.5


@pytest.mark.parametrize("later", [0.01, 0.2])
def test_another_limit_holds_from_then_on(later: float) -> None:
    """While the probes are there, and while they are away: what was owed or left is no more and no less."""
    for moment_s in np.arange(60.0, 64.0, 0.2):
        throttle = limited()
        before, _ = run(throttle, lambda _: 0.6, moment_s)
        throttle.allow(later, moment_s)
        now, cost = moment_s, before
        while now < moment_s + 300:
            cost += 0.6 * POLL_S if throttle.watching else 0.0
            now += POLL_S
            throttle.step(now, cost)
        assert 0.8 * later * 300 < cost - before <= later * 300 + 0.6 * 2 * LONGEST_S


def test_who_keeps_a_limit_can_be_given_another_one() -> None:
    done: list[str] = []
    keeper = Keeper(1.0, lambda: done.append("pause"), lambda: done.append("resume"))
    keeper.begin(0.0)
    keeper.keep(10.0, 9.9)
    keeper.allow(0.1)
    keeper.keep(10.1, 10.0)
    assert not done
    keeper.keep(11.0, 10.9)
    assert done == ["pause"]


def test_it_hurries_while_it_costs_more_than_the_limit() -> None:
    throttle = limited()
    now = cost = 0.0
    hurried: dict[tuple[bool, bool], set[bool]] = {}
    while now < 120:
        busy = now < 60
        cost += 0.5 * POLL_S if throttle.watching and busy else 0.0
        now += POLL_S
        before = throttle.watching
        throttle.step(now, cost)
        if now < 58 or now > 65:
            hurried.setdefault((busy, before and throttle.watching), set()).add(throttle.hurries)
    assert hurried == {(True, True): {True}, (True, False): {True, False}, (False, True): {False}}
