"""More functions than the processor has registers for: what watching them in turns says, and what it costs the others.

One process calls sixteen functions one after the other and logs them, in windows with pylat and without, in turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from benchmarks.keeping import Goal, Part, Settings, Spread, Values, chosen, ratios, table
from benchmarks.worker import Worker, plain
from latency.cpython.interpreter import Target
from latency.recording import Options, Recording
from latency.tracing.watch.session import WatchSession

_MINORS = ((3, 9), (3, 11), (3, 13), (3, 15))
_ROUNDS = 3
_WINDOW_S, _TRUTH_S, _UNTARGETED_S = 12.0, 3.0, 1.0
_POLL_S = 0.05  # as often as in a measurement
_SHARE, _LEAST_NS = 0.05, 1000.0
_OTHERS = 0.02
_PERCENTS = ("p50", "p90")


def _measure(settings: Settings) -> Values:
    found: Values = {}
    for interpreter in chosen(settings, _MINORS):
        command = plain(interpreter)
        if command is None:
            settings.progress(f"turns: {interpreter.id} does not run without its root")
            continue
        found[interpreter.id] = _one(settings, command)
        settings.progress(f"turns: {interpreter.id}: {_line(found[interpreter.id])}")
    return found


def _one(settings: Settings, command: Sequence[str]) -> Values:
    with Worker(command, "turning.py") as worker:
        worker.ask("window", 0.2)
        truths, seen, others = [worker.ask("window", _TRUTH_S)], [], []
        for _ in range(settings.rounds_or(_ROUNDS)):
            recording, _ = _watched(worker, "window", _WINDOW_S)
            seen.append({each.function.qualname: each for each in recording.functions})
            truths.append(worker.ask("window", _TRUTH_S))
            alone = worker.ask("untargeted", _UNTARGETED_S)
            _, beside = _watched(worker, "untargeted", _UNTARGETED_S)
            others.append((beside, alone))
    functions = {}
    for name in truths[0]:
        logs = np.array([each[name][1:] for each in truths])
        low, middle, high = np.quantile(logs, (0.25, 0.5, 0.75), axis=0)
        truth, spread = middle.tolist(), (high / low - 1).tolist()
        said = np.median([each[name].percentiles_ns((0.5, 0.9)) for each in seen], axis=0).tolist()
        calls = [each[name].calls for each in seen]
        shares = [each[name].watched.share for each in seen]
        functions[name] = {"truth_ns": truth, "spread": spread, "said_ns": said, "calls": calls, "shares": shares}
    return {"functions": functions, "others": others}


def _watched(worker: Worker, *command: Any) -> tuple[Recording, Any]:
    """(what was seen while the target did that, its answer)."""
    options = Options(func=("handle_*",), engine="watch")
    with WatchSession(Target(worker.pid, engine="watch"), options) as measuring:
        measuring.start()
        with ThreadPoolExecutor(1) as pool:
            window = pool.submit(worker.ask, *command)
            while wait([window], _POLL_S).not_done:
                measuring.poll()
        return measuring.stop(), window.result()


def _off(function: Mapping[str, Any], place: int) -> float:
    """How far what is said is from the truth, as a share of how far it may be."""
    truth_ns, said_ns = function["truth_ns"][place], function["said_ns"][place]
    return float(abs(said_ns - truth_ns) / max(_SHARE * truth_ns, _LEAST_NS))


def _stands(function: Mapping[str, Any]) -> list[int]:
    """The percentiles whose truth stands still: on a busy machine it differs from window to window."""
    return [place for place, spread in enumerate(function["spread"]) if spread <= _SHARE]


def _held(found: Mapping[str, Any]) -> list[bool]:
    return [_off(each, place) <= 1 for each in found["functions"].values() for place in _stands(each)]


def _beside(found: Mapping[str, Any]) -> Spread:
    return ratios([beside for beside, _ in found["others"]], [alone for _, alone in found["others"]])


def _line(found: Mapping[str, Any]) -> str:
    held, beside = _held(found), _beside(found)
    return f"{sum(held)} of {len(held)} percentiles held; an untargeted function {beside:.3f} ×"


def _tables(values: Values) -> str:
    rows = []
    for build, found in values.items():
        for name, each in found["functions"].items():
            pairs = zip(each["said_ns"], each["truth_ns"], strict=True)
            cells = [f"{number / 1000:.1f}" for pair in pairs for number in pair]
            share, calls = f"{np.median(each['shares']):.1%}", f"{np.median(each['calls']):.0f}"
            stands = _stands(each)
            off = [f"{_off(each, place):.2f}" if place in stands else "–" for place in range(len(_PERCENTS))]
            rows.append([build, name, share, calls, *cells, *off])
    heads = ["build", "function", "watched", "calls", "p50 said", "true", "p90 said", "true", "off, p50", "p90"]
    text = table(heads, rows)
    text += f"\nMicroseconds; off: of the {_SHARE:.0%}, or {_LEAST_NS / 1000:g} µs, that it may be;\n"
    text += f"– where the quartiles of the windows' truths differ by more than {_SHARE:.0%}.\n\n"
    beside = [[build, f"{_beside(found):.3f}"] for build, found in values.items()]
    return text + table(["build", "an untargeted function, beside the same without pylat"], beside)


def _goals(values: Values) -> list[Goal]:
    held = [each for found in values.values() for each in _held(found)]
    beside = {build: _beside(found) for build, found in values.items()}
    if not held:
        return []
    worst = max(beside, key=lambda build: abs(beside[build].middle - 1))

    return [
        Goal(
            "p50 and p90 of 16 functions that are watched in turns",
            f"within {_SHARE:.0%} or {_LEAST_NS / 1000:g} µs",
            f"{sum(held)} of {len(held)} whose truth stands still",
            all(held),
        ),
        Goal(
            "an untargeted function beside that",
            f"1.00 ± {_OTHERS:g}",
            f"{beside[worst]:.3f} ({worst})",
            abs(beside[worst].middle - 1) <= _OTHERS,
        ),
    ]


PART = Part("turns", "Sixteen functions that are watched in turns", _measure, _tables, goals=_goals)
