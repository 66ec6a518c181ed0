"""``Target``: a process, the CPython in it, and how to look at its calls. Read only; nothing is attached."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from latency.cache import Cache
from latency.cpython import jit
from latency.cpython.debug_offsets import READ_BYTES
from latency.cpython.hiding import command_without_secrets
from latency.cpython.offsets import Offsets, for_build
from latency.cpython.sites import SitePlan
from latency.cpython.sites.kept import kept, kept_or_found
from latency.cpython.watch_points import ENGINE as WATCH
from latency.cpython.watch_points import FREE_THREADED, WatchPlan
from latency.errors import TargetError, UnsupportedBuild
from latency.recording import TargetInfo
from latency.target.build import Build, identify
from latency.target.process import Process


@dataclass
class Stopwatch:
    """Where the time of the preparation went.

    Attributes:
        steps: what was done, and how many seconds it took.
        under_way: what is being done now.
    """

    steps: list[tuple[str, float]] = field(default_factory=list)
    under_way: list[str] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Times the block, in seconds."""
        begin = time.perf_counter()
        self.under_way.append(name)
        try:
            yield
        finally:
            self.under_way.remove(name)
            self.steps.append((name, time.perf_counter() - begin))


class Target:
    """A process that can be measured.

    Args:
        engine: one of ``sites.ENGINES``, ``"watch"`` (for ``tracing.watch``), or ``"auto"``.
        cache: where site plans are kept between runs.

    Attributes:
        choice: why this engine, once somebody has chosen between several.
        around: the program whose PID was asked for, where that is no CPython itself and its children are meant
            (``wrapped.target_of``); else None.

    Raises:
        TargetError: no such process, not CPython, or a build that pylat cannot measure.
        UsageError: the engine does not exist for this version.
    """

    def __init__(
        self, pid: int, *, engine: str = "auto", stopwatch: Stopwatch | None = None, cache: Cache | None = None
    ) -> None:
        self.stopwatch = stopwatch or Stopwatch()
        self.choice = ""
        self.around: Process | None = None
        with self.stopwatch.step("identify"):
            self.process = Process(pid)
            self.build: Build = identify(self.process)
            self.offsets: Offsets = _offsets(self.process, self.build)
        with self.stopwatch.step("find sites"):
            self._cache = cache or Cache()
            self.plan: SitePlan = self._plan(engine)

    def _plan(self, engine: str) -> SitePlan:
        return self.watch_plan() if engine == WATCH else self.probes_plan(engine)

    def probes_plan(self, engine: str = "auto") -> SitePlan:
        """The plan of an engine that places probes. Raises UnsupportedBuild, UsageError."""
        plan = kept_or_found(self.build, self.offsets, engine=engine, cache=self._cache)
        return replace(plan, blind_spots=(*plan.blind_spots, *jit.blind_spots(self.process, self.build)))

    def watch_plan(self) -> SitePlan:
        """The plan of the watch engine. Raises UnsupportedBuild."""

        if self.offsets.free_threaded:
            raise UnsupportedBuild(FREE_THREADED, "take another --engine")

        def find() -> WatchPlan:
            from latency.cpython.watch_sites import watch_plan  # it imports the disassembler

            return watch_plan(self.build.image, self.build.version, self.offsets)

        cache, decode = self._cache, WatchPlan.from_json
        return kept(self.build, self.offsets, engine=WATCH, cache=cache, decode=decode, find=find)

    def compiled_since(self, told: Collection[str]) -> list[str]:
        """What a JIT that is on by default has begun to compile meanwhile, and what is therefore not seen, a line each.

        Args:
            told: what is known not to be seen.
        """
        try:
            spots = jit.blind_spots(self.process, self.build)
        except TargetError:  # the target ended
            return []
        return [spot for spot in spots if spot not in (*self.plan.blind_spots, *told)]

    @property
    def pid(self) -> int:
        """Of the process that was asked for."""
        return (self.around or self.process).pid

    def info(self, *, show_secrets: bool = False) -> TargetInfo:
        """As a recording states it; with the command line's secrets, if they are to be shown."""
        asked = self.around or self.process
        words = asked.command_words
        return TargetInfo(
            pids=(asked.pid,),
            command=" ".join(words if show_secrets else command_without_secrets(words)) or asked.comm,
            python=self.build.version_text,
            build_id=self.build.build_id,
            executable=self.build.executable,
            engine=self.plan.engine,
            offsets=self.offsets.source,
            kernel=platform.release(),
            machine=platform.machine(),
            cpus=os.cpu_count() or 1,
            choice=self.choice,
        )


def _offsets(process: Process, build: Build) -> Offsets:
    """The table of the build, compared with what the process says of itself (3.13 and later)."""
    symbol = build.image.symbol("_PyRuntime")
    runtime = (
        process.read_some(symbol.address + build.bias, READ_BYTES) if symbol and build.version >= (3, 13) else None
    )
    return for_build(build.version, platform.machine(), build.flags, runtime=runtime or None)
