"""The guest's share of a kernel's test where probes of many tasks interrupt each other: forks, threads and markers.

Each case is measured several times, and one wrong number fails it. On kernels that do not preempt, nothing of this can
go wrong in ways that ``guest`` does not see.

    script/kernels --preempted 10 6.18 6.18-full newest
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from latency.cpython.interpreter import Target
from latency.recording import Options, Recording
from latency.tracing.markers.session import MarkerSession
from latency.tracing.probes.session import Session
from latency.tracing.watch.session import WatchSession
from tests import lab
from tests.target_program import TARGETS, TargetProgram
from tests.watch import unaccounted, wrong

_RUNS = 3
"""Of the target, within one measurement."""
_WORKERS, _OTHERS = 6, 3
_USES_MAPS = """
import numpy as np
from latency.tracing.kernel.calls import Map, create_map
table = Map(create_map("beside", 1, 4, 8, 64, 0), np.dtype("<u4"), np.dtype("<u8"))
keys = [np.array([number], "<u4") for number in range(64)]
for key in keys:
    table.update(key, np.zeros(1, "<u8"))
print(flush=True)
while True:
    for key in keys:
        table.lookup(key)
"""
"""Another user of BPF: while a system call looks at a map, no program of a perf event runs on that processor."""
_PAIR, _EVENT = "myapp:request__start,myapp:request__done", "myapp:event"

Truth = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One way to measure one target.

    Attributes:
        minor: of the interpreter that runs it.
        script, arguments: of the target.
        make: the session, of a PID.
        differences: what a recording says otherwise than the truth of all runs, "" for nothing.
        beside: whether others use BPF meanwhile.
    """

    name: str
    minor: tuple[int, int]
    script: str
    arguments: tuple[object, ...]
    make: Callable[[int], Any]
    differences: Callable[[Recording, Sequence[Truth]], str]
    beside: bool = False


def _total(truths: Sequence[Truth]) -> dict[str, dict[str, int]]:
    return {name: {key: sum(each[name][key] for each in truths) for key in truths[0][name]} for name in truths[0]}


def _counted(recording: Recording, truths: Sequence[Truth]) -> str:
    different: dict[str, object] = dict(wrong(recording, _total(truths)))
    if beyond := unaccounted(recording):
        different["unaccounted"] = beyond
    if sum(each.returned + each.raised for each in recording.processes) not in (0, recording.calls):
        different["of all processes"] = [(each.returned, each.raised) for each in recording.processes]
    return str(different or "")


def _together(recording: Recording, truths: Sequence[Truth]) -> str:
    return _counted(recording, [each["together"] for each in truths])


def _watched(recording: Recording, truths: Sequence[Truth]) -> str:
    return str(dict(wrong(recording, _total(truths))) or "")


def _watched_or_told(recording: Recording, truths: Sequence[Truth]) -> str:
    different = _watched(recording, truths)
    print(f"    not run: {recording.losses.not_run}; {different or 'exact'}")
    return "" if recording.losses.not_run else different


def _marked(recording: Recording, truths: Sequence[Truth]) -> str:
    known = {_PAIR: sum(each["pairs"] for each in truths), _EVENT: sum(each["events"] for each in truths)}
    seen = {each.function.qualname: each.calls for each in recording.functions}
    lost = {name: count for name, count in recording.losses.as_dict().items() if count}
    pair = next(each for each in recording.functions if each.function.qualname == _PAIR)
    inside, around = (sum(each[which][0] for each in truths) for which in ("inside", "around"))
    if seen == known and not lost and pair.wall.count == known[_PAIR] and inside <= pair.wall.sum_ns <= around:
        return ""
    return f"seen {seen}, known {known}, lost {lost}; {pair.wall.sum_ns} ns, known {inside} to {around}"


def _calls(engine: str, *func: str, **options: Any) -> Callable[[int], Session]:
    return lambda pid: Session(Target(pid, engine=engine), Options(func=func, engine=engine, **options))


