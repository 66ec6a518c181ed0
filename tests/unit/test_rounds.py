"""Turns: each has one in a round, in no order and of no length that a target could be in step with."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

from latency.tracing.limit.rounds import LONGEST_S, SHORTEST_S, Rounds

POLL_S = 0.01


def run(rounds: Rounds, seconds: float) -> list[tuple[int, float]]:
    """(whose turn, how long) of each turn that is over."""
    now, begin, turns = 0.0, 0.0, []
    rounds.begin(now)
    while now < seconds:
        now += POLL_S
        if rounds.is_over(now):
            turns.append((rounds.now, now - begin))
            begin = now
            rounds.advance()
            rounds.begin(now)
    return turns


def rounds(number: int) -> Rounds:
    return Rounds(list(range(number)), random=random.Random(3))


def test_each_has_the_same_number_of_turns() -> None:
    turns = Counter(who for who, _ in run(rounds(8), 200))
    assert set(turns) == set(range(8))
    assert max(turns.values()) - min(turns.values()) <= 1


def test_each_has_about_the_same_time() -> None:
    times = Counter[int]()
    for who, length in run(rounds(8), 400):
        times[who] += length  # type: ignore[assignment]
    mean = sum(times.values()) / 8
    assert all(0.9 * mean < time < 1.1 * mean for time in times.values())


def test_nobody_has_two_turns_one_after_the_other() -> None:
    turns = [who for who, _ in run(rounds(3), 300)]
    assert all(one != other for one, other in pairwise(turns))


def test_no_turn_is_too_short_or_too_long() -> None:
    for number in (2, 5, 32):
        lengths = [length for _, length in run(rounds(number), 100)]
        assert min(lengths) >= 0.75 * SHORTEST_S
        assert max(lengths) <= 1.25 * LONGEST_S + POLL_S


def test_the_order_and_the_lengths_are_not_the_same_in_each_round() -> None:
    turns = run(rounds(4), 200)
    orders = {tuple(who for who, _ in turns[at : at + 4]) for at in range(0, len(turns) - 4, 4)}
    assert len(orders) > 10
    assert len({round(length, 2) for _, length in turns}) > 10


def test_one_alone_has_no_turns() -> None:
    assert run(rounds(1), 100) == []


def test_who_has_left_has_no_more_turns() -> None:
    left = rounds(4)
    run(left, 10)
    left.keep([1, 3])
    assert {who for who, _ in run(left, 10)[1:]} == {1, 3}


def test_a_turn_of_one_that_has_left_ends_where_one_is_left() -> None:
    left = rounds(2)
    left.keep([1])
    assert [who for who, _ in run(left, 10)] == [0]
    assert left.now == 1


def test_where_nobody_is_left_nothing_begins() -> None:
    left = rounds(2)
    left.keep([])
    assert run(left, 10) == []
