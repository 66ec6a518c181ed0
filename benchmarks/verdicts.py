"""How often the verdict of a comparison is right, on real runs: ``python benchmarks/verdicts.py``, as root.

Each comparison takes turns between three programs: the base, the same once more (A/A: whoever says slower is wrong),
and one whose function does 10 % more in each call (whoever does not say slower has missed it). Several comparisons run
at a time, more than there are CPUs, and are each other's noise. The verdicts of 5 + 5 runs are those of the first half.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scipy.stats import binomtest

from benchmarks.keeping import RESULTS, machine
from latency.recording import Options, Recording
from latency.report.compare import compare
from latency.report.statistics import MIN_RUNS, Verdict
from latency.tracing.kernel.host import require
from latency.tracing.running import run_measured

_WORKLOAD = Path(__file__).with_name("workloads") / "numeric.py"
_FUNCTION = "simulate"
_CALLS = 400
_SLOWER_PCT = 10
_ROUNDS = 10
_PROGRAMS = {"base": 0, "A/A": 0, f"+{_SLOWER_PCT} %": _SLOWER_PCT}
_WRONG, _RIGHT = list(_PROGRAMS)[1:]
_MOST_WRONG, _LEAST_RIGHT = 0.05, 0.80


class Found(NamedTuple):
    """What one comparison says."""

    question: str
    runs: int
    verdict: str
    shift: float


def measured(slower_pct: int) -> Recording:
    """One run: a process of its own, from its first call to its end."""
    command = [str(Path(sys.executable).resolve()), "-E", "-S", str(_WORKLOAD), "--calls", str(_CALLS)]
    outcome, status = run_measured(
        [*command, "--slower", str(slower_pct)], Options(func=(_FUNCTION,)), foreground=False
    )
    if outcome is None or status or outcome.recording.calls != _CALLS:
        raise AssertionError(f"{_WORKLOAD.name} ended with {status}, or calls are missing")
    return outcome.recording


def warm_up() -> None:
    """In each worker, once."""
    require()
    measured(0)


def answers() -> list[Found]:
    """One comparison of each kind, of fresh runs that took turns."""
    sides: dict[str, list[Recording]] = {name: [] for name in _PROGRAMS}
    for _ in range(_ROUNDS):
        for name, slower_pct in _PROGRAMS.items():
            sides[name].append(measured(slower_pct))
    found = []
    for name in (_WRONG, _RIGHT):
        for runs in (MIN_RUNS, _ROUNDS):
            (function,) = compare(sides["base"][:runs], sides[name][:runs]).functions
            found.append(Found(name, runs, function.verdict.value, function.changes[0].shift))
    return found


def share(verdicts: list[str]) -> tuple[float, float, float]:
    """Of those that say slower: (share, its exact binomial 95 % interval)."""
    said = binomtest(verdicts.count(Verdict.SLOWER.value), len(verdicts))
    interval = said.proportion_ci(0.95, "exact")
    return said.statistic, float(interval.low), float(interval.high)


def tables(found: list[Found], about: str) -> tuple[str, dict[str, object]]:
    """The results as Markdown, and as what becomes JSON."""
    lines = [about, ""]
    lines += ["| question | runs a side | comparisons | say slower | 95 % of it | median shift | all verdicts |"]
    lines += ["|---|---|---|---|---|---|---|"]
    rows: list[dict[str, object]] = []
    for question in (_WRONG, _RIGHT):
        for runs in (MIN_RUNS, _ROUNDS):
            these = [each for each in found if (each.question, each.runs) == (question, runs)]
            verdicts = [each.verdict for each in these]
            shifts = sorted(each.shift for each in these)
            said, low, high = share(verdicts)
            tally = Counter(verdicts)
            each_verdict = ", ".join(f"{count} {verdict}" for verdict, count in tally.most_common())
            lines.append(
                f"| {question} | {runs} + {runs} | {len(these)} | {said:.0%} | {low:.1%} … {high:.1%} "
                f"| {shifts[len(shifts) // 2]:+.1%} | {each_verdict} |"
            )
            rows.append(
                {"question": question, "runs": runs, "slower": said, "interval": [low, high], "verdicts": tally,
                 "shifts": shifts}
            )  # fmt: skip
    return "\n".join(lines) + "\n", {"about": about, "date": str(date.today()), "rates": rows}


def keep(found: list[Found], workers: int, took_s: float) -> None:
    """Write what there is so far."""
    about = (
        f"{machine()}, Python {sys.version.split()[0]}, {date.today()}. {workers} comparisons at a time, "
        f"{took_s / 60:.1f} minutes, load average {os.getloadavg()[2]:.1f} of all. "
        f"Runs of `{_WORKLOAD.name}`, {_CALLS} calls of `{_FUNCTION}` each."
    )
    text, values = tables(found, about)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "verdicts.md").write_text(text)
    (RESULTS / "verdicts.json").write_text(json.dumps(values, indent=1) + "\n")


def main() -> int:
    """Measure, keep, print; 1 where a rate misses what is promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=100, help="of each kind (100)")
    parser.add_argument("--workers", type=int, default=(os.cpu_count() or 1) + 1, help="at a time (CPUs + 1)")
    arguments = parser.parse_args()
    began = time.monotonic()
    found: list[Found] = []
    with ProcessPoolExecutor(arguments.workers, get_context("spawn"), warm_up) as pool:
        waiting = [pool.submit(answers) for _ in range(arguments.comparisons)]
        for number, done in enumerate(as_completed(waiting), 1):
            found += done.result()
            keep(found, arguments.workers, time.monotonic() - began)
            print(f"{number} of {arguments.comparisons}, {time.monotonic() - began:.0f} s", file=sys.stderr)
    print((RESULTS / "verdicts.md").read_text())
    wrong = [share([each.verdict for each in found if each[:2] == (_WRONG, runs)])[0] for runs in (MIN_RUNS, _ROUNDS)]
    right = share([each.verdict for each in found if each[:2] == (_RIGHT, _ROUNDS)])[0]
    return int(max(wrong) > _MOST_WRONG or right < _LEAST_RIGHT)


if __name__ == "__main__":
    sys.exit(main())
