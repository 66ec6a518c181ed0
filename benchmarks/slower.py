"""What ``--slower`` adds to a call that is not slow, as the ratio of what pylat adds with it and without it.

    .venv/bin/python -m benchmarks.slower [ROUNDS [VERSION …]]

Both in each round, in turns, many short bursts of calls of each; the threshold is one that no call reaches.
"""

from __future__ import annotations

import sys

from benchmarks.keeping import fastest, ratios
from benchmarks.worker import Worker
from latency.cpython.interpreter import Target
from latency.recording import Options
from latency.tracing.probes.session import Session
from tests import lab

_NEVER_REACHED = "1000s"
_BURST_NS, _BURSTS = 1_000_000, 60


def added_ns(interpreter: lab.Interpreter, rounds: int) -> dict[str, list[float]]:
    """Nanoseconds that are added to one call, a number for each round, by what ``--slower`` says."""
    found: dict[str, list[float]] = {"": [], _NEVER_REACHED: []}
    with Worker(interpreter.command(), "calls.py") as program:
        target = Target(program.pid)

        def call_ns() -> float:
            return fastest(program.ask("time", "wanted", _BURST_NS, _BURSTS)[1])

        for number in range(rounds):
            bare = call_ns()
            for slower in sorted(found, reverse=bool(number % 2)):
                with Session(target, Options(func=("wanted",), slower=slower)) as session:
                    session.start()
                    call_ns()  # warm
                    best = call_ns()
                    calls = session.stop().calls
                if not calls:
                    raise AssertionError(f"{interpreter.id}: no call was seen")
                found[slower].append(best - bare)
    return found


def main() -> None:
    """One line for each interpreter."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    for interpreter in lab.interpreters():
        if sys.argv[2:] and interpreter.version not in sys.argv[2:]:
            continue
        added = added_ns(interpreter, rounds)
        print(f"{interpreter.id:24} × {ratios(added[_NEVER_REACHED], added['']):.3f}, {rounds} rounds", flush=True)


if __name__ == "__main__":
    main()
