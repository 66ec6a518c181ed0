"""The JSON Schema of ``pylat/1`` and what pylat writes and reads are the same, key by key; so is the page about it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from latency.errors import RecordingError
from latency.histogram import Histogram
from latency.recording import (
    KINDS,
    PARTS,
    REMEDY,
    Argument,
    Function,
    FunctionLatency,
    Losses,
    Options,
    Overhead,
    Owners,
    Probes,
    ProcessCalls,
    Recording,
    SlowCall,
    SlowCalls,
    Slower,
    Split,
    StackFrame,
    Watched,
    combined,
    dumps,
    json_schema,
    loads,
)
from tests.recording_schema import PAGE, objects, with_tables, wrong
from tests.unit import comparing, test_recording, test_report_markers, test_slow_calls, test_split
from tests.unit.test_recording import BROKEN

DERIVED = {"percentiles_ns", "at_least_ns", "intervals_ns"}
"""Keys that the reader makes anew from others; it does not look at all of them."""

SERVE = Function("serve", "/srv/app.py", 10, "coroutine")


def full() -> Recording:
    """A recording with every key: a run of several processes, in slices, and all that can be asked for."""
    parts = [Histogram.from_values([10**6 + i * step for i in range(20)]) for step in range(1, 31)]
    sliced = FunctionLatency(SERVE, 590, 10, parts[0].merge(*parts[1:]), slices=tuple(parts))
    cut = replace(
        sliced,
        function=replace(SERVE, line=20, module="app"),
        active=Histogram.from_values([10**5] * 600),
        open=2,
        slices=(),
        split=Split(600, 2, -30, [[index] * 3 for index in range(len(PARTS))]),  # type: ignore[arg-type]
        self_time=Histogram.from_values([10**4] * 600),
        cut=300,
        ages=Histogram.from_values([10**9] * 302),
        probes=Probes(10**6, 0.03),
        code="3.11:0123456789abcdef",
        owners=Owners(2, ("get", "put")),
        watched=Watched(0.125, 3),
    )
    slow = SlowCall(
        replace(SERVE, module="app"),
        datetime(2026, 11, 27, tzinfo=timezone.utc),
        duration_ns=2 * 10**6,
        threshold_ns=10**6,
        pid=1,
        tid=2,
        host_pid=4242,
        host_tid=4243,
        thread="worker",
        arguments=(Argument("number", "99"),),
        stack=(StackFrame(SERVE, 17),),
        active_ns=5,
    )
    return replace(
        test_recording.recording(),
        functions=(sliced, cut),
        losses=Losses(too_deep=1),
        options=Options(("serve",), duration_s=10, interval_s=1, max_overhead_pct=5, slower="p99.9", slowest=1),
        overhead=Overhead(10, 900.0, 0.05, memory_bytes=10**7, map_bytes=10**6),
        processes=(ProcessCalls(1, 590, 10, ended=True),),
        watched=Watched(0.25, 7),
        slow_calls=SlowCalls("p99.9", 1, seen=1, kept=(slow,)),
    )


RUNS = {
    "full": [full()],
    "plain": [test_recording.recording()],
    "in slices": [test_recording.in_slices()],
    "several processes": [combined([test_recording.in_slices(), full()])],
    "divided": [test_split.recording(), test_split.recording(split=test_split.ONE.without_gc())],
    "slow calls": [test_slow_calls.recording(test_slow_calls.call(50, arguments=None), test_slow_calls.call())],
    "markers": [test_report_markers.recording(*test_report_markers.IMPORTS, test_report_markers.event("open", 40))],
    "many runs": comparing.runs({"f": 1e6}),
    "no run": [],
}


def known(document: Any) -> Any:
    """The same without the reason of loss that the builders let come from a newer pylat."""
    for run in document["runs"]:
        run["losses"].pop("from_the_future", None)
    return document


@pytest.mark.parametrize("runs", RUNS.values(), ids=RUNS)
def test_what_pylat_writes_is_what_the_schema_says_and_nothing_else(runs: list[Recording]) -> None:
    assert wrong(known(json.loads(dumps(runs)))) == []


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(json_schema())


KEYS = [(name, key) for name, definition in objects(json_schema()).items() for key in definition["properties"]]
PLACES: dict[str, tuple[object, ...]] = {
    "file": (),
    "run": ("runs", 0),
    "target": ("runs", 0, "target"),
    "options": ("runs", 0, "options"),
    "losses": ("runs", 0, "losses"),
    "overhead": ("runs", 0, "overhead"),
    "watched": ("runs", 0, "watched"),
    "process": ("runs", 0, "processes", 0),
    "function": ("runs", 0, "functions", 1),
    "histogram": ("runs", 0, "functions", 1, "wall"),
    "owners": ("runs", 0, "functions", 1, "owners"),
    "probes": ("runs", 0, "functions", 1, "probes"),
    "split": ("runs", 0, "functions", 1, "split"),
    "part": ("runs", 0, "functions", 1, "split", "running"),
    "slow_calls": ("runs", 0, "slow_calls"),
    "slow_call": ("runs", 0, "slow_calls", "kept", 0),
    "argument": ("runs", 0, "slow_calls", "kept", 0, "arguments", 0),
    "stack_frame": ("runs", 0, "slow_calls", "kept", 0, "stack", 0),
}


def without(name: str, key: str) -> Any:
    """The full recording as JSON, without a key of one of the schema's objects."""
    document = json.loads(dumps([full()]))
    spot = document
    for step in PLACES[name]:
        spot = spot[step]
    spot.pop(key, None)
    if key in ("cut", "ages"):
        spot.update(cut=0, ages=None)  # they belong together
        spot.pop(key)
    return document


