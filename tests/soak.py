"""A long measurement of everything at once: do all counters add up, and does nothing grow?

``script/soak`` is this file as a program. It needs what the integration tests need, and is not one of them.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

from latency.errors import PylatError
from latency.tracing.counted.maps import CallMaps
from tests import lab
from tests.target_program import TargetProgram
from tests.targets.protocol import added
from tests.watch import Watch, unaccounted, wrong

_PARTS = 10
_GROWTH_BYTES = 8 << 20
# For each function that the target has more: its parts of the measurement. (Functions made by exec() are garbage in
# cycles, and some versions of CPython collect the oldest generation only after minutes.)
_FUNCTION_BYTES = 16 << 10


class Sample(NamedTuple):
    """What the measurement holds at one moment, in bytes and numbers of entries."""

    memory: int
    maps: int
    threads: int
    suspended: int
    functions: int


def sample(tables: CallMaps) -> Sample:
    """Of this process and its maps."""
    resident = re.search(r"^RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert resident
    maps = 0
    for info in Path("/proc/self/fdinfo").iterdir():
        try:
            text = info.read_text()
        except FileNotFoundError:  # the one that lists them
            continue
        if "map_type" in text and (locked := re.search(r"^memlock:\s+(\d+)", text, re.MULTILINE)):
            maps += int(locked[1])
    sizes = (len(list(table.items())) for table in (tables.threads, tables.suspended, tables.functions))
    return Sample(int(resident[1]) << 10, maps, *sizes)


def soak(interpreter: lab.Interpreter, seconds: float, threads: int) -> list[str]:
    """Measures every function, says how it goes, and returns what is wrong."""
    with TargetProgram(interpreter, "soaking.py", threads) as target, Watch(target.pid) as watch:
        samples: list[Sample] = []
        truth: dict[str, dict[str, int]] = {}
        for part in range(_PARTS):
            target.send(str(seconds / _PARTS))
            truth = added([truth, json.loads(target.readline())])
            samples.append(sample(watch.session.maps))
            calls = sum(each["calls"] for each in truth.values())
            print(f"{(part + 1) * seconds / _PARTS:6.0f} s  {calls:12,} calls  {samples[-1]}", flush=True)
        recording = watch.stop()
    faults = [f"{name}: {what}" for name, what in wrong(recording, truth).items()]
    if left := unaccounted(recording):
        faults.append(f"{left} calls began and are in no counter")
    early, late = samples[_PARTS // 3], samples[-1]
    for name in ("memory", "maps"):
        growth = getattr(late, name) - getattr(early, name)
        if growth > _GROWTH_BYTES + _FUNCTION_BYTES * max(0, late.functions - early.functions):
            faults.append(f"{name} grew by {growth:,} bytes")
    for name in ("threads", "suspended"):
        if getattr(late, name) > 100:  # only the main thread lives, and nothing that it holds is suspended
            faults.append(f"{getattr(late, name):,} entries are left in the table of {name}")
    print(f"{recording.events}, {recording.losses}")
    return faults


def main() -> int:
    """1 when something does not add up, or grows."""
    parser = argparse.ArgumentParser(prog="script/soak", description="Measure everything at once for a long time.")
    parser.add_argument("seconds", nargs="?", type=float, default=600)
    parser.add_argument("--build", default="", help="part of the name of an interpreter in script/lab's list")
    parser.add_argument("--threads", type=int, default=8)
    options = parser.parse_args()
    interpreter = next((it for it in lab.interpreters() if options.build in it.id), None)
    if interpreter is None:
        parser.error(f"the lab has no {options.build!r}")
    print(f"{interpreter.id}, {options.threads} threads")
    try:
        faults = soak(interpreter, options.seconds, options.threads)
    except PylatError as error:
        faults = [f"{error} ({error.hint})"]
    for fault in faults:
        print(f"script/soak: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
