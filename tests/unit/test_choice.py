"""Which engine ``auto`` takes, from the rates of a short look and the cost of a hit of each kind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from latency.histogram import Histogram
from latency.recording import Function
from latency.tracing.choice import choose
from latency.tracing.counted.reading import Counted, Reading
from latency.tracing.probes.cost import HitCost
from latency.tracing.probes.look import Look

HIT = HitCost(wanted_ns=1200, unwanted_ns=1000)
TRAP_NS = 15_000
MS = 10**6


def look(
    *, calls: int, wanted: int, latency_ns: int = 15 * MS, open_ns: tuple[int, ...] = (), taken_ns: int | None = None
) -> Look:
    ended = wanted - len(open_ns)
    return Look(
        seconds=0.1,
        hits=2 * calls,
        wanted_hits=wanted + ended,
        entries=wanted,
        wall=Histogram.from_values([latency_ns] * ended),
        open_ns=open_ns,
        functions=1,
        taken_ns=taken_ns,
    )


def test_a_rare_function_of_a_busy_process_is_watched() -> None:
    choice = choose(look(calls=50_000, wanted=10), HIT, TRAP_NS, "handlers")
    assert choice.watch
    assert choice.why == (
        "watch: 100 of 500,000 calls/s are wanted: about 0.6 % of one CPU by watch, 100 % by handlers"
    )
    assert choice.share == pytest.approx(0.006)


def test_a_function_that_is_most_of_the_calls_is_probed() -> None:
    choice = choose(look(calls=50_000, wanted=40_000), HIT, TRAP_NS, "handlers")
    assert not choice.watch
    assert choice.why.startswith("handlers: 400,000 of 500,000 calls/s are wanted")


def test_watch_pays_up_to_the_share_at_which_both_cost_the_same() -> None:
    calls = 60_000
    equal = int(calls * 2 * HIT.unwanted_ns / (4 * TRAP_NS))
    assert choose(look(calls=calls, wanted=equal - 20), HIT, TRAP_NS, "eval").watch
    assert not choose(look(calls=calls, wanted=equal + 20), HIT, TRAP_NS, "eval").watch


def test_where_the_probes_are_much_of_a_wanted_call_watch_is_taken_though_it_costs_more() -> None:
    calls, dearer = 60_000, 3000
    wall_ns = dearer * MS // 10
    few = look(calls=calls, wanted=dearer, latency_ns=MS // 10, taken_ns=wall_ns // 20)
    much = look(calls=calls, wanted=dearer, latency_ns=MS // 10, taken_ns=wall_ns // 3)
    assert not choose(few, HIT, TRAP_NS, "handlers").watch
    choice = choose(much, HIT, TRAP_NS, "handlers")
    assert choice.watch
    assert choice.why.startswith("watch: 25 % of a wanted call's time was handlers' probes; ")


def test_in_turns_functions_are_watched_only_where_the_probes_distort() -> None:
    rare = look(calls=50_000, wanted=10)
    assert choose(rare, HIT, TRAP_NS, "handlers").watch
    choice = choose(rare, HIT, TRAP_NS, "handlers", 8)
    assert not choice.watch
    assert choice.why == (
        "handlers: watch would see the functions in turns only (about 0.075 % of one CPU by watch, 100 % by handlers)"
    )
    much = look(calls=60_000, wanted=3000, latency_ns=MS // 10, taken_ns=100 * MS)
    choice = choose(much, HIT, TRAP_NS, "handlers", 8)
    assert choice.watch
    assert choice.why.startswith("watch, in 8 turns: 25 % of a wanted call's time was handlers' probes; ")


def test_what_suspends_is_watched_only_where_the_probes_cost_more_than_they_may() -> None:
    rare = look(calls=50_000, wanted=10)
    for limit_pct, watch in ((None, False), (150.0, False), (5.0, True)):
        choice = choose(rare, HIT, TRAP_NS, "handlers", suspends=True, limit_pct=limit_pct)
        assert choice.watch == watch
        assert ("does not see the time that generators and coroutines run" in choice.why) != watch


def test_a_look_is_of_the_time_since_the_last_one() -> None:
    def reading(calls: int, taken_ns: int) -> Reading:
        counted = Counted(returned=calls, taken_ns=taken_ns, wall=Histogram.from_values([MS] * calls))
        counters = {"hits": 10 * calls, "entries": calls, "matched": calls, "taken_ns": taken_ns}
        return Reading(0, {Function("f", "a.py", 1): counted}, 0, {}, counters)

    seen = Look.between(reading(100, 7000), reading(140, 9000), [], seconds=2.0, accounted=True)
    assert (seen.entries, seen.hits, seen.wall.count, seen.taken_ns) == (40, 400, 40, 2000)
    assert seen.wanted_per_s == 20


def test_the_probes_cost_what_their_account_says() -> None:
    seen = look(calls=50_000, wanted=10)
    assert replace(seen, spent_ns=30 * MS).probes_share(HIT) == pytest.approx(0.3)


def test_a_latency_without_the_probes_needs_nothing_taken_off() -> None:
    seen_ns = 30_000
    assert choose(look(calls=100_000, wanted=2, latency_ns=seen_ns, taken_ns=500_000), HIT, TRAP_NS, "handlers").watch


def test_a_function_that_watch_cannot_resolve_is_never_given_to_it() -> None:
    choice = choose(look(calls=500, wanted=2, latency_ns=18_000), HIT, TRAP_NS, "handlers")
    assert not choice.watch
    assert "does not resolve calls below 21 µs" in choice.why


def test_what_the_probes_may_have_added_to_a_latency_does_not_make_it_long_enough() -> None:
    seen_ns = 400_000  # of which 380 µs may be 190 probed calls on the way, as far as the look can tell
    assert not choose(look(calls=100_000, wanted=2, latency_ns=seen_ns), HIT, TRAP_NS, "handlers").watch
    assert choose(look(calls=300, wanted=2, latency_ns=seen_ns), HIT, TRAP_NS, "handlers").watch


def test_a_call_that_has_not_ended_says_how_long_it_takes_at_least() -> None:
    assert choose(look(calls=50_000, wanted=1, open_ns=(40 * MS,)), HIT, TRAP_NS, "handlers").watch
    assert not choose(look(calls=50_000, wanted=1, open_ns=(2000,)), HIT, TRAP_NS, "handlers").watch


def test_without_a_wanted_call_nothing_says_that_watch_resolves_it() -> None:
    choice = choose(look(calls=50_000, wanted=0), HIT, TRAP_NS, "handlers")
    assert not choice.watch
    assert "no call was seen that says how long they take" in choice.why


def test_an_idle_process_keeps_the_exact_engine() -> None:
    choice = choose(look(calls=0, wanted=0), HIT, TRAP_NS, "handlers")
    assert not choice.watch
    assert choice.share == 0


def test_where_a_trap_is_as_cheap_as_a_probe_watch_wins_early() -> None:
    assert choose(look(calls=50_000, wanted=20_000, latency_ns=50_000), HIT, 500, "handlers").watch
