"""How near pylat's figures are to what the target measures itself: percentiles, the parts of a call's time; the limit.

Counts and sums are exact, and each latency lies between what the target sees from within and from around its call: that
is for the tests. Here it is how far apart the two are, which depends on the machine and on what else it does.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.keeping import Goal, Part, Settings, Spread, Values, chosen, table
from latency.cpython.interpreter import Target
from latency.recording import FunctionLatency, Options, Recording
from latency.tracing.loop import Stop
from latency.tracing.loop import measure as measured_until
from latency.tracing.probes.calibration import HitCost
from latency.tracing.probes.session import Session
from latency.tracing.watch.session import WatchSession
from tests.lab import Interpreter
from tests.pylat_command import Tracing
from tests.target_program import TargetProgram

_ROUNDS = 5
_MINORS = ((3, 9), (3, 11), (3, 13), (3, 15))
_BUCKET = 2 ** (1 / 16) - 1
_PROBES, _WATCH, _SERVER = "threads, by probes", "threads, by watch", "aiohttp server"
_PERCENTS: Mapping[str, tuple[float, ...]] = {_PROBES: (50, 90, 99), _WATCH: (50, 90), _SERVER: (50, 99)}
_MOST_NS: Mapping[str, float] = {_PROBES: 10_000, _WATCH: 25_000, _SERVER: 100_000}
"""What may be between the two for the probes' or the watchpoints' own time, beside the width of a bucket."""
_SLICED = (50, 93, 96)
_SLICED_S, _SLICED_LIMIT_PCT = 7.0, 0.06
_RANKS, _NEAR = 0.025, 0.05
_NAMES = ("both", "descends", "waits", "collects", "steps", "handles", "sleeps", "spins", "fails")
_SHARE, _EACH_NS = 0.05, 50_000
_PARTS = ("running", "off", "gc")
_LIMIT_PCT, _MOST_SHARE = 5.0, 0.15


def _of(recording: Recording, name: str) -> FunctionLatency:
    return next(each for each in recording.functions if each.function.qualname == name)


def _beyond(kind: str, seen: FunctionLatency, own_ns: Any) -> dict[str, float]:
    """Of each percentile, how far the two are apart: 1 is as far as they may be."""
    found = {}
    percents = _PERCENTS[kind]
    for percent, seen_ns in zip(percents, seen.percentiles_ns([each / 100 for each in percents]), strict=True):
        mine_ns = float(np.percentile(own_ns, percent))
        found[f"p{percent:g}"] = abs(seen_ns - mine_ns) / (_BUCKET * mine_ns + _MOST_NS[kind])
    return found


def _threads(interpreter: Interpreter, session: Callable[[int], Session | WatchSession], kind: str) -> dict[str, float]:
    with TargetProgram(interpreter, "requests.py", 2500, "durations") as program, session(program.pid) as measuring:
        measuring.start()
        program.run()
        recording = measuring.stop()
        own_ns = np.fromfile(program.directory / "durations", np.int64).reshape(-1, 2)[:, 0]
    return _beyond(kind, _of(recording, "handle_request"), own_ns)


def _probing(pid: int) -> Session:
    return Session(Target(pid), Options(func=("handle_request",)))


def _watching(pid: int) -> WatchSession:
    return WatchSession(Target(pid, engine="watch"), Options(func=("handle_request",), engine="watch"))


def _served(interpreter: Interpreter) -> dict[str, float]:
    import asyncio

    from tests.integration.test_asyncio_server import load

    with TargetProgram(interpreter, "served.py") as program:
        with Session(Target(program.pid), Options(func=("Api.get",))) as session:
            session.start()
            asyncio.run(load(int((program.directory / "port").read_text())))
            recording = session.stop()
        program.run()
        own_ns = np.fromfile(program.directory / "durations", np.int64).reshape(-1, 3)[:, 1]
    return _beyond(_SERVER, _of(recording, "Api.get"), own_ns)


def _sliced(interpreter: Interpreter) -> dict[str, float]:
    """How far each percentile is from its rank among all calls, those of the gaps too: 1 is as far as it may be."""
    with TargetProgram(interpreter, "serving.py", 8, 0) as program:
        options = Options(func=("handle",), max_overhead_pct=_SLICED_LIMIT_PCT)
        with Session(Target(program.pid), options) as session:
            session.hit_cost = HitCost(1000.0, 1000.0)  # dear enough for slices
            session.start()
            recording = measured_until([session], Stop(), duration_s=_SLICED_S).recording
        program.send("quit")
        program.readline()
        log = np.array(json.loads((program.directory / "calls").read_text()))
    own_ns = np.sort(log[:, 1] - log[:, 0])
    found = {"share": recording.watched.share if recording.watched else 1.0}
    shares = [percent / 100 for percent in _SLICED]
    for percent, share, seen_ns in zip(_SLICED, shares, _of(recording, "handle").percentiles_ns(shares), strict=True):
        low, high = np.searchsorted(own_ns, (seen_ns * (1 - _NEAR), seen_ns * (1 + _NEAR))) / len(own_ns)
        found[f"p{percent}"] = float(max(0.0, low - share, share - high)) / _RANKS
    return found


def _divided(interpreter: Interpreter) -> dict[str, float]:
    """How far the parts are outside of the bounds by the thread's CPU clock: 1 is as far as they may be."""
    with TargetProgram(interpreter, "dividing.py", "log") as program:
        with Session(Target(program.pid), Options(func=_NAMES, offcpu=True, self_time=True)) as session:
            session.start()
            program.run()
            recording = session.stop()
        log = json.loads((program.directory / "log").read_text())
    found = {}
    for each in recording.functions:
        bounds = log.get(each.function.qualname, {})
        if each.split is None or "dividing" not in each.function.filename:
            continue
        seen = dict(each.split.totals_ns)
        seen["running"] += seen["gc"]
        seen["off"] = seen["waiting"] + seen["runnable"]
        for part in _PARTS:
            if part not in bounds or (part == "gc" and not each.split.gc_known):
                continue
            least, most = bounds[part]
            short_ns, long_ns = least - seen[part], seen[part] - most
            slack_ns = _EACH_NS * each.calls
            beyond = max(short_ns / max(_SHARE * least, slack_ns), long_ns / max(_SHARE * most, slack_ns))
            found[f"{part} of {each.function.qualname}"] = max(0.0, beyond)
    return found


