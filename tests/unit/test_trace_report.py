"""Traces as text, as JSON lines and in Chrome's format: from events alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from latency.recording import Function
from latency.recording import trace as told
from latency.recording.trace import TraceEvent, Value
from latency.report import chrome, trace_json, trace_text

GET = Function("Api.get", "/srv/app.py", 10)
SECOND = 1_000_000_000
NOON_NS = 1_790_000_000 * SECOND
EVIL = Function("f\x1b[2J\u202e", "/srv/\x07.py", 3)


def event(kind: str, at_us: int = 0, **members: Any) -> TraceEvent:
    of = {"pid": 7, "tid": 8, "function": GET, "frame": 0x1000, **members}
    return TraceEvent(kind, NOON_NS + at_us * 1000, **of)


def shown(of: TraceEvent) -> str:
    """The line without its time."""
    return trace_text.line(of)[15:]


def test_a_start_shows_its_arguments_behind_the_indentation_of_its_depth() -> None:
    arguments = (Value("7", name="id"), Value("[1, 2]", later=True, name="deep"))
    line = shown(event(told.STARTED, depth=2, arguments=arguments))
    assert line == "        8      → Api.get(id=7, deep=[1, 2]~)  /srv/app.py:10"


def test_a_start_without_arguments_to_show_has_no_parentheses() -> None:
    assert shown(event(told.STARTED)) == "        8  → Api.get  /srv/app.py:10"


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"kind": told.RETURNED, "latency_ns": 1500}, "← Api.get  1.50 µs"),
        ({"kind": told.RETURNED, "latency_ns": 1500, "value": Value("None")}, "← Api.get = None  1.50 µs"),
        ({"kind": told.RETURNED, "latency_ns": 1500, "active_ns": 500}, "← Api.get  1.50 µs (ran 500 ns)"),
        ({"kind": told.RAISED, "latency_ns": 1500, "exception": "KeyError"}, "✗ Api.get KeyError  1.50 µs"),
        (
            {"kind": told.RAISED, "latency_ns": 1, "exception": "KeyError", "value": Value("KeyError(1)", later=True)},
            "✗ Api.get KeyError(1)~  1.00 ns",
        ),
        ({"kind": told.YIELDED, "latency_ns": 1500}, "⇠ Api.get  1.50 µs"),
        ({"kind": told.RESUMED}, "↳ Api.get"),
        ({"kind": told.ABANDONED, "latency_ns": SECOND}, "⌫ Api.get  1.00 s"),
        ({"kind": told.RETURNED}, "← Api.get"),
    ],
)
def test_each_kind_of_event_has_its_line(members: dict[str, Any], text: str) -> None:
    assert shown(event(**members)) == f"        8  {text}  /srv/app.py:10"


def test_lost_events_are_shown_in_their_place() -> None:
    assert shown(TraceEvent(told.LOST, NOON_NS, lost=1204)) == "           … 1,204 events lost here"
    assert shown(TraceEvent(told.LOST, NOON_NS, lost=1)) == "           … 1 event lost here"


def test_nothing_of_a_target_can_steer_a_terminal() -> None:
    evil = Value("\x1b]0;x\x07\u202e", name="\x1b[2J")
    for kind in (told.STARTED, told.RETURNED, told.RAISED):
        line = trace_text.line(event(kind, function=EVIL, arguments=(evil,), value=evil, exception="\x1b[2J"))
        assert line.isprintable()


def test_indentation_ends_somewhere() -> None:
    assert len(shown(event(told.STARTED, depth=100_000))) < 200


def test_time_has_microseconds() -> None:
    assert trace_text.clock(NOON_NS + 1_234_567).endswith(".001234")


def test_a_json_line_holds_the_event_and_is_ascii() -> None:
    arguments = (Value("'ä'", name="a"), Value("x", later=True, name="b"))
    line = trace_json.line(event(told.STARTED, arguments=arguments, depth=1))
    assert line.isascii()
    assert json.loads(line) == {
        "event": "start", "time_ns": NOON_NS, "pid": 7, "tid": 8, "depth": 1, "function": "Api.get",
        "file": "/srv/app.py", "line": 10, "frame": "0x1000",
        "args": [{"name": "a", "value": "'ä'"}, {"name": "b", "value": "x", "read": "later"}],
    }  # fmt: skip


def test_json_tells_results_exceptions_and_losses() -> None:
    returned = trace_json.to_json(event(told.RETURNED, latency_ns=5, active_ns=3, value=Value("1")))
    assert (returned["latency_ns"], returned["active_ns"], returned["value"]) == (5, 3, {"value": "1"})
    raised = trace_json.to_json(event(told.RAISED, exception="KeyError", value=Value("KeyError(1)")))
    assert raised["exception"] == {"type": "KeyError", "value": "KeyError(1)"}
    assert trace_json.to_json(TraceEvent(told.LOST, 5, lost=3)) == {"event": "lost", "time_ns": 5, "lost": 3}
    assert trace_json.to_json(event(told.STARTED, function=None))["function"] is None


def written(*events: TraceEvent) -> list[dict[str, Any]]:
    trace = chrome.ChromeTrace()
    text = chrome.BEGIN + "".join(map(trace.add, events)) + trace.finish() + chrome.END
    found: list[dict[str, Any]] = json.loads(text)
    return found


def test_a_trace_without_events_is_valid() -> None:
    assert written() == []


def test_a_call_is_one_slice_with_its_arguments_and_its_result() -> None:
    (slice_,) = written(
        event(told.STARTED, 10, arguments=(Value("7", name="id"),)),
        event(told.RETURNED, 15, latency_ns=5000, value=Value("'Ada'")),
    )
    assert (slice_["ph"], slice_["name"], slice_["pid"], slice_["tid"]) == ("X", "Api.get", 7, 8)
    assert slice_["dur"] == 5
    assert slice_["args"] == {"id": "7", "file": "/srv/app.py:10", "returned": "'Ada'"}


def test_each_stay_of_a_generator_is_a_slice() -> None:
    kinds = [(told.STARTED, 0), (told.YIELDED, 2), (told.RESUMED, 10), (told.RETURNED, 13)]
    slices = written(*(event(kind, at, latency_ns=99_000, active_ns=5_000) for kind, at in kinds))
    assert [it["dur"] for it in slices] == [2, 3]


def test_a_call_whose_beginning_was_lost_begins_as_long_before_its_end_as_it_took() -> None:
    (lost, slice_) = written(TraceEvent(told.LOST, NOON_NS, lost=3), event(told.RETURNED, 15, latency_ns=5000))
    assert (lost["ph"], lost["name"]) == ("i", "3 events lost")
    assert slice_["dur"] == 5


def test_a_call_that_has_not_ended_is_a_beginning() -> None:
    (begun,) = written(event(told.STARTED, 1))
    assert begun["ph"] == "B"


def test_a_frame_that_is_used_again_after_a_lost_end_is_not_the_old_call() -> None:
    other = Function("other", "/srv/app.py", 20)
    (slice_,) = written(event(told.STARTED, 0), event(told.RETURNED, 50, latency_ns=1000, function=other))
    assert (slice_["name"], slice_["dur"]) == ("other", 1)


def test_the_slices_of_threads_and_frames_are_their_own() -> None:
    events = [
        event(told.STARTED, 0, tid=1),
        event(told.STARTED, 1, tid=2),
        event(told.RETURNED, 2, tid=1, latency_ns=1),
        event(told.RETURNED, 5, tid=2, latency_ns=1),
    ]
    assert [(it["tid"], it["dur"]) for it in written(*events)] == [(1, 2), (2, 4)]


def test_json_has_the_numbers_of_the_machine_where_the_target_has_others() -> None:
    inside = TraceEvent(told.STARTED, 0, pid=1, tid=3, host_pid=4242, host_tid=4250)
    numbers = {"pid": 1, "tid": 3, "host_pid": 4242, "host_tid": 4250}
    assert numbers.items() <= trace_json.to_json(inside).items()
    for same in (replace(inside, host_pid=1, host_tid=3), replace(inside, host_pid=0, host_tid=0)):
        assert "host_tid" not in trace_json.to_json(same)
