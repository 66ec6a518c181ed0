"""Runs a command in a time namespace of its own, where CLOCK_MONOTONIC is ahead, or behind.

``-m tests.time_namespace [--behind] COMMAND…``

What stops this program stops the command.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

AHEAD_S, BEHIND = 100_000, "--behind"
OFFSETS = Path("/proc/self/timens_offsets")
_CLONE_NEWTIME = 0x80  # linux/sched.h


def main() -> int:
    """The status of the command."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWTIME):
        raise OSError(ctypes.get_errno(), "cannot make a time namespace")
    behind = sys.argv[1] == BEHIND
    # no clock of a namespace may stand before 0
    offset_s = -int(time.monotonic() / 2) if behind else AHEAD_S
    OFFSETS.write_text(f"monotonic {offset_s} 0\nboottime {offset_s} 0\n")
    with subprocess.Popen(sys.argv[1 + behind :]) as command:
        signal.signal(signal.SIGINT, lambda *_: command.send_signal(signal.SIGINT))
        return command.wait()


if __name__ == "__main__":
    os._exit(main())
