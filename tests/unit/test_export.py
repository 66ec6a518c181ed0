"""What is exported of a recording: which series, of which labels, with which values."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.export import metrics
from latency.export.families import LONGEST_LABEL, Family, Point, Source, Value, families, label_value, since
from latency.export.metrics import METRICS, Metric
from latency.histogram import Histogram
from latency.recording import Function, Losses, Recording
from tests.exported import BEGAN, VALUES_NS, everything, measured, recording


def exported(*runs: Recording) -> list[Family]:
    return families([Source(run) for run in runs], version="1")


def points(found: Sequence[Family], metric: Metric) -> list[Point]:
    return [point for family in found if family.metric is metric for point in family.points]


def values(found: Sequence[Family], metric: Metric) -> list[Value]:
    return [point.value for point in points(found, metric)]


def test_a_recording_can_say_each_of_the_metrics() -> None:
    assert {family.metric for family in exported(everything())} == set(METRICS)


def test_counts_are_those_of_the_recording() -> None:
    found = exported(everything())
    counted = {
        metrics.RAISED: [10, 1],
        metrics.ABANDONED: [1],
        metrics.SUSPENSIONS: [9],
        metrics.CUT: [4],
        metrics.OPEN: [0, 2],
        metrics.EVENTS: [1200],
        metrics.BEGAN_BEFORE: [1],
        metrics.SLOW: [2],
        metrics.SLOW_LOST: [1],
        metrics.HITS: [20_000],
        metrics.COST: [18_000_000],
        metrics.MEASURED: [10_000_000_000],
        metrics.WATCHED: [2_500_000_000],
        metrics.PART: [4_000_000, 3_000_000, 2_000_000, 1_000_000, 2_000_000],
    }
    assert {metric: values(found, metric) for metric in counted} == counted


def test_each_reason_of_loss_is_there_from_the_beginning() -> None:
    found = points(exported(recording(losses=Losses(too_deep=3))), metrics.LOST)
    assert {dict(point.labels)["reason"]: point.value for point in found} == Losses(too_deep=3).as_dict()


def test_a_function_that_was_compiled_twice_is_one_series() -> None:
    found = exported(recording(measured(raised=1), measured(raised=2)))
    assert values(found, metrics.RAISED) == [3]
    assert values(found, metrics.DURATION) == [measured().wall + measured().wall]


def test_several_runs_are_added_up_and_count_from_the_first() -> None:
    later = replace(recording(measured(raised=5)), started_at=BEGAN + timedelta(hours=1))
    (point,) = points(exported(later, recording(measured(raised=1))), metrics.RAISED)
    assert (point.value, point.created) == (6, BEGAN)


def test_of_the_oldest_open_calls_the_oldest_counts() -> None:
    one, two = (recording(replace(measured(), open=1, oldest_open_ns=ns)) for ns in (7, 5))
    assert values(exported(one, two), metrics.OLDEST_OPEN) == [7]
    assert values(exported(one, two), metrics.OPEN) == [2]


def test_an_event_has_calls_and_no_duration() -> None:
    found = exported(recording(replace(measured(Function("open", "python:audit", 0, "event"), []), returned=9)))
    assert values(found, metrics.EVENTS) == [9]
    assert not points(found, metrics.DURATION)


def test_garbage_collection_that_is_not_told_apart_is_no_part() -> None:
    run = everything()
    stream = run.functions[1]
    assert stream.split
    found = exported(recording(replace(stream, split=stream.split.without_gc())))
    assert [dict(point.labels)["part"] for point in points(found, metrics.PART)] == [
        "running",
        "waiting",
        "runnable",
        "suspended",
    ]


def test_slow_calls_are_exemplars_of_their_function_the_longest_first() -> None:
    (handle, stream) = points(exported(everything()), metrics.DURATION)
    assert [(each.duration_ns, dict(each.labels)) for each in handle.exemplars] == [
        (VALUES_NS[-1], {"pid": "1", "tid": "7"}),
        (VALUES_NS[-2], {"pid": "1", "tid": "8"}),
    ]
    assert abs(handle.exemplars[0].ended_at - BEGAN - timedelta(seconds=3)) <= timedelta(microseconds=1)
    assert stream.exemplars == ()


def test_a_module_stands_before_the_name() -> None:
    found = exported(recording(measured(Function("Point.__init__", "<string>", 2, module="geometry"))))
    (point,) = points(found, metrics.DURATION)
    assert dict(point.labels)["function"] == "geometry.Point.__init__"


def test_labels_of_the_source_are_on_all_that_is_the_sources() -> None:
    found = families([Source(everything(), {"service": "shop\x1b"})], version="1")
    own = {metrics.MEMORY, metrics.BUILD}
    for family in found:
        labels = [dict(point.labels).get("service") for point in family.points]
        assert set(labels) == ({None} if family.metric in own else {"shop\\x1b"})


HOSTILE = '\x1b[31m\n"}\\ \u202e\udcff\u2028'


def test_hidden_characters_of_a_target_are_visible_in_labels() -> None:
    (point,) = points(exported(recording(measured(Function(HOSTILE, HOSTILE, 1)))), metrics.DURATION)
    for name in ("function", "file"):
        assert dict(point.labels)[name] == '\\x1b[31m\\x0a"}\\ \\u202e\\udcff\\u2028'


@given(st.text(st.characters(), max_size=2000))
def test_a_label_is_harmless_and_bounded(text: str) -> None:
    shown = label_value(text)
    shown.encode()
    assert len(shown) <= LONGEST_LABEL
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize("make", [lambda middle: "a" * 600 + middle + "z" * 600, lambda middle: "\x1b" * 200 + middle])
def test_long_labels_that_differ_in_what_is_left_out_are_two(make: Callable[[str], str]) -> None:
    assert label_value(make("x")) != label_value(make("y"))
    assert label_value(make("x")) == label_value(make("x"))


def test_what_came_since_is_the_difference_of_what_counts() -> None:
    before, after = (
        recording(measured(values_ns=[5000], raised=1)),
        recording(measured(values_ns=[5000, 9000], raised=2)),
    )
    found = since(exported(after), exported(before), BEGAN + timedelta(seconds=5))
    assert values(found, metrics.RAISED) == [1]
    (point,) = points(found, metrics.DURATION)
    assert isinstance(point.value, Histogram)
    assert (point.value.count, point.value.sum_ns) == (1, 9000)
    assert point.created == BEGAN + timedelta(seconds=5)
    assert values(found, metrics.BUILD) == [1]


def test_what_began_anew_or_was_not_there_counts_as_a_whole() -> None:
    before = recording(measured(values_ns=[5000] * 3))
    after = replace(
        recording(measured(values_ns=[5000]), measured(Function("new", "/srv/app.py", 30), [7000])),
        started_at=BEGAN + timedelta(seconds=5),
    )
    found = since(exported(after), exported(before), BEGAN + timedelta(seconds=7))
    assert [point.value.count for point in points(found, metrics.DURATION)] == [1, 1]  # type: ignore[union-attr]
    assert {point.created for point in points(found, metrics.DURATION)} == {BEGAN + timedelta(seconds=5)}


def test_what_is_less_than_before_began_anew() -> None:
    before, after = recording(measured(values_ns=[5000] * 3, raised=2)), recording(measured(values_ns=[9000], raised=1))
    found = since(exported(after), exported(before), BEGAN + timedelta(seconds=5))
    assert values(found, metrics.RAISED) == [1]
    assert values(found, metrics.DURATION) == [Histogram.from_values([9000])]


def test_exemplars_are_told_once_to_who_takes_differences() -> None:
    found = since(exported(everything()), exported(everything()), BEGAN + timedelta(seconds=4))
    assert not any(point.exemplars for point in points(found, metrics.DURATION))


def test_opentelemetrys_names_are_prometheus_names_as_its_servers_translate_them() -> None:
    for metric in METRICS:
        unit = f"_{metric.unit}" if metric.unit else ""
        suffix = "_total" if metric.type == metrics.COUNTER else "_info" if metric.type == metrics.INFO else ""
        assert metric.otel.replace(".", "_") + unit + suffix == metric.sample
