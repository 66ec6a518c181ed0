"""What a traced call is made of, by experiment: the trap, and each step that pylat's programs make.

Two instruments. Programs that go a step further each (``steps.bpf.c``) at pylat's sites: what a call takes, as in
``cost``. And the kernel's own count of how often and how long BPF programs run: of these, and of pylat's.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cost import MINORS
from benchmarks.keeping import Part, Settings, Spread, Values, chosen, fastest, table
from benchmarks.running import Runs, counted, runs
from benchmarks.worker import CALL_ROLES, EMPTY_PROGRAM, Worker, call_sites, empty_program, placed
from latency import resources
from latency.cpython.functions import live_functions
from latency.cpython.interpreter import Target
from latency.cpython.sites import Role
from latency.recording import Options
from latency.tracing.counted import wire
from latency.tracing.counted.parameters import cflags
from latency.tracing.kernel import calls as kernel
from latency.tracing.kernel.calls import Map
from latency.tracing.kernel.compiler import Object, compiled
from latency.tracing.probes.session import Session
from latency.tracing.watch.session import WatchSession
from tests.lab import Interpreter

_ROUNDS = 9
_BURST_NS, _BURSTS = 1_000_000, 25
_SOURCE = "steps.bpf.c"
_EMPTY = "empty programs (the trap)"
STEPS = (
    "+ look up the configuration",
    "+ count the hit",
    "+ read the code pointer",
    "+ look up the function (a call that is not wanted ends here)",
    "+ read the clock",
    "+ look up the thread's open calls",
    "+ push and pop the open call",
    "+ read whether an exception is raised",
    "+ count the latency",
)
_PYLAT = {"pylat, all functions": (), "pylat, filter hits": ("wanted",), "pylat, filter misses": ("other",)}
_BY_PERF = "empty programs, by perf events"
_WATCH = "pylat's watch engine"
_EVENTS_OF = {Role.ENTRY: "step_entry", Role.EXIT: "step_exit", Role.RETURN: "step_exit", Role.RAISE: "empty"}


class Steps:
    """The loaded programs of one step; a context manager that takes them away."""

    def __init__(self, made: Object, code: int) -> None:
        self._fds: list[int] = []
        for shape in made.maps:
            arguments = (shape.name, shape.type, shape.key_size, shape.value_size, shape.max_entries, shape.flags)
            self._fds.append(kernel.create_map(*arguments))
        names = {shape.name: fd for shape, fd in zip(made.maps, self._fds, strict=True)}
        zero = np.zeros(1, "<u4")
        config, function, key = np.zeros(1, wire.CONFIG), np.zeros(1, wire.FUNCTION), np.zeros(1, wire.FUNCTION_KEY)
        config["enabled"], function["flags"], key["code"] = 1, wire.WANTED, code
        Map(names["config"], zero.dtype, wire.CONFIG).update(zero, config)
        Map(names["functions"], wire.FUNCTION_KEY, wire.FUNCTION).update(key, function)
        self.programs: dict[str, int] = {}
        maps = list(self._fds)
        for name in ("step_entry", "step_exit"):
            code_of = made.instructions(name, maps)
            self.programs[name] = kernel.load_program(name, kernel.PROG_TYPE_KPROBE, code_of, kernel.TRACE_UPROBE_MULTI)
            self._fds.append(self.programs[name])
        self.programs["empty"] = kernel.load_program(
            "empty", kernel.PROG_TYPE_KPROBE, EMPTY_PROGRAM, kernel.TRACE_UPROBE_MULTI
        )
        self._fds.append(self.programs["empty"])

    @property
    def roles(self) -> dict[Role, int]:
        """The program of each role."""
        return {role: self.programs[name] for role, name in _EVENTS_OF.items()}

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, *error: object) -> None:
        for fd in reversed(self._fds):
            os.close(fd)


def compile_steps(target: Target) -> list[Object]:
    """One object for each of ``STEPS``."""
    with tempfile.TemporaryDirectory(prefix="pylat-steps-") as name:
        folder = Path(name)
        for file in (*resources.directory("bpf").iterdir(), Path(__file__).with_name(_SOURCE)):
            (folder / file.name).symlink_to(file)
        flags = cflags(target.offsets, target.plan, every_function=False)

        def one(number: int) -> Object:
            step = [*flags, f"-DPYLAT_STEP={number}"]
            return compiled(step, ["step_entry", "step_exit"], folder=folder, source=_SOURCE)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(one, range(1, len(STEPS) + 1)))


class Bench:
    """One interpreter at work, timed with and without the kernel's count."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.target = Target(worker.pid)
        lives = live_functions(self.target.process, self.target.build, self.target.offsets)
        self.code = next(live.address for live in lives if live.function.qualname == "wanted")
        self.objects = compile_steps(self.target)
        self.added: dict[str, list[float]] = {}
        self.running: dict[str, dict[str, list[float]]] = {}

    def time(self) -> tuple[int, float]:
        """(calls, nanoseconds of one)."""
        calls, bursts = self.worker.ask("time", "wanted", _BURST_NS, _BURSTS)
        return calls, fastest(bursts)

    def measure(self, name: str, bare_ns: float, programs: dict[str, int]) -> None:
        """What is placed now: what it adds to a call, then for how long its programs run.

        Args:
            programs: those that every call runs, by the name for the table.
        """
        self.added.setdefault(name, []).append(self.time()[1] - bare_ns)
        with counted():
            before = {program: runs(fd) for program, fd in programs.items()}
            calls, _ = self.time()
            ran: dict[str, Runs] = {program: runs(fd) - before[program] for program, fd in programs.items()}
        # one run in each call, but for the few of the target's own functions
        if any(not calls <= of.count <= 1.02 * calls + 50 for of in ran.values()) and name != _WATCH:
            raise AssertionError(f"{name}: {calls} calls, and runs: {ran}")
        for program, of in ran.items():
            self.running.setdefault(name, {}).setdefault(program, []).append(of.total_ns / calls)

    def round(self) -> None:
        """Everything once."""
        bare = self.time()[1]
        with empty_program() as one, empty_program() as other:
            roles = {role: one if role is Role.ENTRY else other for role in CALL_ROLES}
            with placed(self.target, roles):
                self.measure(_EMPTY, bare, {"entry": one, "exit": other})
        with _by_perf(self.target):
            self.added.setdefault(_BY_PERF, []).append(self.time()[1] - bare)
        for name, made in zip(STEPS, self.objects, strict=True):
            with Steps(made, self.code) as steps, placed(self.target, steps.roles):
                self.measure(name, bare, {"entry": steps.programs["step_entry"], "exit": steps.programs["step_exit"]})
        for name, func in _PYLAT.items():
            with Session(self.target, Options(func=func)) as session:
                session.start()
                functions = session.program._functions
                left = functions.get("pylat_exit", functions.get("pylat_return"))
                self.measure(name, bare, {"entry": functions["pylat_entry"], "exit": left})
        target = Target(self.worker.pid, engine="watch")
        with WatchSession(target, Options(func=("wanted",), engine="watch")) as watching:
            watching.start()
            self.measure(_WATCH, bare, {"three hits": watching.program._functions["pylat_watch"]})


