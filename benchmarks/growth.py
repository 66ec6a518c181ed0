"""How what pylat adds to a call grows: with threads, recursion, functions seen, and processes.

In each round and for each size in turn: bare, empty programs at the same sites (the floor), pylat with all functions.
Added are nanoseconds of CPU time of the target (of all its threads and processes) for one call.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.keeping import Goal, Part, Settings, Spread, Values, chosen, fastest, table
from benchmarks.worker import CALL_ROLES, Worker, empty_program, placed
from latency.cpython.interpreter import Target
from latency.recording import Options
from latency.tracing.probes.session import Session
from tests.lab import Interpreter

_ROUNDS = 7
_CALLS, _BURSTS = 20_000, 4
_MINOR = (3, 13)
SIZES = {
    "threads": (1, 2, 4, 8, 16, 32, 64),
    "depth": (10, 30, 100, 300, 1000),
    "functions": (10, 100, 1000, 10_000),
    "processes": (1, 2, 4, 8, 16, 32),
}
_TITLES = {
    "threads": "threads that call",
    "depth": "recursion depth",
    "functions": "functions seen",
    "processes": "processes (--children)",
}
_BARE, _FLOOR, _PYLAT = "bare", "floor", "pylat"
_NAMES = {"threads": "wanted", "depth": "down", "functions": "function_", "processes": "wanted"}


class Growth:
    """What was found."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, dict[str, list[float]]]] = {
            axis: {str(size): {_BARE: [], _FLOOR: [], _PYLAT: []} for size in sizes} for axis, sizes in SIZES.items()
        }
        self.ready_s: dict[str, list[float]] = {}
        self.inexact: list[str] = []

    def one_process(self, worker: Worker) -> None:
        """Threads, depth and functions: all sizes while one thing is placed."""
        target = Target(worker.pid)
        for axis in _NAMES:
            if axis == "processes":
                continue
            self._series(worker, axis, SIZES[axis], _BARE)
            with _floor(target):
                self._series(worker, axis, SIZES[axis], _FLOOR)
            with Session(target, Options()) as session:
                session.start()
                made = self._series(worker, axis, SIZES[axis], _PYLAT)
                self._prove(axis, axis, session, made)

    def processes(self, worker: Worker) -> None:
        """Each number of them is forked before anybody looks."""
        target = Target(worker.pid)
        for size in SIZES["processes"]:
            worker.ask("fork", size)
            self._series(worker, "processes", [size], _BARE)
            with _floor(target, pid=0):
                self._series(worker, "processes", [size], _FLOOR)
            begin = time.perf_counter()
            with Session(target, Options(children=True)) as session:
                session.start()
                self.ready_s.setdefault(str(size), []).append(time.perf_counter() - begin)
                made = self._series(worker, "processes", [size], _PYLAT)
                self._prove("processes", f"{size} processes", session, made)
        worker.ask("fork", 0)

    def _series(self, worker: Worker, axis: str, sizes: Sequence[int], looking: str) -> int:
        """All sizes once; the calls that were made."""
        made = 0
        for size in sizes:
            bursts = [worker.ask(axis, size, _CALLS) for _ in range(_BURSTS)]
            self.found[axis][str(size)][looking].append(fastest([each_ns for _, each_ns in bursts]))
            made += sum(calls for calls, _ in bursts)
        return made

    def _prove(self, axis: str, what: str, session: Session, made: int) -> None:
        recording = session.stop()
        names = (each.function.qualname.startswith(_NAMES[axis]) for each in recording.functions)
        seen = sum(each.calls for each, counts in zip(recording.functions, names, strict=True) if counts)
        if seen != made or recording.losses.total:
            self.inexact.append(f"{what}: {seen:,} of {made:,}, {recording.losses.total:,} lost")


@contextmanager
def _floor(target: Target, pid: int | None = None) -> Iterator[None]:
    with empty_program() as program, placed(target, dict.fromkeys(CALL_ROLES, program), pid=pid):
        yield


def _measure_interpreter(interpreter: Interpreter, settings: Settings) -> Values:
    rounds = settings.rounds_or(_ROUNDS)
    growth = Growth()
    command = interpreter.command()
    with Worker(command, "growing.py", max(SIZES["functions"])) as one, Worker(command, "growing.py", 0) as parent:
        for number in range(rounds):
            settings.progress(f"growth: {interpreter.id}, round {number + 1} of {rounds}")
            growth.one_process(one)
            growth.processes(parent)
    return {"interpreter": interpreter.id, "ns": growth.found, "ready_s": growth.ready_s, "inexact": growth.inexact}


def measure(settings: Settings) -> Values:
    """One interpreter: one that nothing else on the machine runs, since following children probes all that run it."""
    return _measure_interpreter(chosen(Settings(), [_MINOR])[0], settings)


def _added(values: Values, axis: str, size: int, looking: str) -> Spread:
    rounds = values["ns"][axis][str(size)]
    return Spread.of([one - bare for one, bare in zip(rounds[looking], rounds[_BARE], strict=True)])


def _beyond(values: Values, axis: str, size: int) -> Spread:
    rounds = values["ns"][axis][str(size)]
    return Spread.of([one - floor for one, floor in zip(rounds[_PYLAT], rounds[_FLOOR], strict=True)])


def tables(values: Values) -> str:
    """One table for each kind of growth."""
    text = [
        f"CPython {values['interpreter']}; pylat with all functions. "
        + ("; ".join(values["inexact"]) if values["inexact"] else "All calls were seen, none was lost.")
        + "\n"
    ]
    for axis, sizes in SIZES.items():
        rows = []
        for size in sizes:
            ready = values["ready_s"].get(str(size)) if axis == "processes" else None
            rows.append(
                [
                    f"{size:,}",
                    f"{Spread.of(values['ns'][axis][str(size)][_BARE]):.0f} ns",
                    f"{_added(values, axis, size, _FLOOR):,.0f} ns",
                    f"{_added(values, axis, size, _PYLAT):,.0f} ns",
                    f"{_beyond(values, axis, size):,.0f} ns",
                    *([f"{Spread.of(ready):.2f} s"] if ready else []),
                ]
            )
        heads = (_TITLES[axis], "bare call", "floor adds", "pylat adds", "pylat beyond the floor")
        text.append(table((*heads, "to attach") if axis == "processes" else heads, rows))
    return "\n".join(text)


def plots(values: Values) -> dict[str, Any]:
    """A panel for each kind of growth."""
    from benchmarks import drawing

    panels = {
        _TITLES[axis]: {
            label: {size: _added(values, axis, size, looking) for size in sizes}
            for label, looking in (("pylat, all functions", _PYLAT), ("floor of empty probes", _FLOOR))
        }
        for axis, sizes in SIZES.items()
    }
    return {"growth": drawing.lines(panels, "added to one call, µs", scale=1e-3)}


def goals(values: Values) -> list[Goal]:
    """Exact at every size."""
    return [
        Goal("calls at every size of growth", "exact", "; ".join(values["inexact"]) or "all", not values["inexact"])
    ]


PART = Part("growth", "How the cost grows", measure, tables, plots, goals)
