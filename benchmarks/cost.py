"""What pylat adds to a call, as ratios within one run.

For each interpreter, paired and interleaved: the bare call; empty BPF programs at the same sites (the floor); pylat
with all functions, with a filter that the call passes, and with one that it does not.
Each proves that its probes fired.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latency.cpython.interpreter import Target
from latency.recording import Options
from latency.tracing import kernel
from latency.tracing.session import Session
from tests.lab import Interpreter

_CALLS = 20_000
_EMPTY_PROGRAM = bytes.fromhex("b7000000000000009500000000000000")  # r0 = 0; exit
_COUNTED_ROLES = ("entry", "exit", "return", "raise")

Added = dict[str, list[float]]


@dataclass
class Worker:
    """The running target."""

    process: subprocess.Popen[str]

    def time_ns(self, kind: str) -> float:
        """Nanoseconds of one call now."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{kind} {_CALLS}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


@contextmanager
def worker(interpreter: Interpreter) -> Iterator[Worker]:
    """The target under this interpreter; its program comes in by ``-c``, so that any root will do."""
    source = Path(__file__).with_name("calls.py").read_text()
    command = [str(word) for word in interpreter.command("-c", source)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        process.stdout.readline()
        yield Worker(process)
    finally:
        process.kill()
        process.wait()


@contextmanager
def floor(target: Target) -> Iterator[None]:
    """Empty programs at pylat's sites."""
    program = kernel.load_program("floor", kernel.PROG_TYPE_KPROBE, _EMPTY_PROGRAM, kernel.TRACE_UPROBE_MULTI)
    links = [program]
    try:
        path = f"/proc/self/fd/{target.build.fd}"
        for site in target.plan.sites:
            if site.role.value in _COUNTED_ROLES:
                links.append(
                    kernel.attach_uprobes(program, path, [site.offset], [site.semaphore_offset], target.process.pid)
                )
        yield
    finally:
        for link in reversed(links):
            os.close(link)


@contextmanager
def traced(target: Target, *func: str) -> Iterator[Session]:
    """pylat itself."""
    with Session(target, Options(func=func)) as session:
        session.start()
        yield session


def added_ns(interpreter: Interpreter, rounds: int, progress: Callable[[str], None]) -> Added:
    """Nanoseconds that each variant adds to one call, a number for each round."""
    found: Added = {name: [] for name in ("bare", "floor", "all functions", "filter hits", "filter misses")}
    with worker(interpreter) as target_process:
        target = Target(target_process.process.pid)
        for number in range(rounds):
            progress(f"{interpreter.id} round {number + 1} of {rounds}")
            target_process.time_ns("wanted")  # warm
            bare = target_process.time_ns("wanted")
            found["bare"].append(bare)
            with floor(target):
                target_process.time_ns("wanted")
                found["floor"].append(target_process.time_ns("wanted") - bare)
            for name, func in (("all functions", ()), ("filter hits", ("wanted",)), ("filter misses", ("other",))):
                with traced(target, *func) as session:
                    target_process.time_ns("wanted")
                    found[name].append(target_process.time_ns("wanted") - bare)
                    calls = sum(each.calls for each in session.stop().functions if each.function.qualname == "wanted")
                if calls != (0 if name == "filter misses" else 2 * _CALLS):
                    raise AssertionError(f"{interpreter.id}, {name}: {calls} calls were seen")
    return found


def ratio(of: list[float], to: list[float]) -> tuple[float, float, float]:
    """(median, lower and upper quartile) of the pairwise ratios."""
    pairs = np.array(of) / np.array(to)
    return float(np.median(pairs)), float(np.quantile(pairs, 0.25)), float(np.quantile(pairs, 0.75))
