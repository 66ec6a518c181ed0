"""``script/bench``: measures what pylat costs, and writes the tables to ``benchmarks/results/``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.cost import Added, added_ns, ratio
from tests.lab import interpreters

RESULTS = Path(__file__).with_name("results")
_VERSIONS = ("3.9", "3.11", "3.13", "3.15")


def machine() -> str:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "?")
    return f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}"


def table(costs: dict[str, Added]) -> str:
    """Markdown: medians of the added nanoseconds, and ratios to the floor with their quartiles."""
    lines = [
        "| interpreter | bare call | floor | all functions | filter hits | filter misses "
        "| all / floor | hits / floor | misses / floor |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, added in costs.items():
        medians = [sorted(added[key])[len(added[key]) // 2] for key in added]
        ratios = [ratio(added[key], added["floor"]) for key in ("all functions", "filter hits", "filter misses")]
        cells = [f"{value:,.0f} ns" for value in medians]
        cells += [f"{middle:.2f} ({low:.2f}–{high:.2f})" for middle, low, high in ratios]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--every", action="store_true", help="every interpreter of the lab, not one of each of a few")
    arguments = parser.parse_args()
    costs: dict[str, Added] = {}
    seen: set[str] = set()
    for interpreter in interpreters():
        minor = ".".join(map(str, interpreter.minor))
        if arguments.every or (minor in _VERSIONS and minor not in seen):
            seen.add(minor)
            costs[interpreter.id] = added_ns(interpreter, arguments.rounds, lambda text: print(text, file=sys.stderr))
    head = f"What pylat adds to a call; {arguments.rounds} interleaved rounds.\n{machine()}, {date.today()}\n"
    text = f"{head}\n{table(costs)}"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "cost.md").write_text(text)
    (RESULTS / "cost.json").write_text(json.dumps({"machine": machine(), "date": str(date.today()), "added_ns": costs}))
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
