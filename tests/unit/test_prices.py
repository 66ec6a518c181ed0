"""What a hit takes, from the times that the programs measured."""

from __future__ import annotations

import numpy as np

from latency.tracing.counted import wire
from latency.tracing.probes.prices import Prices, prices

CLOCK_NS = 20


def measured(**sets: float | list[float]) -> np.ndarray:
    """Sets of samples: ``gap_01`` from an entry to an exit, ``program_11`` of an exit that counts, ``own_1``."""
    samples = np.zeros(wire.SAMPLE_SETS, wire.TIMES)
    put(samples, wire.CLOCK_SET, CLOCK_NS)
    for name, times in sets.items():
        what, _, kinds = name.partition("_")
        first, second = (int(kinds[0]), int(kinds[-1]))
        places = {
            "gap": wire.GAP_SETS + first * wire.HIT_KINDS + second,
            "program": wire.PROGRAM_SETS + 2 * first + second,
            "own": wire.OWN_SETS + first,
        }
        put(samples, places[what], times)
    return samples


def put(samples: np.ndarray, place: int, times: float | list[float], count: int = 200) -> None:
    many = np.resize(np.atleast_1d(times), count)
    samples[place]["ns"][:count] = many
    samples[place]["count"] = count


def test_a_trap_is_the_shortest_gap_without_the_clock() -> None:
    samples = measured(gap_01=[520.0], gap_10=[700.0])
    assert prices(samples, Prices()).trap_ns.tolist() == [500.0] * wire.HIT_KINDS


def test_a_few_gaps_that_were_disturbed_change_nothing() -> None:
    samples = measured(gap_01=[500, 500, 500, 500, 90_000])
    assert prices(samples, Prices()).trap_ns[wire.HIT_EXIT] == 480.0


def test_a_program_is_priced_by_whether_the_hit_counts() -> None:
    samples = measured(gap_01=[520.0], program_00=[60.0], program_01=[220.0])
    found = prices(samples, Prices())
    assert found.hit_ns[wire.HIT_ENTRY].tolist() == [540.0, 700.0]


def test_an_instruction_that_is_single_stepped_has_its_own_price() -> None:
    samples = measured(gap_01=[520.0], gap_30=[5020.0])
    found = prices(samples, Prices(), stepped={wire.HIT_YIELD})
    assert found.trap_ns[wire.HIT_ENTRY] == 500.0
    assert found.trap_ns[wire.HIT_YIELD] == 2 * 5000.0 - 500.0  # half of a gap is the one, half the other


def test_where_each_call_passes_one_of_either_kind_their_sum_is_right() -> None:
    found = prices(measured(gap_01=[3020.0], gap_10=[3120.0]), Prices(), {wire.HIT_ENTRY})
    assert found.trap_ns[wire.HIT_ENTRY] + found.trap_ns[wire.HIT_EXIT] == 6000.0


def test_what_lies_between_the_time_stamps_of_a_call_is_half_a_trap_at_each_end_and_the_programs_in_between() -> None:
    samples = measured(gap_01=[520.0], own_0=[110.0], own_1=[60.0])
    found = prices(samples, Prices())
    assert found.between_ns[wire.HIT_EXIT] == 500 + 100 + 50


def test_what_was_not_measured_stays_as_it_was() -> None:
    before = prices(measured(gap_01=[520.0], program_01=[220.0], own_0=[110.0]), Prices())
    nothing = np.zeros(wire.SAMPLE_SETS, wire.TIMES)
    after = prices(nothing, before)
    assert np.array_equal(after.hit_ns, before.hit_ns)
    assert np.array_equal(after.between_ns, before.between_ns)


def test_a_kind_that_was_not_measured_yet_is_taken_for_another_way_out() -> None:
    found = prices(measured(gap_01=[520.0], program_10=[60.0], own_1=[70.0]), Prices())
    assert found.hit_ns[wire.HIT_RAISE].tolist() == found.hit_ns[wire.HIT_EXIT].tolist() == [540.0, 500.0]
    assert found.own_ns[wire.HIT_YIELD] == 60.0


def test_a_kind_takes_what_its_gaps_leave_room_for() -> None:
    found = prices(measured(gap_01=[520.0], gap_10=[560.0], gap_13=[620.0], gap_30=[720.0]), Prices())
    assert found.trap_ns[[wire.HIT_ENTRY, wire.HIT_EXIT, wire.HIT_YIELD]].tolist() == [500.0, 500.0, 700.0]


def test_a_trap_that_is_emulated_takes_no_more_than_twice_the_cheapest() -> None:
    found = prices(measured(gap_01=[520.0], gap_02=[9020.0]), Prices())
    assert found.trap_ns[wire.HIT_RAISE] == 1000.0


def test_too_few_samples_say_nothing() -> None:
    samples = measured()
    put(samples, wire.GAP_SETS + 1, 520.0, count=3)
    assert not prices(samples, Prices()).trap_ns.any()


def test_the_programs_get_whole_nanoseconds() -> None:
    found = prices(measured(gap_01=[520.0], program_01=[220.0]), Prices())
    config = np.zeros(1, wire.CONFIG)
    found.into(config)
    assert config["price_ns"][0, wire.HIT_ENTRY].tolist() == [500, 700]
    assert config["clock_ns"] == CLOCK_NS
