"""How far what was taken off may be wrong, from made-up times of hits and counts of the kernel."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from latency.recording import Probes
from latency.target.scheduling import Scheduled, scheduled
from latency.tracing.counted import wire
from latency.tracing.probes.account import FOREIGN_ERROR, LEAST_ERROR, Account
from latency.tracing.probes.preemptions import Preemptions

PLAN: Any = SimpleNamespace(usual=lambda role: ())
CLOCK_NS, TRAP_NS, PROGRAM_NS = 20, 500, 200
PRICE_NS = TRAP_NS + PROGRAM_NS


class Machine:
    """The samples of a target whose hits take so many times longer than at first; and its account."""

    def __init__(self, seed: int = 7) -> None:
        self.maps: Any = SimpleNamespace(
            samples=np.zeros(wire.SAMPLE_SETS, wire.TIMES), config=np.zeros(1, wire.CONFIG)
        )
        self.account = Account(PLAN)
        self._random = np.random.default_rng(seed)

    def runs(self, times: float = 1.0, spread: float = 0.0, hits: int = 100) -> Machine:
        for place, ns in ((wire.CLOCK_SET, 0), (wire.GAP_SETS + 1, TRAP_NS), (wire.PROGRAM_SETS, PROGRAM_NS)):
            one = self.maps.samples[place]
            for taken in ns * times * self._random.normal(1.0, spread, hits) + CLOCK_NS:
                one["ns"][int(one["count"]) % wire.SAMPLES] = round(taken)
                one["count"] += 1
        return self

    def looks(self) -> Machine:
        self.account.refresh(self.maps)
        return self


def calibrated() -> Machine:
    machine = Machine().runs()
    machine.account.calibrated(machine.maps)
    return machine


def test_while_no_hit_was_measured_in_the_target_the_error_is_that_of_another_loop() -> None:
    assert calibrated().account.error_share(10**6) == FOREIGN_ERROR


def test_on_a_steady_machine_the_error_is_the_least_that_is_stated() -> None:
    machine = calibrated()
    for _ in range(20):
        machine.runs().looks()
    assert machine.account.error_share(10**6) == LEAST_ERROR


def test_where_the_machine_changes_its_speed_the_error_is_how_far_hits_were_from_their_price() -> None:
    machine = calibrated()
    for number in range(40):
        machine.runs(1.25 if number % 2 else 1.0).looks()
    assert machine.account.error_share(10**6) == pytest.approx(0.25, abs=0.02)


def test_a_price_that_stays_where_the_machine_went_is_right_again() -> None:
    machine = calibrated()
    for times in [1.0] * 20 + [1.3] * 20:
        machine.runs(times).looks()
    assert machine.account.prices.hit_ns[wire.HIT_ENTRY, 0] == pytest.approx(1.3 * PRICE_NS, rel=0.01)
    assert machine.account.error_share(10**6) == LEAST_ERROR  # of forty looks one was wrong


def test_samples_that_spread_widen_the_error_of_a_call_with_few_hits_more_than_of_one_with_many() -> None:
    machine = calibrated()
    for _ in range(20):
        machine.runs(spread=0.2).looks()
    few, some, many = (machine.account.error_share(hits * PRICE_NS) for hits in (1, 4, 10**4))
    assert few == pytest.approx(1.28 * 0.2, rel=0.2)  # 8 of 10 of a normal distribution
    assert some == pytest.approx(few / 2, rel=0.01)
    assert LEAST_ERROR < many < some


def preempted(*counts: tuple[int, int]) -> Preemptions:
    found = Preemptions()
    for ran_ns, count in counts:
        found.take({(1, 1): Scheduled(ran_ns, count)})
    return found


def test_calls_that_the_probes_make_longer_lose_the_processor_as_often_as_they_are_longer() -> None:
    each_3_ms = preempted((10**9, 50), (4 * 10**9, 1050))
    assert each_3_ms.share(300_000) == pytest.approx(0.1)
    assert each_3_ms.share(10**7) == 1.0


def test_what_the_kernel_counts_of_each_thread_is_read_from_its_files(tmp_path: Path) -> None:
    for tid, taken in ((41, 7), (42, 8)):
        task = tmp_path / "41" / "task" / str(tid)
        task.mkdir(parents=True)
        (task / "schedstat").write_text(f"{tid}000 5 6\n")
        (task / "status").write_text(f"Name:\tx\nvoluntary_ctxt_switches:\t3\nnonvoluntary_ctxt_switches:\t{taken}\n")
    process: Any = SimpleNamespace(proc=tmp_path, pid=41, threads=lambda: [41, 42, 43])
    assert scheduled(process, 2) == {41: Scheduled(41000, 7), 42: Scheduled(42000, 8)}
    assert scheduled(process, 3) == {41: Scheduled(41000, 7), 42: Scheduled(42000, 8)}  # one ended meanwhile
    assert scheduled(process, 1) == {41: Scheduled(41000, 7)}


def test_what_was_before_the_first_look_and_threads_that_were_seen_once_say_nothing() -> None:
    assert preempted((10**9, 50)).share(300_000) == 0.0
    found = preempted((10**9, 50), (2 * 10**9, 51))
    found.take({(1, 2): Scheduled(10**9, 9999)})
    assert (found.ran_ns, found.count) == (10**9, 1)


def test_what_is_said_of_calls_is_their_error_and_how_many_were_delayed() -> None:
    machine = calibrated()
    for _ in range(20):
        machine.runs().looks()
    machine.account.preemptions = preempted((0, 0), (3 * 10**9, 1000))
    assert machine.account.of(600 * 3 * 10**5, 5, 600) == Probes(600 * 3 * 10**5, LEAST_ERROR, pytest.approx(0.1), 5)
    assert machine.account.of(0, 0, 0).delayed_share == 0.0


def test_threads_are_looked_at_where_somebody_has_passed_a_probe_since() -> None:
    machine = calibrated()
    looks = [0]

    def look(_: object) -> None:
        looks[0] += 1

    machine.account.preemptions = SimpleNamespace(look=look)  # type: ignore[assignment]
    for found in (1, 1, 1):
        machine.looks()
        assert looks[0] == found
    machine.runs(hits=1).looks().looks()
    assert looks[0] == 2
