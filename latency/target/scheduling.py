"""How the threads of a process got processors, as the kernel counts it (``status`` and ``schedstat`` of a task); and
when one begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from latency.errors import TargetError
from latency.target.process import Process

_PREEMPTED = b"nonvoluntary_ctxt_switches:"
_MOST_LOOKS, _LOOK_S = 200, 0.005


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
            task = f"{process.proc}/{process.pid}/task/{tid}"
            with open(f"{task}/status", "rb") as status, open(f"{task}/schedstat", "rb") as schedstat:
                count = status.read().rpartition(_PREEMPTED)[2]
                found[tid] = Scheduled(int(schedstat.read().split()[0]), int(count.split()[0]))
    except (TargetError, OSError, ValueError, IndexError):
        pass
    return found


def threads_of(process: Process) -> list[int]:
    """The TIDs of its threads; none where it is gone."""
    with suppress(TargetError):
        return process.threads()
    return []


def newest_task(proc: Path = Path("/proc")) -> int:
    """The number of the process or thread that began last, of all in our PID namespace and below; 0 where it is hidden.

    Where it is the same twice, none began in between (the last word of ``/proc/loadavg``: proc(5)).
    """
    try:
        with open(proc / "loadavg", "rb", buffering=0) as file:  # a third of what Path.read_text takes
            return int(file.read().split()[-1])
    except (OSError, ValueError, IndexError):
        return 0


def wait_until_gone_on(threads: Iterable[tuple[Process, int]], *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Until each of these threads (of a process, by TID) has run since, or sleeps; a second at most.

    A thread may wait for a processor between what a program does and the probe that tells of it.
    """
    waiting = {(process, tid): at for process, tid in threads if (at := _waits(process, tid)) is not None}
    for _ in range(_MOST_LOOKS):
        waiting = {thread: at for thread, at in waiting.items() if _waits(*thread) == at}
        if not waiting:
            return
        sleep(_LOOK_S)


def _waits(process: Process, tid: int) -> int | None:
    """How long it has run, nanoseconds, of a thread that runs or could; None of others."""
    task = process.proc / str(process.pid) / "task" / str(tid)
    try:
        state = (task / "stat").read_bytes().rpartition(b")")[2].split()[0]
        return int((task / "schedstat").read_text().split()[0]) if state == b"R" else None
    except (OSError, ValueError, IndexError):
        return None