@contextmanager
def _by_perf(target: Target) -> Iterator[None]:
    program = kernel.load_program("floor", kernel.PROG_TYPE_KPROBE, EMPTY_PROGRAM)
    fds = [program]
    try:
        for site in call_sites(target):
            path = f"/proc/self/fd/{target.build.fd}"
            fds.append(kernel.attach_uprobe(program, path, site.offset, site.semaphore_offset, target.process.pid))
        yield
    finally:
        for fd in reversed(fds):
            os.close(fd)


def _measure_interpreter(interpreter: Interpreter, settings: Settings) -> Values:
    rounds = settings.rounds_or(_ROUNDS)
    with Worker(interpreter.command(), "calls.py") as worker:
        bench = Bench(worker)
        for number in range(rounds):
            settings.progress(f"breakdown: {interpreter.id}, round {number + 1} of {rounds}")
            bench.round()
        return {"engine": bench.target.plan.engine, "added_ns": bench.added, "running_ns": bench.running}


def measure(settings: Settings) -> Values:
    """All interpreters."""
    return {it.id: _measure_interpreter(it, settings) for it in chosen(settings, MINORS)}


def tables(values: Values) -> str:
    """One table for each interpreter."""
    text = [
        "Programs that go one step further each, at pylat's own sites, and pylat itself. *Added to a call*: CPU time "
        "of the target. *Programs run*: by the kernel's own count (`BPF_ENABLE_STATS`), for one call; reading the clock"
        " for that is in the numbers, also of the empty programs. What the trap adds besides is not in it.\n"
    ]
    for interpreter, found in values.items():
        rows = []
        before: float | None = None
        for name in (_EMPTY, _BY_PERF, *STEPS, *_PYLAT, _WATCH):
            added = Spread.of(found["added_ns"][name])
            running = {part: Spread.of(each) for part, each in found["running_ns"].get(name, {}).items()}
            total = sum(each.middle for each in running.values())
            step = f"{total - before:+,.0f} ns" if name in STEPS and before is not None else ""
            before = total if name in (_EMPTY, *STEPS) else before
            both = [f"{running[part]:,.0f} ns" if part in running else "" for part in ("entry", "exit")]
            rows.append([name, f"{added:,.0f} ns", *both, f"{total:,.0f} ns" if total else "", step])
        text.append(f"## {interpreter}\n\nEngine {found['engine']}.\n")
        heads = ("", "added to a call", "entry program runs", "exit program runs", "programs run", "this step")
        text.append(table(heads, rows))
    return "\n".join(text)


def plots(values: Values) -> dict[str, Any]:
    """Bars of how long the programs run."""
    from benchmarks import drawing

    names = [_EMPTY, *STEPS, *_PYLAT]
    short = [name.partition(" (")[0] for name in names]
    series = {
        interpreter: [
            Spread.of(np.sum([found["running_ns"][name][part] for part in ("entry", "exit")], axis=0).tolist())
            for name in names
        ]
        for interpreter, found in values.items()
    }
    return {"breakdown": drawing.bars(short, series, "BPF programs run for one call, ns")}


PART = Part("breakdown", "What a traced call is made of", measure, tables, plots)
