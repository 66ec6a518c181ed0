"""Whether two engines saw the same: moments that are made up here."""

from __future__ import annotations

import pytest

from latency.recording import Function
from latency.tracing.counted.agreement import Agreement, OpenFrame, Seen

SINCE_NS = 1000
WORK = Function("work", "app.py", 1, "function")
OTHER = Function("other", "app.py", 9, "function")


def seen(returned: int = 0, *, raised: int = 0, opens: dict[int, int] | None = None, of: Function = WORK) -> Seen:
    """``opens``: since when a frame is."""
    frames = frozenset(OpenFrame(frame, start_ns) for frame, start_ns in (opens or {}).items())
    return Seen({of: (returned, raised, 0)}, frames)


def agreed(*moments: tuple[Seen, Seen]) -> Agreement:
    agreement = Agreement(SINCE_NS)
    for probes, watch in moments:
        agreement.add(probes, watch)
    return agreement


def test_calls_that_both_saw_end_in_the_same_way_are_agreed_on() -> None:
    agreement = agreed((seen(70), seen(0)), (seen(72, raised=1), seen(2, raised=1)))
    assert (agreement.calls, agreement.difference) == (3, "")


def test_before_a_call_has_ended_nothing_is_known() -> None:
    agreement = agreed((seen(70), seen(0)), (seen(70), seen(0)))
    assert (agreement.calls, agreement.difference) == (0, "")


@pytest.mark.parametrize(
    ("watch", "words"),
    [
        (seen(2), "saw 2 returned, 0 raised, 0 abandoned of work, and not 3 returned, 0 raised, 0 abandoned of work"),
        (seen(0), "saw no call end, and not 3 returned"),
        (seen(2, raised=1), "saw 2 returned, 1 raised"),
        (seen(3, opens={8: SINCE_NS + 1}), "has 1 open calls, and not 0"),
        (seen(3, of=OTHER), "abandoned of other, and not 3 returned"),
    ],
    ids=["one less", "none", "another end", "an end that is missing", "of another function"],
)
def test_what_differs_is_said(watch: Seen, words: str) -> None:
    agreement = agreed((seen(0), seen(0)), (seen(3), watch))
    assert agreement.calls == 0
    assert words in agreement.difference


def test_a_difference_that_goes_away_was_a_call_that_one_saw_a_moment_earlier() -> None:
    agreement = agreed((seen(0), seen(0)), (seen(1), seen(0, opens={8: SINCE_NS + 1})), (seen(1), seen(1)))
    assert (agreement.calls, agreement.difference) == (1, "")


def test_a_call_that_was_open_before_need_be_seen_by_one_only() -> None:
    before = {8: SINCE_NS - 1}
    agreement = agreed((seen(0, opens=before), seen(0)), (seen(4, opens=before), seen(4)))
    assert (agreement.calls, agreement.difference) == (4, "")


def test_when_it_ends_the_comparison_begins_anew() -> None:
    before = {8: SINCE_NS - 1}
    moments = [(seen(0, opens=before), seen(0)), (seen(5), seen(4)), (seen(7), seen(6))]
    assert agreed(*moments[:2]).calls == 0
    assert (agreed(*moments).calls, agreed(*moments).difference) == (2, "")


def test_a_comparison_begins_where_both_have_the_same_calls_open() -> None:
    mine = {8: SINCE_NS + 1}
    agreement = agreed((seen(0, opens=mine), seen(0)), (seen(3, opens=mine), seen(3)))
    assert agreement.calls == 0
    assert agreement.difference == "has 0 open calls, and not 1"


def test_a_call_between_its_end_and_what_tells_of_it_is_no_moment_to_begin_at() -> None:
    # Its frame had ended, so that one took it for abandoned, and it returned.
    between, told = Seen({WORK: (0, 0, 1)}, frozenset()), Seen({WORK: (1, 0, 0)}, frozenset())
    agreement = agreed((seen(1), between), (seen(1), told))
    assert (agreement.calls, agreement.difference) == (0, "")
    agreement.add(seen(4), seen(4))
    assert (agreement.calls, agreement.difference) == (3, "")
