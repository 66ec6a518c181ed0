"""What is known of slices: for how long all were watched, and each, where a slice is not of all."""

from __future__ import annotations

import pytest

from latency.recording import Function, Watched
from latency.tracing.limit.watched import SlicesWatched

F, G, H = (Function(name, "a.py", 1) for name in "fgh")
S = 10**9


def in_turns() -> SlicesWatched:
    """From 1 s on: f and g for two, then one of two code objects of h for one, a pause of one, then f and g again."""
    slices = SlicesWatched()
    slices.of({F: 1.0, G: 1.0})
    slices.begin(1 * S)
    slices.end(3 * S, [(F, [2 * S])])
    slices.of({H: 0.5})
    slices.begin(3 * S)
    slices.end(4 * S, [])
    slices.of({F: 1.0, G: 1.0})
    slices.begin(5 * S)
    return slices


def test_slices_of_all_say_nothing_of_each() -> None:
    slices = SlicesWatched()
    slices.begin(S)
    slices.end(2 * S, [])
    slices.begin(4 * S)
    until = slices.until(5 * S)
    assert until.share(4.0) == Watched(0.5, 2)
    assert until.share_of(F, 4.0) is None


def test_each_has_its_own_share_the_slice_that_lasts_included() -> None:
    until = in_turns().until(9 * S)
    assert until.share(8.0) == Watched(7 / 8, 3)
    assert until.share_of(F, 8.0) == until.share_of(G, 8.0) == Watched(6 / 8, 2)


def test_of_a_function_of_several_code_objects_each_counts_for_its_part() -> None:
    assert in_turns().until(9 * S).share_of(H, 8.0) == Watched(0.5 / 8, 1)


def test_one_that_has_had_no_turn_was_not_watched() -> None:
    slices = SlicesWatched()
    slices.of({F: 1.0})
    slices.begin(S)
    assert slices.sliced
    assert slices.until(2 * S).share_of(G, 1.0) == Watched(0.0, 0)


def test_an_interval_has_the_shares_of_its_own_time() -> None:
    slices = in_turns()
    earlier = slices.until(6 * S)
    slices.end(7 * S, [(G, [6 * S])])
    slices.of({H: 0.5})
    slices.begin(7 * S)
    since = slices.until(10 * S).since(earlier)
    assert since.share_of(F, 4.0) == Watched(0.25, 1)  # its slice had begun before
    assert since.share_of(H, 4.0) == Watched(0.375, 1)
    assert {name: each.count for name, each in since.ages.items()} == {F: 0, G: 1}


@pytest.mark.parametrize("at", [5, 7])
def test_what_begins_anew_forgets_the_time_before(at: int) -> None:
    slices = SlicesWatched()
    slices.begin(S)
    slices.restart(at * S)
    assert slices.running
    assert slices.until(10 * S).share(float(10 - at)) == Watched(1.0, 1)
