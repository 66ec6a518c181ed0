"""What a hit takes, from the times that the programs measured."""

from __future__ import annotations

import numpy as np
import pytest

from latency.tracing.counted import wire
from latency.tracing.probes.prices import Prices, newest, prices

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


def shaken(ns: float, share: float, seed: int) -> list[float]:
    """Times that vary by that share of themselves from one to the next, and the clock reads beside them."""
    random = np.random.default_rng(seed)
    return list(ns * random.normal(1.0, share, wire.SAMPLES) + CLOCK_NS)


def test_where_the_same_work_takes_longer_at_times_a_trap_is_the_mean_of_all_and_not_the_shortest() -> None:
    found = prices(measured(gap_01=shaken(500, 0.11, 1), program_00=shaken(200, 0.11, 2)), Prices())
    assert found.trap_ns[wire.HIT_EXIT] == pytest.approx(500, rel=0.03)
    assert found.program_ns[wire.HIT_ENTRY, 0] == pytest.approx(200, rel=0.02)


@pytest.mark.parametrize("fast", range(8, 97, 8))
def test_a_machine_that_has_a_fast_and_a_slow_state_has_the_price_of_its_mean(fast: int) -> None:
    times = [0.8 if number * 37 % 100 < fast else 1.0 for number in range(200)]  # so many of a hundred, mixed
    mean = float(np.mean(times))
    gaps, programs = ([ns * each + CLOCK_NS for each in times] for ns in (500, 200))
    found = prices(measured(gap_01=gaps, program_00=programs, program_10=programs), Prices())
    assert found.trap_ns[wire.HIT_EXIT] == pytest.approx(500 * mean, rel=0.01)


def test_gaps_with_python_in_them_do_not_make_a_trap_dearer() -> None:
    gaps = [each + (400 if number % 4 else 0) for number, each in enumerate(shaken(500, 0.05, 3))]
    found = prices(measured(gap_01=gaps, program_00=shaken(200, 0.05, 4)), Prices())
    assert found.trap_ns[wire.HIT_EXIT] == pytest.approx(500, rel=0.06)


def test_a_coarse_clock_makes_no_hit_dearer() -> None:
    random = np.random.default_rng(5)

    def coarse(ns: float) -> list[float]:
        begins = random.uniform(0, 10, 256)
        return list((begins + ns) // 10 * 10 - begins // 10 * 10)

    samples = measured(gap_01=coarse(523), program_00=coarse(94))
    put(samples, wire.CLOCK_SET, coarse(23), wire.SAMPLES)
    found = prices(samples, Prices())
    assert found.trap_ns[wire.HIT_EXIT] == pytest.approx(500, rel=0.03)
    assert found.spread < 0.05


def test_what_came_since_the_last_look_is_the_price_of_the_moment() -> None:
    samples = measured(gap_01=[520.0] * 120 + [620.0] * 80, program_00=[220.0] * 120 + [260.0] * 80)
    since = samples["count"] - 80.0
    assert prices(samples, Prices(), (), since).hit_ns[wire.HIT_ENTRY, 0] == 600 + 240


def test_the_newest_are_those_behind_the_ring_s_end_and_before_it() -> None:
    samples = measured()
    ring = samples[wire.PROGRAM_SETS]
    ring["ns"][:] = np.r_[256:300, 44:256]
    ring["count"] = 300
    assert newest(ring, 236).tolist() == list(range(236, 300))
    assert newest(ring, 100).tolist() == list(range(100, 300))
    assert newest(ring).tolist() == list(range(44, 300))


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
