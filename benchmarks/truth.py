"""What the program takes when nobody looks, beside what pylat says that it takes.

One process logs its own latencies in windows with pylat and without, in turns. The log of those without is the truth
for those with it: the clock of a program that is traced runs in the slowed program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np

from benchmarks.keeping import Goal, Part, Settings, Values, chosen, table
from benchmarks.worker import Worker, plain
from latency.cpython.interpreter import Target
from latency.errors import PylatError
from latency.recording import FunctionLatency, Options
from latency.tracing.probes.session import Session
from latency.tracing.watch.session import WatchSession
from tests.lab import Interpreter

_MINORS = ((3, 9), (3, 11), (3, 13), (3, 15))
_ROUNDS = 3
_WINDOW_S = 1.0
_POLL_S = 0.05  # as often as in a measurement
_WORKLOADS: Mapping[str, str] = {
    "leaf": "leaf",
    "calls_20": "calls_20",
    "calls_200": "calls_200",
    "calls_1000": "calls_1000",
    "recursion": "recursion",
    "generator": "generator",
    "answers": "answers",
    "threads": "calls_20",
    "waits": "waits",
    "handler": "handler",
}
"""With the function that is measured."""
_WAYS: Mapping[str, Callable[[str], Options]] = {
    "probes": lambda func: Options(func=(func,)),
    "watch": lambda func: Options(func=(func,), engine="watch"),
    "slower": lambda func: Options(func=(func,), slower="1s"),
    "offcpu": lambda func: Options(func=(func,), offcpu=True),
    "self": lambda func: Options(func=(func,), self_time=True),
    "all": lambda func: Options(),
}
_SHARE, _LEAST_NS = 0.05, 300.0
_HALF, _NEARLY_ALL = 0.5, 0.95


def _measure(settings: Settings) -> Values:
    found = []
    for interpreter in chosen(settings, _MINORS):
        command = plain(interpreter)
        if command is None:
            settings.progress(f"truth: {interpreter.id} does not run without its root")
            continue
        for workload, func in _WORKLOADS.items():
            found += _workload(settings, interpreter, command, workload, func)
    return {"rows": found}


def _workload(
    settings: Settings, interpreter: Interpreter, command: Sequence[str], workload: str, func: str
) -> list[Values]:
    rows = []
    with Worker(command, "windows.py") as worker:
        worker.ask("window", workload, 0.2)
        for way, options in _WAYS.items():
            one = {"python": interpreter.id, "workload": workload, "way": way}
            truths, seen = [worker.ask("window", workload, _WINDOW_S)], []
            try:
                for _ in range(settings.rounds_or(_ROUNDS)):
                    seen.append(_looked_at(worker, workload, func, options(func)))
                    truths.append(worker.ask("window", workload, _WINDOW_S))
            except PylatError as error:
                rows.append({**one, "refused": str(error)})
                continue
            rows.append({**one, **_judged(truths, seen)})
            settings.progress(f"truth: {_line(rows[-1])}")
    return rows


def _looked_at(worker: Worker, workload: str, func: str, options: Options) -> FunctionLatency:
    target = Target(worker.pid, engine=options.engine)
    with (WatchSession if options.engine == "watch" else Session)(target, options) as measuring:
        measuring.start()
        worker.ask("window", workload, 0.1)
        measuring.poll()  # the prices are those of the target from here on
        measuring.interval()
        with ThreadPoolExecutor(1) as pool:
            window = pool.submit(worker.ask, "window", workload, _WINDOW_S)
            while wait([window], _POLL_S).not_done:
                measuring.poll()
        window.result()
        recording = measuring.interval()
        measuring.stop()
    return next(each for each in recording.functions if each.function.qualname == func)


def _judged(truths: Sequence[Sequence[float]], seen: Sequence[FunctionLatency]) -> Values:
    truth = [float(np.median([each[place] for each in truths])) for place in (1, 2, 3)]
    quantiles, undelayed = (
        np.median([of(each, (0.5, 0.9)) for each in seen], axis=0).tolist()
        for of in (FunctionLatency.percentiles_ns, FunctionLatency.undelayed_ns)
    )
    return {
        "truth_ns": truth,
        "said_ns": [*quantiles, float(np.median([each.wall.mean_ns for each in seen]))],
        "at_least_ns": undelayed,
        "spread": max(each[1] for each in truths) / max(1.0, min(each[1] for each in truths)) - 1,
        "probe_share": float(np.median([each.probe_share for each in seen])),
        "error_ns": float(np.median([each.probe_error_ns for each in seen])),
    }


def _held(row: Values, place: int) -> bool:
    """Whether what is said is the truth, within what is stated or what was promised."""
    truth_ns, said_ns, least_ns = (row[name][place] for name in ("truth_ns", "said_ns", "at_least_ns"))
    off_ns = max(_SHARE * truth_ns, _LEAST_NS, row["error_ns"])
    return bool(min(said_ns, least_ns) - off_ns <= truth_ns <= said_ns + off_ns)


def _line(row: Values) -> str:
    truth, said = ([each / 1000 for each in row[name]] for name in ("truth_ns", "said_ns"))
    return (
        f"{row['python']} {row['workload']} {row['way']}: p50 {said[0]:.2f} of {truth[0]:.2f} µs, "
        f"p90 {said[1]:.2f} of {truth[1]:.2f}, probes {100 * row['probe_share']:.0f} %, ± {row['error_ns'] / 1000:.2f}"
    )


def _tables(values: Values) -> str:
    rows = []
    for row in values["rows"]:
        if "refused" in row:
            rows.append([row["python"], row["workload"], row["way"], *["–"] * 7])
            continue
        truth, said = ([each / 1000 for each in row[name]] for name in ("truth_ns", "said_ns"))
        cells = [f"{each:.2f}" for pair in zip(said, truth, strict=True) for each in pair]
        held = "yes" if _held(row, 0) and _held(row, 1) else "**no**"
        share, error = f"{100 * row['probe_share']:.0f} %", f"{row['error_ns'] / 1000:.2f}"
        rows.append([row["python"], row["workload"], row["way"], *cells, share, error, held])
    heads = ["build", "workload", "way", "p50 said", "true", "p90 said", "true", "mean said", "true"]
    return table([*heads, "probes", "±", "held"], rows) + "\nMicroseconds.\n"


def _goals(values: Values) -> list[Goal]:
    rows = [row for row in values["rows"] if "refused" not in row and row["way"] != "watch"]
    few = [row for row in rows if row["probe_share"] <= _HALF]
    many = [row for row in rows if _HALF < row["probe_share"] <= _NEARLY_ALL]
    goals = []
    for figure, those in (("up to half of the time in probes", few), ("up to 95 %", many)):
        held = [_held(row, place) for row in those for place in (0, 1)]
        share = sum(held) / len(held) if held else 1.0
        goals.append(Goal(f"net p50 and p90, {figure}", "held in 95 %", f"{sum(held)} of {len(held)}", share >= 0.95))
    return goals


PART = Part("truth", "What pylat says, and what it is when nobody looks", _measure, _tables, goals=_goals)
