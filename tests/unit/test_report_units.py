"""Numbers as people read them."""

from __future__ import annotations

import pytest

from latency.report.units import bar, count, duration, error, number, percent, plural


@pytest.mark.parametrize(
    ("ns", "shown"),
    [
        (0, "0 ns"),
        (1, "1.00 ns"),
        (64, "64.0 ns"),
        (999.4, "999 ns"),
        (999.6, "1.00 µs"),
        (9996, "10.0 µs"),
        (1_010_000, "1.01 ms"),
        (163e6, "163 ms"),
        (56.8e9, "56.8 s"),
        (4300e9, "4,300 s"),
        (2**63, "9.22e+09 s"),
        (float("nan"), "-"),
    ],
)
def test_the_unit_that_reads_best(ns: float, shown: str) -> None:
    assert duration(ns) == shown


@pytest.mark.parametrize(
    ("unit", "shown"), [("ns", "1,234,567 ns"), ("us", "1,235 µs"), ("ms", "1.23 ms"), ("s", "0.00123 s")]
)
def test_a_unit_that_was_asked_for(unit: str, shown: str) -> None:
    assert duration(1_234_567, unit) == shown


def test_counts_are_exact_up_to_a_thousand_million() -> None:
    assert [count(999_999_999), count(10**9), number(0.5)] == ["999,999,999", "1.00e+09", "0.500"]


def test_shares_are_never_shown_as_nothing() -> None:
    assert [percent(share) for share in (0, 1e-7, 0.002, 0.14, 3.1)] == ["0 %", "<0.01 %", "0.2 %", "14 %", "310 %"]
    assert bar(1e-9, 10) == "▏"
    assert bar(0, 10) == ""
    assert bar(1, 10) == "█" * 10


def test_an_error_bar_is_its_farther_end() -> None:
    assert error(100, (90, 103)) == "±10 %"
    assert error(100, None) == "too few"


def test_an_error_as_large_as_the_value_says_that_it_cannot_be_told() -> None:
    assert error(100, (10, 199)) == "±99 %"
    assert error(100, (10, 200)) == error(100, (0, 103)) == error(100, (90, 1679)) == "unsure"


def test_one_is_not_many() -> None:
    assert [plural(1, "call"), plural(2, "call")] == ["1 call", "2 calls"]
