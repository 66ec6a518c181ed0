"""The long proofs: very many calls, forks, workers that come and go, and a day of everything at once. Is each exact,
or what was lost counted, and does pylat stay as small as it was?

``script/soak --proof`` is this file as a program. It needs what the integration tests need, and is not one of them.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

from latency.cpython.interpreter import Target
from latency.errors import PylatError
from latency.recording import Options, Recording
from latency.tracing.probes.session import Session
from latency.tracing.probes.slicing import Slicing
from tests import lab
from tests.soak import Sample, sample
from tests.target_program import TARGETS, TargetProgram
from tests.targets.protocol import added, truth
from tests.watch import Truth, Watch, of_names, wrong

_PARTS = 10
_EARLY, _LATE = slice(3, 6), slice(7, 10)  # parts whose most memory is compared
_GROWTH_BYTES = 8 << 20
_PROCESS_BYTES = 1 << 10  # of each process its number, its PID and its calls are kept: the recording lists them
_WORKERS, _CLIENTS, _MOST_REQUESTS = 2, 4, 20
DAY, _MINUTES = "day", 24 * 60
_CALLS, _INTERVALS = 60_000, 4  # of a minute: 1,000 calls a second, and a scrape every fifteen seconds
_NO_LIMIT_PCT = 1e6


class Running(NamedTuple):
    """What is measured: its PID, the functions, and what does so much of the work and says the truth of that."""

    pid: int
    names: Sequence[str]
    work: Callable[[int], Truth]


class Proof(NamedTuple):
    """One of them: how much of what there is, whether processes are followed, and how it is started."""

    about: str
    count: int
    children: bool
    start: Callable[[lab.Interpreter, int], AbstractContextManager[Running]]


@contextmanager
def _calls(interpreter: lab.Interpreter, _: int) -> Iterator[Running]:
    with TargetProgram(interpreter, "counting.py") as target:

        def work(count: int) -> Truth:
            target.send(str(count))
            return dict(json.loads(target.readline()))

        yield Running(target.pid, ["work"], work)


@contextmanager
def _forks(interpreter: lab.Interpreter, part: int) -> Iterator[Running]:
    with TargetProgram(interpreter, "forking_many.py", part, 1) as target:
        yield Running(target.pid, ["job"], lambda _: target.run())


@contextmanager
def _workers(interpreter: lab.Interpreter, _: int) -> Iterator[Running]:
    """gunicorn, of the environment of the tests: each worker ends after a few requests."""
    with tempfile.TemporaryDirectory(prefix="pylat-") as directory, socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)
        Path(directory, "preforked.py").write_text((TARGETS / "preforked.py").read_text())
        command = [sys.executable, "-m", "gunicorn", "-w", str(_WORKERS), "-b", f"fd://{listener.fileno()}"]
        command += ["--max-requests", str(_MOST_REQUESTS), "--log-level", "error", "preforked:application"]
        port = listener.getsockname()[1]
        with subprocess.Popen(command, cwd=directory, pass_fds=[listener.fileno()]) as master:
            try:
                _ask(port, [0])  # answered: it is up
                yield Running(master.pid, ["application", "answer"], lambda count: _load(port, count))
            finally:
                master.terminate()


def _load(port: int, count: int) -> Truth:
    with ThreadPoolExecutor(_CLIENTS) as clients:
        answered = sum(clients.map(_ask, [port] * _CLIENTS, [range(each, count, _CLIENTS) for each in range(_CLIENTS)]))
    if answered != count:
        raise RuntimeError(f"{answered} of {count} requests were answered")
    failed = sum(number % 10 == 3 for number in range(count))
    return {"application": truth(returned=count), "answer": truth(returned=count - failed, raised=failed)}


def _ask(port: int, numbers: Sequence[int]) -> int:
    """Requests one after the other, each on a connection of its own, as sync workers want it. Returns how many came."""
    answered = 0
    for number in numbers:
        connection = HTTPConnection("127.0.0.1", port, timeout=500)
        connection.request("GET", f"/{number}")
        answered += connection.getresponse().status == 200
        connection.close()
    return answered


PROOFS = {
    "gunicorn": Proof(f"requests to gunicorn --max-requests {_MOST_REQUESTS}", 20_000, True, _workers),
    "forks": Proof("forks", 20_000, True, _forks),
    "calls": Proof("calls", 100_000_000, False, _calls),
}


def prove(proof: Proof, interpreter: lab.Interpreter, count: int) -> list[str]:
    """Does it in parts, says how it goes, and returns what is wrong."""
    part = max(1, count // _PARTS)
    known: Truth = {}
    samples = []
    begin_s = time.monotonic()
    with (
        proof.start(interpreter, part) as running,
        Watch(running.pid, running.names, children=proof.children) as watching,
    ):
        for number in range(1, _PARTS + 1):
            known = added([known, running.work(part)])
            samples.append(sample(watching.session.maps))
            done_s = time.monotonic() - begin_s
            print(f"{done_s:7.0f} s  {number * part:12,} {proof.about}  {samples[-1]}", flush=True)
        recording = watching.stop()
    lost = {name: count for name, count in recording.losses.as_dict().items() if count}
    differ = {name: what for name, what in wrong(recording, known).items() if name in known}
    print(f"{recording.calls:,} calls, {len(recording.processes):,} processes; lost: {lost or 'nothing'}")
    print("exact" if not differ else f"not exact: {differ}")
    return [
        *unexplained(recording, known),
        *_growth(samples, _GROWTH_BYTES + _PROCESS_BYTES * len(recording.processes)),
    ]


def unexplained(recording: Recording, known: Truth) -> list[str]:
    """What is neither exact nor counted: no more calls may be missing than were lost, and none may be too many."""
    differ = {name: what for name, what in wrong(recording, known).items() if name in known}
    lost = recording.losses.total
    if not lost:
        return [f"{name}: {what}" for name, what in differ.items()]
    faults, missing = [], 0
    for name, functions in of_names(recording, known).items():
        for how in ("returned", "raised"):
            lacking = known[name][how] - sum(getattr(each, how) for each in functions)
            missing += max(lacking, 0)
            faults += [f"{name}: {-lacking:,} too many {how}"] if lacking < 0 else []
    if missing > lost:
        faults.append(f"{missing:,} calls are missing, and only {lost:,} losses were counted")
    return faults


def _growth(samples: Sequence[Sample], most_bytes: int) -> list[str]:
    """Says how memory and maps grew, and returns what is wrong with that."""
    growth, maps = (
        max(getattr(it, of) for it in samples[_LATE]) - max(getattr(it, of) for it in samples[_EARLY])
        for of in ("memory", "maps")
    )
    print(f"memory grew by {growth:,} bytes, the maps by {maps:,}, from the second third to the last")
    faults = [f"memory grew by {growth:,} bytes"] if growth > most_bytes else []
    return faults + ([f"maps grew by {maps:,} bytes"] if maps > _GROWTH_BYTES else [])


def prove_day(interpreter: lab.Interpreter, minutes: int) -> list[str]:
    """A day in minutes of work: of each minute the calls, the readings, and a slice, and none of the waiting."""
    intervals, samples, begin_s = [0, 0], [], time.monotonic()
    options = Options(func=("work",), max_overhead_pct=_NO_LIMIT_PCT)
    with TargetProgram(interpreter, "counting.py") as target, Session(Target(target.pid), options) as session:
        session.start()
        (slicing,) = (part for part in session.parts if isinstance(part, Slicing))
        for minute in range(minutes):
            for _ in range(_INTERVALS):
                target.send(str(_CALLS // _INTERVALS))
                target.readline()
                session.poll()
                intervals[0] += 1
                intervals[1] += session.interval().calls
            slicing.pause()
            slicing.resume()
            if (minute + 1) % max(1, minutes // _PARTS) == 0:
                samples.append(sample(session.maps))
                done_s = time.monotonic() - begin_s
                print(f"{done_s:7.0f} s  {minute + 1:12,} minutes  {samples[-1]}", flush=True)
        recording = session.stop()
    made = minutes * (_CALLS // _INTERVALS) * _INTERVALS
    lost = {name: count for name, count in recording.losses.as_dict().items() if count}
    slices = recording.watched.slices if recording.watched else 0
    told = f"{intervals[1]:,} of them told by {intervals[0]:,} intervals"
    print(f"{recording.calls:,} of {made:,} calls, {told}, in {slices:,} slices; lost: {lost or 'nothing'}")
    faults = [] if recording.calls == intervals[1] == made and not lost else ["not exact"]
    return [*faults, *_growth(samples, _GROWTH_BYTES)]


def main() -> int:
    """1 when something is neither exact nor counted as lost, or memory grows."""
    parser = argparse.ArgumentParser(prog="script/soak --proof", description="The long proofs, one after the other.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join((*PROOFS, DAY))}; all without")
    parser.add_argument("--count", type=int, help="how much of it, instead of the whole")
    parser.add_argument("--build", default="", help="part of the name of an interpreter in script/lab's list")
    options = parser.parse_args()
    if unknown := set(options.names) - {*PROOFS, DAY}:
        parser.error(f"there is no proof {', '.join(sorted(unknown))}")
    interpreter = next((it for it in lab.interpreters() if options.build in it.id), None)
    if interpreter is None:
        parser.error(f"the lab has no {options.build!r}")
    faults = []
    for name in options.names or (*PROOFS, DAY):
        if name == DAY:
            minutes = options.count or _MINUTES
            print(f"{DAY}: {minutes:,} minutes, {interpreter.id}", flush=True)
            faults += [f"{DAY}: {fault}" for fault in prove_day(interpreter, minutes)]
            continue
        proof = PROOFS[name]
        count = options.count or proof.count
        print(f"{name}: {count:,} {proof.about}, {interpreter.id}", flush=True)
        try:
            faults += [f"{name}: {fault}" for fault in prove(proof, interpreter, count)]
        except (PylatError, RuntimeError, OSError) as error:
            faults.append(f"{name}: {error}")
    for fault in faults:
        print(f"script/soak: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