def _limited(interpreter: Interpreter) -> dict[str, float]:
    with TargetProgram(interpreter, "serving.py", 1, 100_000) as program:
        options = ("--func", "noise", "--max-overhead", _LIMIT_PCT, "-d", 5, "-j")
        with Tracing("-p", program.pid, *options) as tracing:
            run = tracing.wait().run
    return {"cost": run["overhead"]["share_of_cpu"], "watched": (run["watched"] or {"share": 1.0})["share"]}


def measure(settings: Settings) -> Values:
    """Everything in each round, in turns."""
    own = Interpreter(platform.python_version(), sys.executable, None, "environment")
    parts: dict[str, Callable[[Interpreter], dict[str, float]]] = {
        _PROBES: lambda it: _threads(it, _probing, _PROBES),
        _WATCH: lambda it: _threads(it, _watching, _WATCH),
        "sliced": _sliced,
        "divided": _divided,
        "limited": _limited,
    }
    found: Values = {}
    rounds = settings.rounds_or(_ROUNDS)
    for number in range(rounds):
        for it in chosen(settings, _MINORS):
            settings.progress(f"accuracy: {it.id}, round {number + 1} of {rounds}")
            for name, part in parts.items():
                _keep(found, name, it.id, part(it))
        if importlib.util.find_spec("aiohttp"):
            _keep(found, _SERVER, own.id, _served(own))
    return found


def _keep(found: Values, name: str, interpreter: str, measured: Mapping[str, float]) -> None:
    for key, number in measured.items():
        found.setdefault(name, {}).setdefault(interpreter, {}).setdefault(key, []).append(number)


def tables(values: Values) -> str:
    """One row for each figure of each interpreter."""
    rows = [
        [name, interpreter, key, f"{Spread.of(numbers):.2f}"]
        for name, each in values.items()
        for interpreter, figures in each.items()
        for key, numbers in figures.items()
    ]
    probes_us, watch_us, each_us = (each / 1e3 for each in (_MOST_NS[_PROBES], _MOST_NS[_WATCH], _EACH_NS))
    text = (
        "Percentiles and parts: how far pylat's figure is from the target's own, as a share of how far it may be.\n"
        f"It may be a bucket ({_BUCKET:.1%}) and {probes_us:.0f} µs by probes, {watch_us:.0f} µs by watchpoints; "
        f"in slices {_RANKS:.1%} of ranks and {_NEAR:.0%};\nof the parts {_SHARE:.0%} of the thread's CPU clock, or "
        f"{each_us:.0f} µs for each call. Limited: shares of one CPU, and of the time.\n\n"
    )
    return text + table(("", "interpreter", "figure", "found"), rows)


def goals(values: Values) -> list[Goal]:
    """The worst of all interpreters; of the percentiles and parts each is the median of its rounds."""
    found = []
    for name, figure, keys in (
        (_PROBES, "percentiles by probes: from the target's own", ("p50", "p90", "p99")),
        (_WATCH, "percentiles by watch: from the target's own", ("p50", "p90")),
        (_SERVER, "percentiles of an aiohttp server's requests: from its own", ("p50", "p99")),
        ("sliced", "percentiles in slices: from those of all calls", ("p50", "p93", "p96")),
        ("divided", "time on and off CPUs, collecting: from the thread's CPU clock", None),
    ):
        found.append(_goal(figure, values.get(name, {}), keys, 1.0, "of what they may be apart"))
    most = f"of one CPU, with a limit of {_LIMIT_PCT:g} % and 5 s"
    found.append(_goal("cost of the probes with a limit", values["limited"], ("cost",), _MOST_SHARE, most))
    return found


def _goal(figure: str, values: Values, keys: tuple[str, ...] | None, most: float, what: str) -> Goal:
    """``keys``: those that count; None for all."""
    spreads = {
        f"{key} on {interpreter}": Spread.of(numbers)
        for interpreter, figures in values.items()
        for key, numbers in figures.items()
        if keys is None or key in keys
    }
    promised = f"at most {most:.2f} {what}"
    if not spreads:
        return Goal(figure, promised, "not measured", None)
    worst = max(spreads, key=lambda name: spreads[name].middle)
    return Goal(figure, promised, f"{spreads[worst]:.2f} at most ({worst})", spreads[worst].middle <= most)


PART = Part("accuracy", "How near pylat's figures are to the target's own", measure, tables, goals=goals)
