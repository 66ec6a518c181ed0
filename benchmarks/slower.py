"""What ``--slower`` adds to a call that is not slow, as the ratio of what pylat adds with it and without it.

    .venv/bin/python -m benchmarks.slower [ROUNDS [VERSION …]]

Both in each round, in turns, the best of four runs of 20,000 calls of each; the threshold is one that no call reaches.
"""

from __future__ import annotations

import sys

from benchmarks.cost import ratio, worker
from latency.cpython.interpreter import Target
from latency.recording import Options
from latency.tracing.session import Session
from tests import lab

_NEVER_REACHED = "1000s"
_RUNS = 4


def added_ns(interpreter: lab.Interpreter, rounds: int) -> dict[str, list[float]]:
    """Nanoseconds that are added to one call, a number for each round, by what ``--slower`` says."""
    found: dict[str, list[float]] = {"": [], _NEVER_REACHED: []}
    with worker(interpreter) as program:
        target = Target(program.process.pid)
        for number in range(rounds):
            bare = min(program.time_ns("wanted") for _ in range(_RUNS))
            for slower in sorted(found, reverse=bool(number % 2)):
                with Session(target, Options(func=("wanted",), slower=slower)) as session:
                    session.start()
                    program.time_ns("wanted")  # warm
                    best = min(program.time_ns("wanted") for _ in range(_RUNS))
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
        median, low, high = ratio(added[_NEVER_REACHED], added[""])
        print(f"{interpreter.id:24} × {median:.3f}  (quartiles {low:.3f} to {high:.3f}, {rounds} rounds)", flush=True)


if __name__ == "__main__":
    main()