@pytest.mark.parametrize(("name", "key"), KEYS)
def test_each_key_of_the_schema_is_written(name: str, key: str) -> None:
    schema = json_schema()
    objects(schema)[name]["properties"][key] = False
    assert wrong(json.loads(dumps([full()])), schema)


@pytest.mark.parametrize(("name", "key"), KEYS)
def test_what_is_always_there_is_asked_for_and_nothing_else(name: str, key: str) -> None:
    required = key in objects(json_schema())[name].get("required", ())
    document = without(name, key)
    assert bool(wrong(document)) == required
    if key in DERIVED or (name, key) == ("process", "calls"):
        return
    try:
        loads(json.dumps(document))
    except RecordingError:
        assert required
    else:
        assert not required


@given(st.data())
def test_what_the_reader_takes_the_schema_takes(data: st.DataObject) -> None:
    document = json.loads(dumps([full()]))
    test_recording.edit_somewhere(document, data, beside=DERIVED | {"calls"})
    try:
        loads(json.dumps(document))
    except RecordingError:
        return
    assert wrong(document, json_schema()) == []


BEYOND_A_SCHEMA = {
    "an overflowing duration",
    "calls that do not add up",
    "a sum of counts of 2^63",
    "a count that is not the sum",
    "a huge bucket index",
    "a tiny bucket index",
    "extremes exchanged",
    "no such day",
    "a year out of range",
    "one id twice",
}
"""What only the reader refuses."""


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_in_shape_the_schema_refuses_too(name: str) -> None:
    try:
        document = json.loads(BROKEN[name][0], parse_constant=int)
    except (ValueError, RecursionError):
        return  # no JSON at all; Infinity is no number of it
    assert bool(wrong(document, json_schema())) == (name not in BEYOND_A_SCHEMA)


def test_words_of_the_schema_are_those_of_the_code() -> None:
    defs = json_schema()["$defs"]
    assert defs["losses"]["properties"].keys() == REMEDY.keys()
    for name in ("function", "slow_call", "stack_frame"):
        assert defs[name]["properties"]["kind"]["enum"] == list(KINDS)
    assert tuple(key for key in defs["split"]["properties"] if key in PARTS) == PARTS


@pytest.mark.parametrize("text", ["50ms", "1.5s", "200us", "7 µs", "p99", "p99.9", "", "50", "p100", "ms", "1e9s"])
def test_a_threshold_of_the_schema_is_one_of_the_option(text: str) -> None:
    document = json.loads(dumps([full()]))
    document["runs"][0]["slow_calls"]["slower"] = text
    try:
        Slower.parse(text)
    except ValueError:
        assert wrong(document)
    else:
        assert wrong(document) == []


def test_unknown_keys_are_right_for_readers_and_seen_by_these_tests() -> None:
    document = json.loads(dumps([full()]))
    document["runs"][0]["surprise"] = 1
    assert wrong(document, json_schema()) == []
    assert "surprise" in wrong(document)[0]


def test_the_tables_of_the_page_are_those_of_the_schema() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page) == page, "python -m tests.recording_schema writes them anew"
