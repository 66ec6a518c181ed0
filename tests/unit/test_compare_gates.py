"""The grammar of gates, and which functions they are for."""

from __future__ import annotations

from dataclasses import replace
from math import inf, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.errors import UsageError
from latency.report.compare_gates import DEFAULT_GATES, Gate
from tests.unit.comparing import function


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("p50:3%", Gate("p50", ratio=0.03)),
        ("p90:5 %", Gate("p90", ratio=0.05)),
        ("p99.9:12.5%", Gate("p99.9", ratio=0.125)),
        ("mean:1ms", Gate("mean", amount_ns=1e6)),
        ("mean:250us", Gate("mean", amount_ns=250e3)),
        ("mean:250µs", Gate("mean", amount_ns=250e3)),
        ("p50:0.5s", Gate("p50", amount_ns=0.5e9)),
        ("handle_*=p50:3%", Gate("p50", ratio=0.03, pattern="handle_*")),
        ("app/views.py:Api.*=mean:20ns", Gate("mean", amount_ns=20, pattern="app/views.py:Api.*")),
        ("a=b=p50:3%", Gate("p50", ratio=0.03, pattern="a=b")),
    ],
)
def test_a_gate_is_read_and_written(text: str, gate: Gate) -> None:
    assert Gate.parse(text) == gate
    assert Gate.parse(str(gate)) == gate


@pytest.mark.parametrize(
    "text",
    [
        "",
        "p50",
        "p50:3",
        "p50:%",
        "p50:0%",
        "p0:3%",
        "p100:3%",
        "p50:-3%",
        "p50:nan%",
        "p50:1e3%",
        "max:3%",
        "=p50:3%",
        "p50:3%x",
        "p50:٣%",
        "p50:3\n%",
        "p50:" + "9" * 400 + "%",
        "\x1b[2J",
    ],
)
def test_what_is_no_gate_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Gate.parse(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 150
    assert "p50:3%" in caught.value.hint


@given(st.text(max_size=30))
def test_any_text_is_a_gate_or_refused(text: str) -> None:
    try:
        gate = Gate.parse(text)
    except UsageError:
        return
    gate.matches(function(text))
    assert gate.thresholds(1e6)[0] > 0


def test_the_default_is_three_percent_of_the_median() -> None:
    assert list(map(str, DEFAULT_GATES)) == ["p50:3%"]


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("Api.get", True),
        ("get", True),
        ("Api.*", True),
        ("*", True),
        ("app/views.py:Api.get", True),
        ("views.py:get", True),
        ("app.views:Api.*", True),
        ("views:get", True),
        ("Api", False),
        ("api.get", False),
        ("iews.py:get", False),
        ("models.py:get", False),
        ("app.models:get", False),
    ],
)
def test_which_functions_a_pattern_is_for(pattern: str, matches: bool) -> None:
    assert Gate("p50", 0.03, pattern=pattern).matches(function("Api.get", 1, "/srv/app/views.py")) is matches


def test_a_module_can_be_a_folder() -> None:
    assert Gate("p50", 0.03, pattern="app:f").matches(function("f", 1, "/srv/app/__init__.py"))


def test_a_module_can_be_that_of_a_function_without_a_file() -> None:
    written = replace(function("Point.__init__", 2, "<string>"), module="app.models")
    assert Gate("p50", 0.03, pattern="app.models:Point.__init__").matches(written)
    assert not Gate("p50", 0.03, pattern="app.views:Point.__init__").matches(written)


def test_a_share_is_as_far_up_as_down() -> None:
    assert Gate("p50", ratio=1.0).thresholds(5.0) == pytest.approx((log(2), -log(2)))


def test_an_amount_is_of_the_base_and_nothing_is_faster_than_nothing() -> None:
    assert Gate("mean", amount_ns=10.0).thresholds(100.0) == pytest.approx((log(1.1), log(0.9)))
    assert Gate("mean", amount_ns=10.0).thresholds(10.0) == pytest.approx((log(2), -inf))


def test_what_the_recording_cannot_tell_is_added_to_the_limit() -> None:
    up, down = Gate("p50", ratio=0.03).thresholds(5.0, 0.04)
    assert (up, down) == pytest.approx((log(1.03) + 0.04, -log(1.03) - 0.04))
