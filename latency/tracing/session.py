"""One measurement of one process: prepare, start, look in from time to time, stop: a ``Recording``.

attach:  load; exits, then entries; check again what may have changed; enable
end:     disable; detach; read the tables
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from types import TracebackType
from typing import NamedTuple

from latency.cpython.debug_offsets import READ_BYTES
from latency.cpython.functions import LiveFunction, live_functions
from latency.cpython.offsets import Offsets, for_build
from latency.cpython.patterns import Matcher, nearest
from latency.cpython.sites import SitePlan, plan_for
from latency.errors import CompileError, NoFunctionMatches, TargetError
from latency.recording import FunctionLatency, Losses, Options, Overhead, Recording, TargetInfo
from latency.target.build import Build, identify
from latency.target.process import Process
from latency.tracing import wire
from latency.tracing.calibration import HitCost, hit_cost
from latency.tracing.compiler import Object, compiled
from latency.tracing.parameters import Capacity, cflags
from latency.tracing.program import Program, needed, sizes_agree
from latency.tracing.reading import OpenCalls, Reading, Slices
from latency.tracing.results import latencies
from latency.tracing.table import FunctionTable

_CODE_BYTES = 136  # covers the members below in all versions
_LASTING = (
    "object.type",
    "code.consts",
    "code.names",
    "code.filename",
    "code.name",
    "code.qualname",
    "code.firstlineno",
)
_ALL = Capacity(slots=8192)


@dataclass
class Stopwatch:
    """Where the time of the preparation went."""

    steps: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Times the block, in seconds."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.steps.append((name, time.perf_counter() - begin))


class _OpenCall(NamedTuple):
    """A call that has begun and not ended."""

    frame: int
    start_ns: int
    slot: int


class Target:
    """A process, the CPython in it, and how to look at its calls. Read only; nothing is attached.

    Raises:
        TargetError: no such process, not CPython, or a build that pylat cannot measure.
    """

    def __init__(self, pid: int, *, engine: str = "auto", stopwatch: Stopwatch | None = None) -> None:
        self.stopwatch = stopwatch or Stopwatch()
        with self.stopwatch.step("identify"):
            self.process = Process(pid)
            self.build: Build = identify(self.process)
            self.offsets: Offsets = _offsets(self.process, self.build)
        with self.stopwatch.step("find sites"):
            self.plan: SitePlan = plan_for(
                self.build.image, self.build.version, self.offsets, self.build.markers, engine=engine
            )

    def info(self) -> TargetInfo:
        """As a recording states it."""
        return TargetInfo(
            pids=(self.process.pid,),
            command=self.process.command or self.process.comm,
            python=self.build.version_text,
            build_id=self.build.build_id,
            executable=self.build.executable,
            engine=self.plan.engine,
            offsets=self.offsets.source,
            kernel=platform.release(),
            machine=platform.machine(),
            cpus=os.cpu_count() or 1,
        )


class Session:
    """Measures a target.

    Args:
        options: ``func`` and ``regex`` say which functions; without patterns, all.
        attachment: see ``Program``.

    Raises:
        NoFunctionMatches: patterns, and no live function that matches; the hint offers the nearest names.
        HostError: bcc, the kernel or the privileges do not allow it.
    """

    def __init__(self, target: Target, options: Options, *, attachment: str = "auto") -> None:
        self.target = target
        self.options = options
        self._slices = Slices()
        self._first: Reading | None = None
        self._last: Reading | None = None
        self._hit_cost: HitCost | None = None
        self._started_at = datetime.now(timezone.utc)
        self._image = target.process.image_identity()
        matcher = Matcher.parse(options.func, regex=options.regex) if options.func else None
        stopwatch = target.stopwatch
        # The compiler is another process: search the heap meanwhile.
        with ThreadPoolExecutor(1) as pool:
            compiling = pool.submit(self._compiled)
            with stopwatch.step("find functions"):
                lives = live_functions(target.process, target.build, target.offsets)
                self.table = FunctionTable(target.process, target.build, target.offsets, matcher, lives)
                if matcher:
                    _require_matches(matcher, self.table, lives)
            with stopwatch.step("wait for the compiler"):
                made = compiling.result()
        capacity = Capacity(slots=min(wire.NO_SLOT, max(1024, 2 * self.table.slots_needed))) if matcher else _ALL
        with stopwatch.step("load"):
            self.program = Program(made, target.plan, capacity, attachment=attachment)
        try:
            with stopwatch.step("fill tables"):
                self.table.fill(self.program)
        except BaseException:
            self.program.close()
            raise

    # -- running ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Place the probes and begin. Raises AttachError, TargetGone."""
        process, program = self.target.process, self.program
        addresses = self.table.addresses
        before = process.read_many(addresses, _CODE_BYTES)
        with self.target.stopwatch.step("attach"):
            process.check()
            config = program.config
            config["code_type"] = self.target.build.address("PyCode_Type")
            config["generator_exit"] = process.u64(self.target.build.address("PyExc_GeneratorExit"))
            program.attach(f"/proc/self/fd/{self.target.build.fd}", process.pid)
            # From here on the program itself strikes out code objects that are freed; those freed and replaced since
            # they were found are told by their contents.
            after = process.read_many(addresses, _CODE_BYTES)
            self.table.forget(
                program,
                [a for a, one, two in zip(addresses, before, after, strict=True) if not self._same_code(one, two)],
            )
        self._started_at = datetime.now(timezone.utc)
        self._first = Reading.take(program, time.monotonic_ns())
        program.config["enabled"] = 1

    def poll(self) -> str:
        """Take in what has happened since; call it several times a second.

        Returns:
            ``""``, or why the target cannot be measured any longer: ``"exited"`` or ``"exec"`` (another program).
        """
        self._meet()
        process = self.target.process
        if not process.alive():
            return "exited"
        return "exec" if process.image_identity() != self._image else ""

    def end_slice(self) -> None:
        """One more of the equal parts of the measurement is over: the error bars are made of these."""
        self._slices.add(self.program)

    def interval(self) -> Recording:
        """What came since the last interval. The open calls are not told."""
        reading = Reading.take(self.program, time.monotonic_ns())
        earlier, self._last = self._last or self._first, reading
        return self._recording(reading, earlier, {}, 0, slices=None)

    def stop(self) -> Recording:
        """End the measurement: disable, detach, read."""
        program = self.program
        stale = self._stale_calls()
        program.config["enabled"] = 0
        ended_ns = time.monotonic_ns()
        program.detach()
        self._meet()
        reading = Reading.take(program, ended_ns)
        opens: dict[int, OpenCalls] = {}
        for call in self._open_calls() - stale:
            opens.setdefault(call.slot, OpenCalls()).add(call.start_ns)
        program.stop_following_threads()
        self._hit_cost = hit_cost(program, self.target.plan, self.target.offsets)
        return self._recording(reading, self._first, opens, len(stale), slices=self._slices)

    def close(self) -> None:
        """Take everything away."""
        self.program.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # -- inside ----------------------------------------------------------------------------------

    def _compiled(self) -> Object:
        with self.target.stopwatch.step("compile"):
            flags = cflags(self.target.offsets, self.target.plan, every_function=not self.options.func)
            made = compiled(flags, needed(self.target.plan))
        if not sizes_agree(made):
            raise CompileError("bpf/pylat.h and latency/tracing/wire.py disagree on a struct", "reinstall pylat")
        return made

    def _meet(self) -> None:
        """Take in the code objects that the program has met."""
        for event in self.program.events():
            self.table.met(self.program, event)

    def _open_calls(self) -> set[_OpenCall]:
        """The calls that have begun and not ended, suspended ones included."""
        suspended = {int(key["frame"][0]): value[0] for key, value in self.program.suspended.items()}
        found = set()
        for _, value in self.program.threads.items():
            for call in value[0]["open"][: min(int(value[0]["depth"]), wire.DEPTH)]:
                frame = int(call["frame"])
                began = suspended[frame] if call["flags"] & wire.RESUMED and frame in suspended else call
                found.add(_OpenCall(frame, int(began["start_ns"]), int(call["slot"])))
        for frame, kept in suspended.items():
            if not kept["running"]:
                found.add(_OpenCall(frame, int(kept["start_ns"]), int(kept["slot"])))
        return found

    def _stale_calls(self) -> set[_OpenCall]:
        """Open calls whose end was missed: still in the table after their frame was seen to be another's."""
        calls = list(self._open_calls())
        codes = self._codes([call.frame for call in calls])
        owners = self.program.statistics["code"]
        gone = {
            call for call, code in zip(calls, codes, strict=True) if code is not None and code != int(owners[call.slot])
        }
        return gone & self._open_calls() if gone else gone

    def _same_code(self, one: bytes | None, two: bytes | None) -> bool:
        """Whether two readings of a code object's head are of one object, by the members that never change."""
        if one is None or two is None:
            return False
        fields = self.target.offsets.fields
        known = (fields[name] for name in _LASTING if name in fields)
        return all(one[f.offset : f.offset + f.size] == two[f.offset : f.offset + f.size] for f in known)

    def _codes(self, frames: list[int]) -> list[int | None]:
        """The code object of each frame now; None where the process is gone or is another program."""
        process, offsets = self.target.process, self.target.offsets
        if not frames or not process.alive() or process.image_identity() != self._image:
            return [None] * len(frames)
        try:
            words = process.read_many([frame + offsets["frame.code"] for frame in frames], 8)
        except TargetError:
            return [None] * len(frames)
        mask = offsets.stackref_mask
        return [int.from_bytes(word, "little") & mask if word else 0 for word in words]

    def _recording(
        self,
        reading: Reading,
        earlier: Reading | None,
        opens: dict[int, OpenCalls],
        vanished: int,
        *,
        slices: Slices | None,
    ) -> Recording:
        functions, unnamed = latencies(
            reading, self.table, opens=opens, slices=slices, earlier=earlier, empty=bool(self.options.func)
        )
        since = earlier.counters if earlier else {}
        counters = {name: count - since.get(name, 0) for name, count in reading.counters.items()}
        losses = {name: counters.pop(name) for name in wire.LOSSES}
        duration_s = (reading.at_ns - (earlier.at_ns if earlier else reading.at_ns)) / 1e9
        losses["unmatched_entry"] += vanished
        return Recording(
            target=self.target.info(),
            duration_s=duration_s,
            functions=_busiest_first(functions),
            options=self.options,
            losses=Losses.from_dict({**losses, "unnamed": unnamed}),
            blind_spots=self.target.plan.blind_spots,
            overhead=self._overhead(counters, duration_s),
            began_before=counters.pop("began_before"),
            events=counters,
            started_at=self._started_at,
        )

    def _overhead(self, counters: dict[str, int], duration_s: float) -> Overhead | None:
        """What the probes took from the target, from the number of hits and the cost of one."""
        hits = counters["hits"]
        if self._hit_cost is None or not hits or duration_s <= 0:
            return None
        total_ns = self._hit_cost.total_ns(hits, counters["entries"] + counters["matched"])
        return Overhead(hits=hits, ns_per_hit=total_ns / hits, share_of_cpu=total_ns / 1e9 / duration_s)


def _busiest_first(functions: tuple[FunctionLatency, ...]) -> tuple[FunctionLatency, ...]:
    return tuple(sorted(functions, key=lambda each: each.wall.sum_ns, reverse=True))


def _require_matches(matcher: Matcher, table: FunctionTable, lives: list[LiveFunction]) -> None:
    for pattern in matcher.unmatched(lives):
        if not table.wanted:
            near = nearest(pattern, lives)
            hint = f"nearest: {', '.join(near)}" if near else "pylat functions -p PID lists what there is"
            raise NoFunctionMatches(f"no function matches {pattern!r}", hint)


def _offsets(process: Process, build: Build) -> Offsets:
    """The table of the build, compared with what the process says of itself (3.13 and later)."""
    symbol = build.image.symbol("_PyRuntime")
    runtime = (
        process.read_some(symbol.address + build.bias, READ_BYTES) if symbol and build.version >= (3, 13) else None
    )
    return for_build(build.version, platform.machine(), build.flags, runtime=runtime or None)
