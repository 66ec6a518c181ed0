"""Recordings of markers as text: tables by what was asked for, and no latency where there is none."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from latency.histogram import Histogram
from latency.recording import Function, FunctionLatency, Losses, Options, Recording, TargetInfo, dumps, loads
from latency.recording.fast import load_columns
from latency.report.text import render

TARGET = TargetInfo((42,), "python3 app.py", "3.13.5", "571d98aa", "/py", "usdt", "table", "6.18", "x86_64", 2)
IMPORT, GC = "python:import__find__load", "python:gc__start,python:gc__done"


def marker(name: str, file: str, ns: Any, *, own_ns: Any = None, raised: int = 0) -> FunctionLatency:
    wall = Histogram.from_values(ns)
    active = None if own_ns is None else Histogram.from_values(own_ns)
    return FunctionLatency(Function(name, file, 0, "marker"), wall.count - raised, raised, wall, active)


def event(name: str, calls: int, file: str = "python:audit", line: int = 0) -> FunctionLatency:
    return FunctionLatency(Function(name, file, line, "event"), calls, 0, Histogram.empty())


def recording(*functions: FunctionLatency, asked: tuple[str, ...] = (), **more: Any) -> Recording:
    return Recording(TARGET, 10.0, functions, options=Options(markers=asked), **more)


IMPORTS = (
    marker("app", IMPORT, [9 * 10**6], own_ns=[10**6]),
    marker("app.views", IMPORT, [8 * 10**6], own_ns=[8 * 10**6]),
    marker("no_such_module", IMPORT, [10**5] * 2, own_ns=[10**5] * 2, raised=2),
)


def row(text: str, name: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.rstrip().endswith(f"  {name}"))
    return re.split(r"\s{2,}", line.strip())


def test_imports_are_a_table_with_total_and_own_time_the_longest_first() -> None:
    text = render(recording(*IMPORTS, asked=("imports",)))
    assert "pid 42 (python3 app.py)   imports   10.0 s" in text
    assert f"{IMPORT}   4 in 10.0 s, 2 failed" in text
    assert row(text, "app")[-3:] == ["1.00 ms", "9.00 ms", "app"]
    assert row(text, "app.views")[-3:] == ["8.00 ms", "8.00 ms", "app.views"]
    assert text.index("  app\n") < text.index("  app.views\n") < text.index("  no_such_module\n")
    assert "own: " in text
    assert "distribution" not in text


def test_pauses_are_a_table_and_histograms() -> None:
    functions = [marker(f"gc [generation {number}]", GC, [10 ** (3 + number)] * 20) for number in range(3)]
    events = {f"gc [generation {number}] collected": 1000 * number for number in range(3)}
    text = render(recording(*functions, asked=("gc",), events=events))
    assert row(text, "gc [generation 2]")[0] == "20"
    assert row(text, "gc [generation 2]")[-2:] == ["2,000", "gc [generation 2]"]
    assert text.count("distribution") == 3
    assert text.count(f"marker gc [generation 1]  {GC}\n") == 1


def test_events_are_counted_and_have_no_latency() -> None:
    text = render(recording(event("open", 40), event("exec", 1200), asked=("audit",)))
    assert row(text, "exec") == ["1,200", "120", "exec"]
    assert text.index("  exec\n") < text.index("  open\n")
    assert "p50" not in text
    assert "mean" not in text


def test_a_single_event_is_one_line() -> None:
    text = render(recording(event("myapp:event", 30, "/lib/app.so"), asked=("myapp:event",)))
    assert "event myapp:event  /lib/app.so   10.0 s" in text
    assert "30 times  (3.00/s)" in text
    assert "p50" not in text


def test_lines_are_named_by_file_and_line() -> None:
    text = render(recording(event("python:line", 7, "/srv/app.py", 12), event("python:line", 9, "/srv/app.py", 13)))
    assert row(text, "/srv/app.py:12") == ["7", "0.700", "/srv/app.py:12"]


def test_a_pair_with_a_long_name_keeps_it() -> None:
    name = "myapp:request__start,myapp:request__done"
    text = render(recording(marker(name, "/memfd:probes", [10**6] * 20)))
    assert f"marker {name}  /memfd:probes" in text
    assert "p50" in text


def test_a_loss_says_what_it_means_for_markers() -> None:
    text = render(recording(event("open", 1), asked=("audit",), losses=Losses(unmatched_return=2)))
    assert "lost 2 unmatched_return: an end whose beginning was not seen" in text
    assert "--func" not in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_hostile_names_and_huge_numbers_fit_the_line(width: int) -> None:
    functions = [
        marker("x\x1b[31m" * 99, IMPORT, [2**50] * 3, own_ns=[2**49] * 3, raised=1),
        event("\u202e" * 99, 10**15),
    ]
    text = render(recording(*functions, asked=("imports", "audit")), width=width, unit="us")
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= width


def test_markers_come_back_from_a_file_as_they_were(tmp_path: Any) -> None:
    before = recording(*IMPORTS, event("open", 40), asked=("imports", "audit"))
    (after,) = loads(dumps([before]))
    assert after.functions == before.functions
    assert after.options.markers == ("imports", "audit")
    path = tmp_path / "r.json"
    path.write_text(dumps([before]))
    for fast in (True, False):
        (columns,) = load_columns(path, fast=fast)
        assert np.array_equal(columns.calls, [1, 1, 2, 0])
