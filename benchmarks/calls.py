"""The target of the cost benchmark: says how long a call takes, in nanoseconds, as often as it is asked.

Runs on Python 3.6 to 3.15. A line ``KIND COUNT`` on standard input is answered with the nanoseconds of one call.
"""

from __future__ import annotations

import sys
import time


def wanted():
    pass


def other():
    pass


def timed(function, count):
    """Nanoseconds of one ``function()``, the loop's own time included."""
    turns = range(count)
    begin = time.perf_counter_ns() if hasattr(time, "perf_counter_ns") else int(time.perf_counter() * 1e9)
    for _ in turns:
        function()
    end = time.perf_counter_ns() if hasattr(time, "perf_counter_ns") else int(time.perf_counter() * 1e9)
    return (end - begin) / count


def main():
    print("ready", flush=True)
    for line in sys.stdin:
        kind, count = line.split()
        print(timed({"wanted": wanted, "other": other}[kind], int(count)), flush=True)


main()
