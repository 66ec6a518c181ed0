"""What every workload understands: how much to do, and how much slower to be at it."""

from __future__ import annotations

import argparse
import random


def parse(about: str, calls: int) -> argparse.Namespace:
    """The options of a workload: ``calls`` of the measured function, ``slower`` in per cent."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--calls", type=int, default=calls, help=f"of the measured function ({calls})")
    parser.add_argument("--slower", type=float, default=0.0, metavar="PCT", help="do so much more in each call (0)")
    return parser.parse_args()


def sizes(options: argparse.Namespace, typical: int) -> list[int]:
    """How much each call has to do, the same in every run: around ``typical``, one in a hundred three times as much."""
    numbers = random.Random(options.calls)
    share = 1 + options.slower / 100
    return [round(typical * share * numbers.lognormvariate(0, 0.4)) for _ in range(options.calls)]
