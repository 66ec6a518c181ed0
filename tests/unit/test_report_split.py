"""How a report says where the time went."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np

from latency.histogram import Histogram
from latency.recording import PARTS, Function, FunctionLatency, Options, Recording, Split, TargetInfo
from latency.report.text import render

TARGET = TargetInfo((4242,), "app", "3.11.2", "ab", "/usr/bin/python3", "handlers", "table 3.11", "6.18", "x86_64", 2)
WALL = Histogram.from_values([1_000_000] * 98 + [30_000_000] * 2)


def split(*, calls: int = 100, gc_known: bool = True, suspended_ns: int = 0) -> Split:
    """98 calls of 1 ms that ran and 2 of 30 ms that waited; of the latter some time else."""
    sums = np.zeros((len(PARTS), 20), np.int64)
    sums[:, 0] = (98_000_000, 0, 0, 0, 0)
    sums[:, 19] = (1_200_000, 56_400_000 - suspended_ns, 1_800_000, 600_000, suspended_ns)
    made = Split(calls, 2, -39, sums)
    return made if gc_known else made.without_gc()


def latency(name: str = "serve", **changes: Any) -> FunctionLatency:
    return replace(FunctionLatency(Function(name, "app.py", 10), 100, 0, WALL, split=split()), **changes)


def report(*functions: FunctionLatency, **options: Any) -> str:
    run = Recording(target=TARGET, duration_s=10.0, functions=functions, options=Options(("serve",)))
    return render(run, **options)


def rows(text: str) -> dict[str, list[str]]:
    """The cells of each part's row."""
    found = (re.match(r" *(running|waiting|for a CPU|gc|suspended)  +(.*)", line) for line in text.splitlines())
    return {row[1]: re.split(r"  +", row[2]) for row in found if row}


def test_a_percentile_is_put_into_words_the_largest_part_first() -> None:
    said = report(latency())
    assert "p99 is 30.0 ms, of which 28.2 ms waiting, 899 µs waiting for a CPU, 599 µs" in said
    assert re.search(r"599 µs\s+running, 300 µs collecting garbage\n", said)


def test_each_part_has_its_time_at_percentiles_its_total_and_its_share() -> None:
    assert rows(report(latency())) == {
        "running": ["1.01 ms", "1.02 ms", "599 µs", "99.2 ms", "63 %"],
        "waiting": ["0 ns", "0 ns", "28.2 ms", "56.4 ms", "36 %"],
        "for a CPU": ["0 ns", "0 ns", "899 µs", "1.80 ms", "1.1 %"],
        "gc": ["0 ns", "0 ns", "300 µs", "600 µs", "0.38 %"],
    }


def test_only_what_suspends_has_a_row_for_it() -> None:
    assert "suspended" not in rows(report(latency()))
    assert rows(report(latency(split=split(suspended_ns=50_000_000))))["suspended"][-2:] == ["50.0 ms", "32 %"]


def test_gc_that_is_not_told_apart_is_said_and_has_no_row() -> None:
    said = report(latency(split=split(gc_known=False)))
    assert "gc: not told apart in this build" in said
    assert "gc" not in rows(said)


def test_calls_whose_parts_are_not_known_are_counted() -> None:
    assert "of 1 call the parts are not known" in report(latency(split=split(calls=99)))


def test_the_self_time_is_told_with_what_it_is() -> None:
    said = report(latency(self_time=Histogram.from_values([250_000] * 100)))
    assert "self, outside of other measured calls: total 25.0 ms = 16 %" in said
    assert "is not known" not in said


def test_calls_whose_self_time_is_not_known_are_counted_and_no_share_is_made_of_the_rest() -> None:
    said = report(latency(self_time=Histogram.from_values([250_000] * 90)))
    assert "total 22.5 ms," in said
    assert "of 10 calls the self time is not known" in said


def test_many_functions_have_one_table_of_parts() -> None:
    said = report(latency(), latency("other", self_time=Histogram.empty()), full=False)
    table = said.split("where the time went, of all calls\n")[1].splitlines()
    assert table[0].split()[-1] == "self"
    assert "for a CPU" in table[0]
    assert table[2].split()[:2] == ["99.2", "ms"]


def test_nothing_is_said_of_what_was_not_asked_for() -> None:
    said = report(latency(split=None), latency("other", split=None))
    assert "where the time went" not in said
    assert "waiting" not in said


def test_no_line_is_longer_than_the_terminal() -> None:
    every = (latency(self_time=Histogram.from_values([1] * 90)), latency("other", split=split(suspended_ns=5)))
    for width in (60, 80, 132):
        for unit in (None, "us"):
            assert max(map(len, report(*every, width=width, unit=unit).splitlines())) <= width


def test_a_function_without_calls_has_no_parts() -> None:
    idle = latency(returned=0, wall=Histogram.empty(), split=Split(0, 2, 0, np.zeros((len(PARTS), 0), np.int64)))
    assert "where" not in report(idle)
