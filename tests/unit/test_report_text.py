"""The text report: it fits its lines, it hides no loss, and it is never silently empty."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from latency.histogram import Histogram
from latency.recording import (
    REMEDY,
    Function,
    FunctionLatency,
    Losses,
    Options,
    Overhead,
    Owners,
    Probes,
    Recording,
    TargetInfo,
    Watched,
)
from latency.report.text import render

TARGET = TargetInfo((42,), "python3 app.py", "3.12.1", "571d98aa", "/py", "handlers", "table", "6.18", "x86_64", 2)


def latency(name: str = "handle_request", ns: Any = (10**6,), kind: str = "function", **more: Any) -> FunctionLatency:
    wall = Histogram.from_values(ns)
    return FunctionLatency(Function(name, "/srv/app/views.py", 88, kind), wall.count, 0, wall, **more)


def recording(*functions: FunctionLatency, **more: Any) -> Recording:
    return Recording(TARGET, 10.0, functions, **more)


def sliced(calls: int = 3000) -> FunctionLatency:
    values = np.exp(np.random.default_rng(1).normal(14, 1, calls)).astype(np.int64)
    parts = tuple(Histogram.from_values(part) for part in np.array_split(values, 30))
    return latency(ns=values, slices=parts)


def test_one_function_is_shown_in_full() -> None:
    text = render(recording(latency(ns=[10**6] * 90 + [10**8] * 10), overhead=Overhead(200, 920, 0.002)))
    assert "pid 42 (python3 app.py)   handle_request  /srv/app/views.py:88   10.0 s" in text
    assert "calls 100  (10.0/s)   raised 0   mean 10.9 ms   total 1.09 s" in text
    assert re.search(r"p50 +p90 +p95 +p99 +p99.9 +max", text)
    assert re.search(r"977 µs - 1.95 ms +90 +90.00 +90.00  █+ p50 p90", text)
    assert "opcode handlers (CPython 3.12.1, build 571d98…)   0 lost, 0 unmatched" in text
    assert "200 hits × 920 ns = 0.2 % of one CPU" in text


def test_a_measurement_in_slices_says_what_share_was_watched_and_which_percentiles_are_estimates() -> None:
    ages = Histogram.from_values([10**6] * 3 + [3 * 10**8] * 4)
    cut = latency(ns=[10**6] * 90, cut=6, open=1, ages=ages)
    options = Options(func=("handle_request",), max_overhead_pct=5.0)
    text = re.sub(r"\s+", " ", render(recording(cut, watched=Watched(0.23, 12), options=options)))
    assert "watched 23 % of the time, in 12 slices, to stay under 5 % of one CPU: counts are as seen" in text
    assert "percentiles by Kaplan-Meier from 90 complete calls and 7 cut or open ones" in text
    assert "cut: 6 calls still running when the probes were taken away" in text
    assert "mean 1.00 ms of those that ended" in text
    assert text.count("≥ 300 ms") == 4  # p95, p99, p99.9 and the longest
    assert "(42.2/s)" in text  # of those that began, while watched


def test_functions_that_are_watched_in_turns_have_a_share_of_the_time_each() -> None:
    ages = Histogram.from_values([])
    options = Options(func=("handle_request",), max_overhead_pct=5.0)
    each = [latency(ns=[10**6] * 90, ages=ages, watched=Watched(share, 12)) for share in (0.12, 0.25)]
    whole = recording(*each, watched=Watched(0.99, 80), options=options)
    text = re.sub(r"\s+", " ", render(whole))
    assert "watched 12 % to 25 % of the time each, in turns (80 slices): counts are as seen, rates those of the" in text
    assert "180 calls seen in 10.0 s" in text
    assert "(75.0/s)" in text  # of the first one: 90 in 0.12 × 10 s
    assert "(36.0/s)" in text
    limited = re.sub(r"\s+", " ", render(replace(whole, watched=Watched(0.5, 80))))
    assert "in turns (80 slices), and any of them 50 % of the time, to stay under 5 % of one CPU: counts" in limited


def test_the_memory_and_the_reason_for_the_engine_are_told() -> None:
    target = replace(TARGET, choice="watch: it is cheaper")
    cost = Overhead(200, 920, 0.002, memory_bytes=61_000_000, map_bytes=4_000_000)
    text = render(Recording(target, 10.0, (latency(),), overhead=cost))
    assert "chosen: watch: it is cheaper" in text
    assert "pylat's memory 61.0 MB, its BPF maps 4.00 MB" in re.sub(r"\s+", " ", text)


def test_each_percentile_is_marked_in_its_row() -> None:
    text = render(recording(latency(ns=[10**3] * 80 + [10**6] * 15 + [10**9] * 5)))
    marks = re.findall(r"^ .*? ((?:\d+\.)?\d+ [µnm]?s) +\d+ .*?((?:p\d+ ?)+)$", text, re.MULTILINE)
    assert [mark for _, mark in marks] == ["p50", "p90", "p99"]


def test_the_histogram_counts_every_call_once() -> None:
    text = render(recording(sliced()))
    rows = re.findall(r" - .*?s +([\d,]+) +[\d.]+ +([\d.]+)  ", text)
    assert sum(int(calls.replace(",", "")) for calls, _ in rows) == 3000
    assert rows[-1][1] == "100.00"


def test_error_bars_stand_under_the_percentiles_only_where_they_are_known() -> None:
    assert re.search(r"^ +±[\d.]+ % +±.* exact$", render(recording(sliced())), re.MULTILINE)
    assert "±" not in render(recording(latency()))


def test_no_call_is_said_and_not_shown_as_nothing() -> None:
    text = render(recording(latency(ns=[], open=1, oldest_open_ns=12 * 10**9)))
    assert "0 calls in 10.0 s" in text
    assert "open: 1 call still running, the oldest for 12.0 s" in text
    assert "0 calls in 10.0 s" in render(recording())


def test_an_open_call_older_than_any_that_ended_is_pointed_out() -> None:
    text = " ".join(render(recording(latency(ns=[5], open=2, oldest_open_ns=10**9))).split())
    assert "2 calls still running, the oldest for 1.00 s: longer than any call that ended" in text


@pytest.mark.parametrize("reason", sorted(REMEDY))
def test_each_loss_says_what_to_do(reason: str) -> None:
    text = " ".join(render(recording(latency(), losses=Losses(**{reason: 7}))).split())
    assert f"lost 7 {reason}: {REMEDY[reason]}" in text


def test_a_loss_of_a_newer_pylat_is_shown() -> None:
    assert "lost 7 later_\\x1b: a newer pylat" in render(recording(latency(), losses=Losses(other={"later_\x1b": 7})))


def test_what_began_before_and_what_cannot_be_seen_is_said() -> None:
    text = render(recording(latency(), began_before=3, blind_spots=("calls made from C",)))
    assert "3 calls began before pylat attached" in text
    assert "not seen: calls made from C" in text


def test_a_coroutine_shows_its_life_and_the_time_it_ran() -> None:
    active = Histogram.from_values([1000])
    text = render(recording(latency(kind="coroutine", active=active, suspensions=9, abandoned=2)))
    assert "coroutine handle_request" in text
    assert text.index("end to end") < text.index("1.00 ms", text.index("end to end")) < text.index("active")
    assert "1.00 µs" in text[text.index("active") :]
    assert "suspended 9 times" in text
    assert "abandoned 2" in text


def test_many_functions_are_a_table_with_the_busiest_first() -> None:
    text = render(recording(*(latency(f"f{i}", [10**6 * i]) for i in range(1, 31))), top=3)
    assert re.findall(r"^f\d+", text, re.MULTILINE) == ["f30", "f29", "f28"]
    assert "… and 27 more" in text
    assert "distribution" not in text


def test_the_waits_of_a_coroutine_do_not_make_it_busy() -> None:
    waits = latency("waits", [10**12], "coroutine", active=Histogram.from_values([10]))
    text = render(recording(waits, latency("works", [10**6])))
    assert text.index("works") < text.index("waits")


def test_a_few_functions_that_were_asked_for_are_also_shown_in_full() -> None:
    text = render(recording(latency("a"), latency("b"), options=Options(("?",))))
    assert text.count("distribution") == 2


def test_a_function_without_calls_has_dashes_in_the_table() -> None:
    assert re.search(r"^ +0 +0( +-){6}$", render(recording(latency("a"), latency("b", []))), re.MULTILINE)


def test_the_unit_asked_for_is_the_only_one() -> None:
    text = render(recording(sliced()), unit="us")
    assert "µs" in text
    assert " ms" not in text


def test_a_time_stamp_is_the_end_of_the_measurement() -> None:
    run = recording(latency())
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ\npylat", render(run, timestamp=True))


def test_colour_changes_nothing_but_colour() -> None:
    run = recording(sliced(), losses=Losses(negative=1))
    coloured = render(run, color=True)
    assert "\x1b[" in coloured
    plain = re.sub(r"\x1b\[[\d;]*m", "", coloured)
    assert [line.rstrip() for line in plain.splitlines()] == render(run).splitlines()


HOSTILE = st.text(st.characters() | st.sampled_from("\x1b\n\r\u202e計\u0301 "), max_size=300)
NS = st.lists(st.integers(0, 2**62), max_size=20)


@given(HOSTILE, HOSTILE, NS, st.integers(0, 100), st.sampled_from([None, "us", "ms"]), st.integers(1, 3))
def test_no_name_or_number_breaks_out_of_its_line(
    name: str, path: str, ns: list[int], width: int, unit: str | None, copies: int
) -> None:
    wall = Histogram.from_values(ns)
    odd = FunctionLatency(Function(name, path, 2**63 - 1, "async_generator"), wall.count, 0, wall, active=wall)
    target = TargetInfo((1,) * 9, name, name, name, path, name, name, name, name, 2)
    run = Recording(target, 1e300, (odd,) * copies, Options((name,)), Losses(other={name: 1}), (name,))
    for color in (False, True):
        text = re.sub(r"\x1b\[[\d;]*m", "", render(run, unit=unit, width=width, color=color)) if color else ""
        text = text or render(run, unit=unit, width=width)
        assert all(character.isprintable() or character == "\n" for character in text)
        assert max(map(cell_len, text.split("\n"))) <= max(width, 60)


def test_no_line_of_an_ordinary_report_is_cut() -> None:
    run = recording(sliced(), latency("Api.get"), options=Options(("*",)), losses=Losses(too_deep=1))
    for unit in (None, "us", "ms"):
        assert "…" not in render(run, unit=unit).replace("571d98…", "")


def test_what_the_probes_took_is_said_where_it_is_much() -> None:
    text = " ".join(render(recording(latency(ns=[10**6] * 10, probes=Probes(90 * 10**6, 0.03)))).split())
    assert "90 % of the elapsed time was pylat's own probes, which is taken off; ± 270 µs" in text


def test_calls_that_lost_the_processor_for_the_probes_are_said_in_the_same_line() -> None:
    text = " ".join(render(recording(latency(ns=[10**6] * 10, probes=Probes(90 * 10**6, 0.03, 0.12)))).split())
    assert "± 270 µs, and 12 % of the calls lost the processor meanwhile" in text


@pytest.mark.parametrize(
    ("ns", "options", "named"),
    [
        (10**6, Options(("f",)), True),
        (10**4, Options(("f",)), False),  # its own hits take longer
        (10**6, Options(), False),
        (10**6, Options(("f",), offcpu=True), False),
        (10**6, Options(("f",), slower="1s"), False),
        (10**6, Options(("f",), children=True), False),
    ],
)
def test_watch_is_named_where_it_would_be_truer(ns: int, options: Options, *, named: bool) -> None:
    text = render(recording(latency(ns=[ns] * 10, probes=Probes(90 * ns, 0.03)), options=options))
    assert "90 % of the elapsed time was pylat's own probes" in " ".join(text.split())
    assert ("--engine watch" in text) is named


def test_what_the_probes_took_while_a_call_was_suspended_is_said_where_it_is_much() -> None:
    of_loop = Probes(10**4, 0.04, unsure_ns=4 * 10**6)
    text = " ".join(render(recording(latency(ns=[10**6] * 10, kind="coroutine", probes=of_loop))).split())
    assert "up to 400 µs of what is left may be probes, by which the thread was held while this was suspended" in text


def test_what_the_probes_took_is_not_said_where_it_is_little() -> None:
    assert "probes, which is taken off" not in render(recording(latency(probes=Probes(10**4, 0.03))))


def test_a_latency_that_may_be_wrong_by_more_than_it_is_is_no_number() -> None:
    text = render(recording(latency(ns=[10**4] * 10, probes=Probes(10**7, 0.05))))
    assert "< 60.0 µs" in text


def test_nor_is_one_in_slices_or_in_a_table_of_many() -> None:
    wrong = latency(ns=[10**4] * 10, probes=Probes(10**7, 0.05))
    cut = replace(wrong, cut=1, ages=Histogram.from_values([10**5]))
    assert "< 60.0 µs" in render(recording(cut))
    assert render(recording(wrong, latency("other"))).count("< 60.0 µs") == 3


def test_a_row_of_several_functions_names_them() -> None:
    owners = Owners.of(f"f{number}" for number in range(25))
    text = " ".join(render(recording(latency(ns=[10**6] * 10, owners=owners))).split())
    assert "shared by 25 functions, whose calls nothing tells apart: f0, f1, f10, …" in text
    assert "shared by" not in render(recording(latency(ns=[10**6] * 10)))


def test_written_code_is_shown_with_its_module() -> None:
    function = Function("Point.__init__", "<string>", 2, module="app.models")
    assert "Point.__init__  app.models <string>:2" in render(recording(replace(latency(), function=function)))
