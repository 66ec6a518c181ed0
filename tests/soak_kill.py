"""A long row of measurements, each of which is killed: is the target ever disturbed, and is anything ever left?

``script/soak --kill`` is this file as a program. It needs what the integration tests need, and is not one of them.
Engines take turns: hardware watchpoints on a function that is called all the time, probes on every function. Of each
measurement it is asked what it holds while it lives; when it was killed, all of that must be gone.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latency.cpython.interpreter import Target
from latency.errors import PylatError
from latency.target.process import Process
from latency.tracing.kernel import calls as kernel
from latency.tracing.kernel.watchpoints import attach_watchpoint
from tests import lab
from tests.pylat_command import PYLAT, Tracing
from tests.target_program import TargetProgram

_REGISTERS = 4
_RETURN_0 = bytes.fromhex("b7000000000000009500000000000000")  # r0 = 0; exit
_GONE_S = 15.0  # the kernel frees in the background, later where it is busy
_GET_NEXT_ID = {"prog": 11, "map": 12, "link": 31}  # enum bpf_cmd
_KINDS = tuple(_GET_NEXT_ID)


class _NextId(ctypes.Structure):
    _fields_ = (("start_id", ctypes.c_uint32), ("next_id", ctypes.c_uint32), ("open_flags", ctypes.c_uint32))


Held = frozenset[tuple[str, int]]
"""BPF objects, (kind, id) each."""


def existing() -> Held:
    """All BPF programs, maps and links of this machine."""
    libc = ctypes.CDLL(None, use_errno=True)
    found = set()
    for kind, command in _GET_NEXT_ID.items():
        attributes = _NextId()
        while libc.syscall(321, command, ctypes.byref(attributes), ctypes.sizeof(attributes)) == 0:
            found.add((kind, attributes.next_id))
            attributes.start_id = attributes.next_id
        if ctypes.get_errno() != errno.ENOENT:
            raise OSError(ctypes.get_errno(), f"list the BPF {kind}s: {os.strerror(ctypes.get_errno())}")
    return frozenset(found)


@dataclass
class Holding:
    """What a process has open: BPF objects by id, and how many perf events."""

    objects: set[tuple[str, int]] = field(default_factory=set)
    events: int = 0

    def look(self, pid: int) -> None:
        """Once more; adds what it has by now."""
        events = 0
        for fd in _entries(Path(f"/proc/{pid}/fd")):
            try:
                events += os.readlink(fd) == "anon_inode:[perf_event]"
                text = Path(f"/proc/{pid}/fdinfo/{fd.name}").read_text()
            except OSError:
                continue
            for kind in _KINDS:
                self.objects |= {
                    (kind, int(number)) for number in re.findall(rf"^{kind}_id:\s+(\d+)", text, re.MULTILINE)
                }
        self.events = max(self.events, events)

    def __str__(self) -> str:
        numbers = [f"{sum(kind == each for each, _ in self.objects)} {kind}s" for kind in _KINDS]
        return ", ".join([*numbers, f"{self.events} events"])


def _entries(directory: Path) -> Iterator[Path]:
    try:
        yield from directory.iterdir()
    except OSError:
        return


def descriptors(pid: int) -> dict[str, str]:
    """What the target has open."""
    return {fd.name: os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}


def code(process: Process) -> dict[int, bytes]:
    """All that the process can execute from files, by address: a breakpoint would show."""
    return {
        mapping.start: process.read_some(mapping.start, mapping.end - mapping.start)
        for mapping in process.maps()
        if mapping.executable and mapping.inode
    }


def code_of_files(process: Process) -> dict[int, bytes]:
    """The same as it is in the files: without a breakpoint, whoever placed it."""
    found = {}
    for mapping in process.maps():
        if mapping.executable and mapping.inode:
            with open(f"/proc/{process.pid}/map_files/{mapping.start:x}-{mapping.end:x}", "rb") as file:
                size = mapping.end - mapping.start
                found[mapping.start] = os.pread(file.fileno(), size, mapping.offset).ljust(size, b"\0")
    return found


def free_registers(program_fd: int, address: int, tid: int) -> int:
    """How many watchpoints a thread can take, found by taking them for a moment; all, if it has ended."""
    taken: list[int] = []
    try:
        for _ in range(_REGISTERS):
            taken.append(attach_watchpoint(program_fd, address, 1, 3, tid, inherited=False))
    except OSError as error:
        if error.errno == errno.ESRCH:
            return _REGISTERS
        if error.errno != errno.ENOSPC:
            raise
    finally:
        for fd in taken:
            os.close(fd)
    return len(taken)


class Soak:
    """One target, and what must not change of it."""

    def __init__(self, program: TargetProgram, threads: int) -> None:
        self.program = program
        self.threads = threads
        self.faults: list[str] = []
        self.process = Process(program.pid)
        self.lasting = set(self.process.threads())
        self.code = code(self.process)
        self.descriptors = descriptors(program.pid)
        self.address = next(mapping.start for mapping in self.process.maps() if mapping.writable)
        self.nothing = kernel.load_program("nothing", kernel.PROG_TYPE_PERF_EVENT, _RETURN_0)
        self.checks = [0] * (threads + 1)
        target = Target(program.pid)
        self.engine = target.plan.engine
        self.semaphores = [it.semaphore + target.build.bias for it in target.build.markers if it.semaphore]

    def round(self, name: str, arguments: list[str], seconds: float) -> str:
        """One measurement, killed when it has run so long. Returns what it held."""
        holding = Holding()
        with Tracing("record", "-p", self.program.pid, "-i", 1, "-j", *arguments) as tracing:
            end = time.monotonic() + seconds
            seen = 0
            while time.monotonic() < end:
                line = tracing.readline()
                if not line:
                    self.fault(f"{name}: pylat ended by itself: {tracing.wait()}")
                    return "ended by itself"
                (run,) = json.loads(line)["runs"]
                seen += sum(each["returned"] + each["raised"] for each in run["functions"])
                holding.look(tracing.pid)
            shown = self._taken() or self._changed()  # what must be gone is seen while it is there
        if not seen or not shown or not holding.objects:
            self.fault(f"{name}: calls {seen}, places {shown}, BPF objects {holding}: there must be some")
        return f"{seen:12,} calls seen; {self.gone(name, holding)}"

    def cut_off(self, name: str, arguments: list[str]) -> str:
        """One measurement, killed at any moment while it prepares itself or has just begun."""
        holding = Holding()
        command = [*PYLAT, "record", "-p", str(self.program.pid), *arguments]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            end = time.monotonic() + random.uniform(0.05, 2.0)
            while time.monotonic() < end and process.poll() is None:
                holding.look(process.pid)
                time.sleep(0.002)
            process.kill()
        return self.gone(f"{name} at its beginning", holding)

    def gone(self, name: str, holding: Holding) -> str:
        """Whether nothing is left of a measurement that was killed; waits for the kernel, which frees later."""
        begin = time.monotonic()
        questions: dict[str, Callable[[], object]] = {
            "BPF objects": lambda: sorted(holding.objects & existing()),
            "watchpoints": self._taken,
            "breakpoints": self._changed,
            "semaphores": self._raised,
            "descriptors": lambda: sorted(descriptors(self.program.pid).items() ^ self.descriptors.items()),
            "a tracer": self._tracer,
        }
        for what, ask in questions.items():
            while (left := ask()) and time.monotonic() < begin + _GONE_S:
                time.sleep(0.05)
            if left:
                self.fault(f"{name}: {what} left after {_GONE_S:.0f} s: {left}")
        return f"{holding} gone in {time.monotonic() - begin:.2f} s"

    def check(self, name: str) -> int:
        """Whether the target is well; returns the number of its own checks since the last look."""
        self.program.send("status")
        answer: dict[str, Any] = json.loads(self.program.readline() or "{}")
        if not answer:
            raise RuntimeError(f"the target died in {name}: status {self.program.process.wait()}")
        for fault in answer["faults"]:
            self.fault(f"{name}: the target's own check fails: {fault}")
        before, self.checks = self.checks, answer["checks"]
        standing = [place for place, (one, two) in enumerate(zip(before, self.checks, strict=True)) if one == two]
        if standing or answer["alive"] != self.threads + 1:
            self.fault(f"{name}: threads that do not go on: {standing}, alive {answer['alive']}")
        return sum(self.checks) - sum(before)

    def fault(self, text: str) -> None:
        """Something is wrong: said at once."""
        self.faults.append(text)
        print(f"script/soak: {text}", file=sys.stderr, flush=True)

    # -- inside ----------------------------------------------------------------------------------

    def _taken(self) -> dict[int, int]:
        """The threads that cannot take four watchpoints, with how many they can take."""
        free = {tid: free_registers(self.nothing, self.address, tid) for tid in self.lasting}
        return {tid: number for tid, number in free.items() if number < _REGISTERS}

    def _changed(self) -> list[str]:
        now = code(self.process)  # it may have loaded more libraries since: those count from then on
        self.code = {**now, **self.code}
        return [f"{start:#x}" for start, data in self.code.items() if now.get(start) != data]

    def _raised(self) -> list[str]:
        """The USDT semaphores that somebody holds up."""
        return [f"{at:#x}" for at in self.semaphores if any(self.process.read(at, 2))]

    def _tracer(self) -> str:
        (tracer,) = re.findall(
            r"^TracerPid:\s+(\d+)", Path(f"/proc/{self.program.pid}/status").read_text(), re.MULTILINE
        )
        return "" if tracer == "0" else str(tracer)


def soak(interpreter: lab.Interpreter, seconds: float, every_s: float, threads: int) -> list[str]:
    """Measures and kills until the time is up, says how it goes, and returns what is wrong."""
    watched = ["--engine", "watch", "--func", "handle"]
    turns = [("watch", watched), ("every function", [])]
    if interpreter.minor >= (3, 11):
        turns.insert(1, ("watch, suspending", ["--engine", "watch", "--func", "numbered"]))
    begin, number, kills, checks = time.monotonic(), 0, 0, 0
    with TargetProgram(interpreter, "self_checking.py", threads) as program:
        state = Soak(program, threads)
        turns[-1] = (f"{state.engine}, every function", [])
        while time.monotonic() < begin + seconds:
            name, arguments = turns[number % len(turns)]
            number += 1
            rest = begin + seconds - time.monotonic()
            held = state.round(name, arguments, min(every_s, max(rest, 1.0)))
            state.cut_off(name, arguments)
            kills += 2
            checks += (made := state.check(name))
            at_s = time.monotonic() - begin
            print(f"{at_s:6.0f} s  round {number:3}  {name:26} {made:10,} checks; {held}", flush=True)
        os.close(state.nothing)
        if program.quit():
            state.fault("the target ended with an error")
    print(f"{number} rounds, {kills} times kill -9, {checks:,} of the target's own checks, {len(state.faults)} faults")
    return state.faults


def main() -> int:
    """1 when the target was disturbed, or something is left."""
    parser = argparse.ArgumentParser(
        prog="script/soak --kill", description="Measure a busy target and kill pylat, again and again."
    )
    parser.add_argument("seconds", nargs="?", type=float, default=1800)
    parser.add_argument("--every", type=float, default=20, metavar="SECONDS", help="how long each measurement lives")
    parser.add_argument("--build", default="", help="part of the name of an interpreter in script/lab's list")
    parser.add_argument("--threads", type=int, default=16)
    options = parser.parse_args()
    interpreter = next((it for it in lab.interpreters() if options.build in it.id), None)
    if interpreter is None:
        parser.error(f"the lab has no {options.build!r}")
    print(f"{interpreter.id}, {options.threads} threads, kill -9 every {options.every:g} s", flush=True)
    try:
        faults = soak(interpreter, options.seconds, options.every, options.threads)
    except (PylatError, RuntimeError, AssertionError) as error:
        faults = [str(error)]
        print(f"script/soak: {error}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
