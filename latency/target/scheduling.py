"""How the threads of a process got processors, as the kernel counts it (``status`` and ``schedstat`` of a task)."""

from __future__ import annotations

from typing import NamedTuple

from latency.errors import TargetError
from latency.target.process import Process

_PREEMPTED = "nonvoluntary_ctxt_switches"


class Scheduled(NamedTuple):
    """Of one thread, since it began.

    Attributes:
        ran_ns: how long it was on a processor.
        preempted: how often it lost one to another thread, though it could have gone on.
    """

    ran_ns: int
    preempted: int


def scheduled(process: Process, most: int) -> dict[int, Scheduled]:
    """By TID: of the first ``most`` threads; of none where the kernel does not count it, or the process is gone."""
    found = {}
    try:
        for tid in process.threads()[:most]:
            task = process.proc / str(process.pid) / "task" / str(tid)
            lines = (task / "status").read_text("utf-8", "backslashreplace").splitlines()
            counts = {name: count for name, _, count in (line.partition(":") for line in lines)}
            found[tid] = Scheduled(int((task / "schedstat").read_text().split()[0]), int(counts[_PREEMPTED]))
    except (TargetError, OSError, ValueError, IndexError, KeyError):
        pass
    return found


def runnable(process: Process, tid: int) -> Scheduled | None:
    """Of a thread that runs, or waits for a processor to go on; None of one that sleeps, or cannot be looked at."""
    task = process.proc / str(process.pid) / "task" / str(tid)
    try:
        state = (task / "stat").read_bytes().rpartition(b")")[2].split()[0]
        return Scheduled(int((task / "schedstat").read_text().split()[0]), 0) if state == b"R" else None
    except (OSError, ValueError, IndexError):
        return None
