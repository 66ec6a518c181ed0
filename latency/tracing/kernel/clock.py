"""The kernel's clock: what ``bpf_ktime_get_ns`` says, and so every time that a program hands over.

That is CLOCK_MONOTONIC of the machine. A process in a time namespace reads another one, shifted by the namespace's
offset (time_namespaces(7), Linux 5.6). Which one the target reads does not matter: nobody asks it. Nothing else in
``latency/`` reads a clock that is compared with the kernel's.
"""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path

_FIRST_TIME_NAMESPACE = "time:[4026531834]"  # PROC_TIME_INIT_INO, linux/proc_ns.h


def now_ns() -> int:
    """This moment."""
    return time.monotonic_ns() - _own_offset_ns()


def epoch_ns() -> int:
    """The Unix time of its zero, as things stand: what is to be added to one of its times."""
    return time.time_ns() - now_ns()


@cache
def _own_offset_ns() -> int:
    return offset_ns(Path("/proc/self"))


def offset_ns(process: Path) -> int:
    """By how much CLOCK_MONOTONIC of a process is ahead of the machine's.

    Args:
        process: its folder in ``/proc``.
    """
    try:
        if os.readlink(process / "ns/time") == _FIRST_TIME_NAMESPACE:
            return 0  # before Linux 6.3 the file below may be of its children to come alone
        lines = (process / "timens_offsets").read_text().splitlines()
    except OSError:
        return 0  # a kernel without time namespaces
    for clock, seconds, nanoseconds in (line.split() for line in lines):
        if clock == "monotonic":
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return 0
