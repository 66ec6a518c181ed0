"""What the first calls of a measurement say of the sites that it goes by."""

from __future__ import annotations

import pytest

from latency.tracing.counted.proof import FIRST_S, LEAST, LEAST_BEFORE, Proof

NOTHING = dict.fromkeys(
    ("entries", "matched", "abandoned", "duplicates", "unmatched_entry", "unmatched_return", "began_before"), 0
)


@pytest.mark.parametrize(
    ("counters", "words"),
    [
        ({"entries": 1000, "unmatched_entry": 999}, "999 of the first 1,000 calls did not end"),
        ({"entries": 1000, "matched": 200, "unmatched_entry": 800}, "800 of the first 1,000 calls"),
        ({"entries": 10, "matched": 10, "unmatched_return": 990}, "990 of the first 1,000 ends are of calls"),
        ({"entries": 10, "matched": 10, "duplicates": 990}, "10 calls began 1,000 times"),
        ({"began_before": LEAST_BEFORE}, f"{LEAST_BEFORE} calls ended and none began"),
    ],
)
def test_beginnings_without_ends_and_ends_without_beginnings_are_told(counters: dict[str, int], words: str) -> None:
    proof = Proof()
    line = proof.look({**NOTHING, **counters}, 0.1)
    assert line.startswith(words)
    assert "may not be as pylat takes it to be" in line
    assert not proof.is_due(10.0)


@pytest.mark.parametrize(
    "counters",
    [
        {},
        {"entries": 1000, "matched": 999},
        {"entries": 1000, "matched": 985, "unmatched_entry": LEAST - 1},
        {"entries": 1000, "matched": 700, "unmatched_entry": 300},
        {"entries": LEAST - 1, "unmatched_entry": LEAST - 1},
        {"entries": 5000},  # as many coroutines wait for something
        {"entries": 100, "matched": 100, "duplicates": 200},  # each runs RESUME once more, or even twice
        {"entries": 3, "began_before": 5000},
        {"began_before": LEAST_BEFORE - 1},
        {"entries": 100, "matched": 60, "unmatched_return": 40},
    ],
)
def test_what_is_in_the_order_of_things_is_not_told(counters: dict[str, int]) -> None:
    assert Proof().look({**NOTHING, **counters}, 0.1) == ""


def test_it_looks_until_the_first_second_is_over_and_there_were_calls() -> None:
    proof = Proof()
    assert proof.is_due(0.0)
    proof.look(NOTHING, 0.0)
    assert proof.is_due(FIRST_S / 2)
    proof.look({**NOTHING, "entries": LEAST, "matched": LEAST}, FIRST_S / 2)
    assert proof.is_due(FIRST_S)  # the first second is not over
    proof.look(NOTHING, FIRST_S)
    assert not proof.is_due(1.5 * FIRST_S)  # a target that does nothing is looked at each second
    assert proof.is_due(2 * FIRST_S)
    proof.look({**NOTHING, "entries": LEAST, "matched": LEAST}, 2 * FIRST_S)
    assert not proof.is_due(100 * FIRST_S)
