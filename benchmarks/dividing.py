"""What ``--offcpu`` and ``--self`` add: to the programs at a call, and to every switch of threads on the machine.

    python benchmarks/dividing.py

Two processes on one CPU hand a byte to each other, and one of them calls a function for each. The kernel itself says
how often each program ran and how long that took (BPF_ENABLE_STATS, Linux 5.8; its two looks at the clock are in it):
the program of the switches with neither of the two measured, and those of the calls with each option.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.running import counted, runs
from benchmarks.worker import Worker
from latency.cpython.interpreter import Target
from latency.recording import Options
from latency.tracing.probes.session import Session
from tests.lab import Interpreter

PYTHON = Interpreter("", "/usr/bin/python3", None, "own")
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "--self": {"self_time": True},
    "--offcpu": {"offcpu": True},
    "both": {"offcpu": True, "self_time": True},
}

# Answers each byte with a byte, until there are no more.
_PONG = """
import os, sys
os.sched_setaffinity(0, {0})
def answer():
    pass
print("ready", flush=True)
read, write = map(int, sys.argv[1:])
while os.read(read, 1):
    answer()
    os.write(write, b"x")
"""


class Pong:
    """The other process. ``turns``: hand over so often, and wait for each answer."""

    def __init__(self) -> None:
        to_read, self._write = os.pipe()
        self._read, back_write = os.pipe()
        command = [PYTHON.path, "-c", _PONG, str(to_read), str(back_write)]
        self.process = subprocess.Popen(command, pass_fds=(to_read, back_write), stdout=subprocess.PIPE, text=True)
        os.close(to_read)
        os.close(back_write)
        assert self.process.stdout
        self.process.stdout.readline()

    def turns(self, count: int) -> None:
        for _ in range(count):
            os.write(self._write, b"x")
            os.read(self._read, 1)


@contextmanager
def pong() -> Iterator[Pong]:
    """The other process, on the CPU of this thread."""
    other, before = Pong(), os.sched_getaffinity(0)
    os.sched_setaffinity(threading.get_native_id(), {0})
    try:
        yield other
    finally:
        os.sched_setaffinity(threading.get_native_id(), before)
        other.process.kill()
        other.process.communicate()


def run_ns(pid: int, func: str, other: Pong, turns: int, **options: Any) -> dict[str, float]:
    """Nanoseconds of one run of each program of a measurement, while the two hand over."""
    with Session(Target(pid), Options(func=(func,), **options)) as session:
        session.start()
        other.turns(turns // 10)
        before = {name: runs(fd) for name, fd in session.program.loaded.items()}
        other.turns(turns)
        found = {}
        for name, fd in session.program.loaded.items():
            count, spent_ns = (now - then for now, then in zip(runs(fd), before[name], strict=True))
            if count >= turns:
                found[name] = spent_ns / count
        return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=40_000)
    turns = parser.parse_args().turns
    with counted(), Worker(PYTHON.command(), "calls.py") as idle, pong() as other:
        ways = {f"measured, {name}": (other.process.pid, "answer", options) for name, options in OPTIONS.items()}
        ways["another process measured, --offcpu"] = (idle.pid, "wanted", OPTIONS["--offcpu"])
        for way, (pid, func, options) in ways.items():
            found = run_ns(pid, func, other, turns, **options)
            print(f"{way:36}", "  ".join(f"{name.removeprefix('pylat_')} {ns:.0f} ns" for name, ns in found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
