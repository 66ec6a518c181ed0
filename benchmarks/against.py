"""What looking adds to a call, in two states of the sources, in turns on one target: which of them costs more.

Of each state a process of its own places and takes away its probes or watchpoints, in the order A B B A, while the same
target makes the same calls. So a few minutes tell a difference of one percent, where two runs of ``script/bench --only
cost`` differ by several. The counts are compared with the calls that were made. Root; both states have to run here
with this environment's packages.

    .venv/bin/python -m benchmarks.against COMMIT [COMMIT] [--on 3.9,3.11,3.13,3.15] [--rounds N] [--of all,named,…]

The second commit is the sources as they are. Exit status 1 where a count is wrong.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.keeping import about, fastest, in_words, table
from benchmarks.worker import Worker, plain
from tests import lab

REPOSITORY = Path(__file__).resolve().parents[1]
WAYS = {
    "all": ("auto", ""),
    "named": ("auto", "wanted"),
    "rejected": ("auto", "other"),
    "watch": ("watch", "wanted"),
}
"""Of each the engine, and the function that is measured; the target calls ``wanted``."""
_BURST_NS, _BURSTS = 1_000_000, 40
_PLACES = """
import sys
from latency.cpython.interpreter import Target
from latency.recording import Options
try:
    from latency.tracing.probes.session import Session
    from latency.tracing.watch.session import WatchSession
except ImportError:
    from latency.tracing.session import Session
    from latency.tracing.watch import WatchSession
pid = int(sys.argv[1])
for line in sys.stdin:
    engine, *func = line.split()
    make = WatchSession if engine == "watch" else Session
    with make(Target(pid, engine=engine), Options(func=tuple(func), engine=engine)) as session:
        session.start()
        print("placed", flush=True)
        sys.stdin.readline()
        recording = session.stop()
    print(sum(each.calls for each in recording.functions if each.function.qualname == "wanted"), flush=True)
"""


class Placer:
    """One state of the sources, which looks at the target when it is told to.

    Args:
        tree: a checkout.
        pid: the target.
    """

    def __init__(self, tree: Path, pid: int) -> None:
        command = [sys.executable, "-B", "-c", _PLACES, str(pid)]
        self._process = subprocess.Popen(
            command, cwd=tree, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(tree)}
        )

    def begin(self, engine: str, func: str) -> None:
        """Place everything."""
        if self._ask(f"{engine} {func}") != "placed":
            raise SystemExit("a state of the sources does not measure here; its words are above")

    def end(self) -> int:
        """Take it away. Returns how many calls it has seen."""
        return int(self._ask("end"))

    def close(self) -> None:
        """No more of it."""
        self._process.communicate()

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """The sources of a commit, in a folder that goes away."""
    with tempfile.TemporaryDirectory(prefix="pylat-against-") as folder:
        archive = subprocess.run(["git", "archive", commit], cwd=REPOSITORY, stdout=subprocess.PIPE, check=True)
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        yield Path(folder)


def compared(
    interpreter: lab.Interpreter, trees: Sequence[Path], ways: Sequence[str], rounds: int
) -> Iterator[tuple[list[str], bool]]:
    """Of each way a row of the table, and whether its counts were right."""
    with Worker(plain(interpreter) or interpreter.command(), "calls.py") as worker:
        placers = [Placer(tree, worker.pid) for tree in trees]

        def time() -> tuple[int, float]:
            calls, each_ns = worker.ask("time", "wanted", _BURST_NS, _BURSTS)
            return calls, fastest(each_ns)

        for way in ways:
            engine, func = WAYS[way]
            added: list[tuple[float, float]] = []
            right = True
            for number in range(rounds):
                found: tuple[list[float], list[float]] = ([], [])
                for which in (0, 1, 1, 0) if number % 2 == 0 else (1, 0, 0, 1):
                    before_ns = time()[1]
                    placers[which].begin(engine, func)
                    calls, placed_ns = time()
                    right &= placers[which].end() == (0 if way == "rejected" else calls)
                    found[which].append(placed_ns - (before_ns + time()[1]) / 2)
                added.append((min(found[0]), min(found[1])))
            ratios = sorted(new / old for old, new in added)
            old_ns, new_ns = (statistics.median(each[which] for each in added) for which in (0, 1))
            cells = [f"{statistics.median(ratios):.3f}", f"{ratios[0]:.3f}–{ratios[-1]:.3f}"]
            yield [f"{interpreter.id}, {way}", f"{old_ns:,.0f}", f"{new_ns:,.0f}", *cells], right
        for placer in placers:
            placer.close()


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commits", nargs="+", metavar="COMMIT", help="the old one, and the new one")
    parser.add_argument("--on", default="3.9,3.11,3.13,3.15", help="versions (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="of A B B A (default: %(default)s)")
    parser.add_argument("--of", default=",".join(WAYS), help="ways to look (default: %(default)s)")
    arguments = parser.parse_args()
    minors = [tuple(map(int, version.split("."))) for version in arguments.on.split(",")]
    there = [it for it in lab.interpreters() if it.origin.startswith("debian")]
    rows, fine = [], True
    with ExitStack() as stack:
        trees = [stack.enter_context(checkout(commit)) for commit in arguments.commits[:2]]
        trees += [REPOSITORY] * (2 - len(trees))
        for minor in minors:
            interpreter = next(it for it in there if it.minor == minor)
            for row, right in compared(interpreter, trees, arguments.of.split(","), arguments.rounds):
                rows.append(row if right else [*row[:-1], f"{row[-1]}, COUNTS ARE WRONG"])
                fine &= right
                print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    print(in_words(about()))
    print(table(["added to a call", "old, ns", "new, ns", "new / old", "of all rounds"], rows))
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