_FORKING = ("work", "works", "suspends", "forks_inside", "forks_twice", "in_worker")
_PARALLEL = ("answers", "nested")
CASES = (
    *(
        Case(
            f"{name}, {engine} {minor[0]}.{minor[1]}",
            minor,
            script,
            arguments,
            _calls(engine, *func, **options),
            differences,
        )
        for engine, minor in (("eval", (3, 9)), ("handlers", (3, 11)), ("handlers", (3, 13)))
        for name, script, arguments, func, options, differences in (
            ("forks", "forking.py", (), _FORKING, {"children": True}, _together),
            ("workers", "workers.py", (_WORKERS,), _PARALLEL, {"children": True}, _counted),
            ("threads", "requests.py", (100,), ("handle_request", "worker"), {}, _counted),
        )
    ),
    Case(
        "workers, offcpu and self", (3, 11), "workers.py", (_WORKERS,),
        _calls("handlers", *_PARALLEL, children=True, offcpu=True, self_time=True), _counted,
    ),
    Case(
        "workers, watch", (3, 11), "workers.py", (_WORKERS,),
        lambda pid: WatchSession(
            Target(pid, engine="watch"), Options(func=_PARALLEL, engine="watch", children=True)
        ), _watched,
    ),
    Case(
        "workers, watch beside others", (3, 11), "workers.py", (_WORKERS,),
        lambda pid: WatchSession(
            Target(pid, engine="watch"), Options(func=_PARALLEL, engine="watch", children=True)
        ), _watched_or_told, beside=True,
    ),
    Case(
        "markers", (3, 11), "marked.py", (),
        lambda pid: MarkerSession(Target(pid), Options(markers=(_PAIR, _EVENT))), _marked,
    ),
)  # fmt: skip


@contextmanager
def _started(case: Case) -> Iterator[tuple[TargetProgram, Callable[[], Truth]]]:
    """The target, and what makes it run once."""
    interpreter = next(it for it in lab.interpreters() if it.origin.startswith("debian") and it.minor == case.minor)
    with TargetProgram(interpreter, case.script, *case.arguments, handshake=case.script != "marked.py") as program:
        if case.script != "marked.py":
            yield program, program.run
            return
        compiler = shutil.which("cc") or "cc"
        flags = ("-O2", "-nostdlib", "-shared", "-fPIC")
        subprocess.run(
            [compiler, *flags, "-o", str(program.directory / "marked.so"), str(TARGETS / "marked.c")], check=True
        )

        def ask(command: str) -> Truth:
            program.send(command)
            answer: Truth = json.loads(program.readline())
            return answer

        program.readline()
        ask("load file")
        yield program, lambda: ask("run")


@contextmanager
def _others(number: int) -> Iterator[None]:
    others = [subprocess.Popen([sys.executable, "-c", _USES_MAPS], stdout=subprocess.PIPE) for _ in range(number)]
    try:
        for each in others:
            assert each.stdout is not None
            each.stdout.readline()
        yield
    finally:
        for each in others:
            each.kill()
            each.communicate()


def tried(case: Case, *, prepare: bool) -> str:
    """What is wrong, ``""`` for nothing."""
    with _started(case) as (program, run), case.make(program.pid) as session:
        if prepare:
            return ""
        run()
        session.start()
        with _others(_OTHERS if case.beside else 0):
            truths = [run() for _ in range(_RUNS)]
            return case.differences(session.stop(), truths)


def main(arguments: Sequence[str] | None = None) -> int:
    """1 where a number is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--prepare", action="store_true", help="only make the sessions, so that what is compiled is kept"
    )
    parser.add_argument("times", type=int, nargs="?", default=1)
    parser.add_argument("only", nargs="*")
    options = parser.parse_args(arguments)
    failed = 0
    for case in CASES:
        if options.only and not any(part in case.name for part in options.only):
            continue
        wrongs, began = [], time.monotonic()
        for _ in range(1 if options.prepare else options.times):
            try:
                wrongs.append(tried(case, prepare=options.prepare))
            except Exception:
                wrongs.append(traceback.format_exc())
        found = [each for each in wrongs if each]
        failed += len(found)
        print(
            f"{time.monotonic() - began:6.1f} s  {case.name:24} {len(found)} of {len(wrongs)} wrong", *found[:3],
            sep="\n    ", flush=True,
        )  # fmt: skip
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
