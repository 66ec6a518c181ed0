"""Runs a command in a time namespace of its own, where CLOCK_MONOTONIC is ahead: ``-m tests.time_namespace COMMAND…``.

What stops this program stops the command.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

AHEAD_S = 100_000
OFFSETS = Path("/proc/self/timens_offsets")
_CLONE_NEWTIME = 0x80  # linux/sched.h


def main() -> int:
    """The status of the command."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWTIME):
        raise OSError(ctypes.get_errno(), "cannot make a time namespace")
    OFFSETS.write_text(f"monotonic {AHEAD_S} 0\nboottime {AHEAD_S} 0\n")
    with subprocess.Popen(sys.argv[1:]) as command:
        signal.signal(signal.SIGINT, lambda *_: command.send_signal(signal.SIGINT))
        return command.wait()


if __name__ == "__main__":
    os._exit(main())
