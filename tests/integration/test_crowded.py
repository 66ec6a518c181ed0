"""Threads that compute all at once: nothing is lost or counted twice, and shortest and longest calls are right.

In ordinary builds the GIL lets one of them run at a time. In free-threaded ones several are in the interpreter at once,
unless the GIL is switched on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from latency.cpython.interpreter import Target
from latency.errors import UnsupportedBuild
from latency.recording import Options
from latency.tracing.auto import Auto
from tests.brackets import CLOCK_NS, outside
from tests.lab import Interpreter
from tests.target_program import TargetProgram
from tests.targets.protocol import added
from tests.watch import Watch, of_names, unaccounted, wrong

Start = Callable[..., TargetProgram]
StartWatch = Callable[..., Watch]

ROUNDS = 300


def crowds(interpreter: Interpreter) -> Iterator[tuple[int, dict[str, str]]]:
    """(how many threads, the environment)."""
    if not interpreter.free_threaded:
        yield 4, {}
        return
    for threads in (1, 4, 16):
        for gil in "01":
            yield threads, {"PYTHON_GIL": gil}
    yield 4, {"PYTHON_TLBC": "0"}  # 3.14: no copies of the units


def test_no_call_is_lost_or_counted_twice(interpreter: Interpreter, start_target: Start, watch: StartWatch) -> None:
    for threads, environ in crowds(interpreter):
        target = start_target(interpreter, "crowded.py", threads, ROUNDS, environ=environ)
        every = watch(target.pid)
        first = target.run()
        some = watch(target.pid, ["shared", "own_*", "fresh_*", "failing", "yielding", "bottomless", "measured"])
        second = target.run()
        seen_some, seen_every = some.stop(), every.stop()
        asked = {name: numbers for name, numbers in second.items() if of_names(seen_some, [name])[name]}
        assert len(asked) == threads + 20 + 5
        assert wrong(seen_some, asked) == {}, (threads, environ)
        assert wrong(seen_every, added([first, second])) == {}, (threads, environ)
        assert unaccounted(seen_every) == 0
        target.kill()


def test_the_shortest_and_the_longest_call_are_those_of_all_threads(
    interpreter: Interpreter, start_target: Start, watch: StartWatch
) -> None:
    for threads, environ in crowds(interpreter):
        target = start_target(interpreter, "crowded.py", threads, ROUNDS, "durations", environ=environ)
        some = watch(target.pid, ["measured"], elapsed=True)
        target.run()
        (measured,) = some.stop().functions
        inner, outer = durations(target.directory / "durations")
        assert outside(measured.wall, inner, outer) == []
        assert inner.min() - CLOCK_NS <= measured.wall.min_ns <= outer.min() + CLOCK_NS, (threads, environ)
        assert inner.max() - CLOCK_NS <= measured.wall.max_ns <= outer.max() + CLOCK_NS, (threads, environ)
        target.kill()


def durations(file: Path) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """What each call measured of itself, and what its caller measured around it."""
    pairs = np.fromfile(file, np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


@pytest.mark.gil(on=False)
def test_the_watch_engine_refuses_a_free_threaded_build_in_words(interpreter: Interpreter, start_target: Start) -> None:
    target = start_target(interpreter, "crowded.py", 1, 1)
    with pytest.raises(UnsupportedBuild, match="free-threaded CPython does not count a reference"):
        Target(target.pid, engine="watch")
    auto = Auto(Target(target.pid), Options(func=("shared",)))
    try:
        auto.start()
        truth = target.run()
        recording = auto.stop()
    finally:
        auto.close()
    assert recording.target.engine == "handlers"
    assert "free-threaded" in recording.target.choice
    assert recording.calls == truth["shared"]["calls"]
