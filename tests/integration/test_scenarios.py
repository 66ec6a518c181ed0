"""Counts and times against programs that know their own, on every CPython of the lab."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable
from functools import partial

import pytest

from latency.tracing.counted import wire
from latency.tracing.counted.parameters import Capacity
from latency.tracing.probes import loading
from tests.brackets import outside
from tests.lab import Interpreter, greenlets
from tests.pylat_command import EVERY_CALL, Tracing
from tests.requirements import require
from tests.target_program import TargetProgram
from tests.targets.protocol import added
from tests.watch import Watch, of_names, unaccounted, wrong

Start = Callable[..., TargetProgram]
StartWatch = Callable[..., Watch]


def assert_exact(target: TargetProgram, watch: StartWatch) -> None:
    """Every function from the first run on, and at the same time those of the program by name in the second run."""
    every = watch(target.pid)
    first = target.run()
    some = watch(target.pid, first)
    second = target.run()
    seen_some, seen_every = some.stop(), every.stop()
    assert wrong(seen_some, second) == {}
    assert wrong(seen_every, added([first, second])) == {}
    assert unaccounted(seen_every) == 0


def test_every_count_is_exact(interpreter: Interpreter, start_target: Start, watch: StartWatch) -> None:
    assert_exact(start_target(interpreter, "everything.py"), watch)


def test_coverage_changes_no_count(
    environment_interpreter: Interpreter, start_target: Start, watch: StartWatch
) -> None:
    require(importlib.util.find_spec("coverage"), "coverage is not installed (script/setup --tests)")
    assert_exact(start_target(environment_interpreter, "instrumented.py"), watch)


def test_greenlets_are_told_apart(environment_interpreter: Interpreter, start_target: Start, watch: StartWatch) -> None:
    require(importlib.util.find_spec("gevent"), "gevent is not installed (script/setup --tests)")
    assert_exact(start_target(environment_interpreter, "greenlets.py", "gevent"), watch)


@pytest.mark.cpython(each=greenlets.MINORS)
def test_greenlets_are_told_apart_on_other_versions(
    interpreter: Interpreter, start_target: Start, watch: StartWatch
) -> None:
    files = greenlets.package(interpreter)
    assert_exact(start_target(interpreter, "greenlets.py", files=files, environ=greenlets.ENVIRON), watch)


def test_times_lie_within_what_the_program_measures(
    interpreter: Interpreter, start_target: Start, watch: StartWatch
) -> None:
    target = start_target(interpreter, "timed.py", "times")
    every = watch(target.pid, elapsed=True)
    truth = target.run()
    recording = every.stop()
    assert wrong(recording, truth) == {}
    times = json.loads((target.directory / "times").read_text())
    for name, (function,) in of_names(recording, times).items():
        for kind in times[name]:
            measured = getattr(function, kind)
            assert measured is not None, f"{name} {kind}"
            assert outside(measured, *zip(*times[name][kind], strict=True)) == [], f"{name} {kind}"


def test_two_functions_of_one_name_are_two_rows(
    own_interpreter: Interpreter, start_target: Start, watch: StartWatch
) -> None:
    target = start_target(own_interpreter, "scenarios.py")
    some = watch(target.pid, ["twin"])
    target.run()
    assert sorted(each.calls for each in some.stop().functions) == [3, 5]


def test_a_call_that_began_before_is_no_latency(
    own_interpreter: Interpreter, start_target: Start, watch: StartWatch
) -> None:
    target = start_target(own_interpreter, "hanging.py")
    target.run()  # one call of hangs has begun
    some = watch(target.pid, ["hangs"])
    target.run()  # it ends, and the next one begins
    target.run()  # that ends, and another begins
    recording = some.stop()
    (hangs,) = recording.functions
    assert (hangs.calls, hangs.open, recording.began_before) == (1, 1, 1)
    assert recording.losses.total == 0


def test_an_open_call_has_an_age(own_interpreter: Interpreter, start_target: Start, watch: StartWatch) -> None:
    target = start_target(own_interpreter, "hanging.py")
    some = watch(target.pid, ["hangs"])
    began = target.run()
    earlier_ns = time.monotonic_ns()
    (hangs,) = some.stop().functions
    assert hangs.open == 1
    assert earlier_ns - began["inside_ns"] <= hangs.oldest_open_ns <= time.monotonic_ns() - began["before_ns"]


def test_recursion_deeper_than_the_table_of_a_thread_is_exact(
    interpreters: list[Interpreter], start_target: Start, watch: StartWatch
) -> None:
    by_minor = {interpreter.minor: interpreter for interpreter in interpreters}
    for minor in (3, 9), (3, 11), (3, 13), (3, 15):
        target = start_target(by_minor[minor], "recursion.py", wire.DEPTH + 500, 3)
        every = watch(target.pid)
        first = target.run()
        some = watch(target.pid, first)
        second = target.run()
        assert wrong(some.stop(), second) == {}, minor
        assert wrong(every.stop(), added([first, second])) == {}, minor


@pytest.mark.parametrize(
    ("version", "engine"),
    [
        *((version, "auto") for version in ((3, 9), (3, 11), (3, 13), (3, 15))),
        *((version, "watch") for version in ((3, 11), (3, 13), (3, 15))),  # to 3.10 it refuses what suspends
    ],
)
def test_tens_of_thousands_that_wait_at_once_are_exact_or_lost_and_told_once(
    interpreters: list[Interpreter], start_target: Start, version: tuple[int, int], engine: str
) -> None:
    interpreter = next(it for it in interpreters if it.minor == version)
    target = start_target(interpreter, "crowding.py", 10, 70_000, 1)
    with Tracing("-p", target.pid, "--func", "waits", "--engine", engine, *EVERY_CALL, "-j") as tracing:
        truth = target.run()["waits"]
        result = tracing.stop()
    (waits,) = result.run["functions"]
    losses = result.run["losses"]
    assert waits["calls"] + losses["table_full"] == truth["calls"]
    assert sum(losses.values()) == losses["table_full"]
    assert result.run["began_before"] == 0
    assert engine == "watch" or not losses["table_full"]


@pytest.mark.parametrize("engine", ["eval", "handlers"])
def test_more_that_wait_at_once_than_the_table_holds_are_lost_and_told_once(
    interpreters: list[Interpreter], start_target: Start, engine: str
) -> None:
    waiting, room = 300_000, Capacity().suspended
    version = (3, 9) if engine == "eval" else (3, 11)
    interpreter = next(it for it in interpreters if it.minor == version)
    target = start_target(interpreter, "crowding.py", 10, waiting, 1)
    with Tracing("-p", target.pid, "--func", "waits", "--engine", engine, *EVERY_CALL, "-j") as tracing:
        truth = target.run()["waits"]
        result = tracing.stop()
    losses = {name: count for name, count in result.run["losses"].items() if count}
    assert losses == {"table_full": waiting - room}
    assert result.function("waits")["calls"] == truth["calls"] - losses["table_full"]
    assert result.run["began_before"] == 0
    assert result.status == 4


def test_calls_that_find_no_place_are_lost_and_told_once(
    own_interpreter: Interpreter, start_target: Start, watch: StartWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, beyond, waiting, times = 64, 100, 200, 3
    monkeypatch.setattr(loading, "Capacity", partial(Capacity, suspended=room))
    target = start_target(own_interpreter, "crowding.py", wire.DEPTH + beyond, waiting, times)
    some = watch(target.pid, ["descend", "plunge", "waits"])
    truth = target.run()
    recording = some.stop()
    lost = {"descend": beyond - room, "plunge": beyond - room, "waits": waiting - room}
    calls = {name: each.calls for name, (each,) in of_names(recording, truth).items()}
    assert calls == {name: truth[name]["calls"] - times * lost[name] for name in lost}
    assert recording.losses.table_full == recording.losses.total == times * sum(lost.values())
    assert recording.began_before == 0


def test_calls_beyond_the_table_of_a_thread_that_ends_are_cut(
    own_interpreter: Interpreter, start_target: Start, watch: StartWatch
) -> None:
    beyond = 100
    target = start_target(own_interpreter, "crowding.py", wire.DEPTH + beyond, 0, 1, "cut")
    some = watch(target.pid, ["never_returns"])
    target.run()
    recording = some.stop()
    assert recording.losses.thread_ended == recording.losses.total == wire.DEPTH + beyond
    assert [(each.calls, each.open) for each in recording.functions] == [(0, 0)]
