"""The watch engine's measurement of one process: what ``Session`` is to the other engines, with the same face.

attach:  calibrate; watch exits, then entries; look once more at the code objects; enable
end:     disable; detach; read
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from types import TracebackType

import numpy as np

from latency.cpython import jit
from latency.cpython.functions import LiveFunction, describe, live_functions
from latency.cpython.interpreter import Target
from latency.cpython.patterns import Matcher, nearest
from latency.cpython.sites import Role
from latency.cpython.watch_points import WatchPlan, WatchPoints, has_ended, is_alive, unwatchable, watch_points
from latency.errors import AttachError, NoFunctionMatches, TargetError, UsageError
from latency.recording import Function, Losses, Options, Overhead, ProcessCalls, Recording
from latency.target.process import Process
from latency.tracing.counted import wire
from latency.tracing.counted.opencalls import OpenCalls
from latency.tracing.counted.reading import Counted, Reading, Slices, began_at
from latency.tracing.counted.results import latencies
from latency.tracing.kernel.host import require_first_pid_namespace, resident_bytes
from latency.tracing.limit.watched import WatchedUntil
from latency.tracing.watch.limit import WatchLimit
from latency.tracing.watch.program import WatchProgram, compile_watch
from latency.tracing.watch.wire import EXECUTED


class WatchSession:
    """Measures a few functions of a target and costs the others nothing.

    Args:
        target: whose plan is a ``WatchPlan`` (``Target(pid, engine="watch")``).
        options: ``func`` and ``regex`` say which functions; ``children`` follows forks.
        lives: the target's functions, where somebody has just looked for them.

    Raises:
        NoFunctionMatches: no live function matches; the hint offers the nearest names.
        UsageError: more functions than the processor has registers for, or of a kind that cannot be watched.
        HostError: bcc, the kernel or the privileges do not allow it.
    """

    def __init__(self, target: Target, options: Options, *, lives: Sequence[LiveFunction] | None = None) -> None:
        assert isinstance(target.plan, WatchPlan)
        if not options.func:
            raise UsageError("the watch engine measures single functions", "name them with --func")
        if options.slower:
            raise UsageError("the watch engine does not tell slow calls one by one", "take another --engine")
        self.target = target
        self.options = options
        self.strangers: list[int] = []  # who is forked is followed at once, and who runs another program is not
        self._plan = target.plan
        jit.require_off(target.process, target.build)
        self._info = target.info()  # now: at the end the process may be gone
        self._slices = Slices()
        self._image = target.process.image_identity()
        self._first: Reading | None = None
        self._last: Reading | None = None
        self._trap_ns = 0.0
        self._unlike: list[int] = []  # children that are not followed
        self._processes: dict[int, Process | None] = {}  # to read from when the measurement ends
        self._closed = 0  # calls that were found to be abandoned when the measurement ended
        self._started_at = datetime.now(timezone.utc)
        if options.children:
            require_first_pid_namespace()
        # The compiler is another process: search the heap meanwhile.
        with ThreadPoolExecutor(1) as pool:
            compiling = pool.submit(compile_watch, target.offsets, self._plan, children=options.children)
            with target.stopwatch.step("find functions"):
                self.functions = self._find_functions(lives)
            with target.stopwatch.step("wait for the compiler"):
                made = compiling.result()
        with target.stopwatch.step("load"):
            threads = len(target.process.threads())
            self.program = WatchProgram(made, self._plan, threads=threads, children=options.children)
        self.limit = WatchLimit(target, self.program, self.functions)
        self._last_watched: WatchedUntil | None = None
        self._memory_bytes = self._map_bytes = 0

    # -- running ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Place the watchpoints and begin. Raises AttachError, KernelTooOld, TargetGone."""
        target, program = self.target, self.program
        with target.stopwatch.step("calibrate"):
            self._trap_ns = program.trap_ns()
            program.config["trap_ns"] = round(self._trap_ns)
        with target.stopwatch.step("attach"):
            target.process.check()
            exit_type = target.build.address("PyExc_GeneratorExit")
            program.config["generator_exit_type"] = target.process.u64(exit_type)
            processes = [target.process, *(self._children() if self.options.children else [])]
            program.attach(processes, f"/proc/self/fd/{target.build.fd}", target.build.bias, self.functions)
            for points in self.functions:
                now = describe(target.process, target.build, target.offsets, points.live.address)
                if now is None or now.function.line != points.live.function.line:
                    raise AttachError(f"{points.live.function.qualname} was freed just now", "try again")
        self._started_at = datetime.now(timezone.utc)
        self._first = self._read(time.monotonic_ns())
        program.config["enabled"] = 1
        self.limit.begin(self.options.max_overhead_pct if self._may_be_sliced else None)

    def poll(self) -> str:
        """``""``, or why nothing can be measured any longer: ``"exited"`` or ``"exec"``."""
        why = self._ended()
        if not why and self._first is not None:
            self.limit.keep((self.program.counters()["hits"] - self._first.counters["hits"]) * self._trap_ns / 1e9)
        return "" if why and self.options.children and self._others_alive() else why

    def end_slice(self) -> None:
        """One more of the equal parts of the measurement is over."""
        self._slices.add(self.program)

    def interval(self) -> Recording:
        """What came since the last interval. The open calls are not told."""
        reading = self._read(time.monotonic_ns())
        earlier, self._last = self._last or self._first, reading
        watched = self.limit.slices.until(reading.at_ns)
        before, self._last_watched = self._last_watched, watched
        return self._recording(reading, earlier, {}, None, watched=watched.since(before) if before else watched)

    def stop(self) -> Recording:
        """End the measurement: disable, detach, read."""
        # Found while ends are still seen: what ends later is open at the end, and not an end that was missed.
        over = self._over()
        self.program.config["enabled"] = 0
        ended_ns = time.monotonic_ns()
        opens, unseen = self._open_calls(over)
        self._count_closed(opens, over)
        self.program.detach()
        self._memory_bytes, self._map_bytes = resident_bytes(), self.program.map_bytes
        return self._recording(
            self._read(ended_ns),
            self._first,
            opens,
            self._slices,
            unseen=unseen + self.limit.vanished,
            watched=self.limit.slices.until(ended_ns),
        )

    def close(self) -> None:
        """Take everything away."""
        self.program.close()

    def __enter__(self) -> WatchSession:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # -- inside ----------------------------------------------------------------------------------

    def _ended(self) -> str:
        if not self.target.process.alive():
            return "exited"
        return "exec" if self.target.process.image_identity() != self._image else ""

    def _others_alive(self) -> bool:
        """Whether a followed child still runs the target's program."""
        pids = [int(key[0]) for key, value in self.program.processes.items() if not value["ended"][0]]
        return any(pid != self.target.process.pid for pid in pids)

    def _children(self) -> list[Process]:
        """The children that the target has already and that are as it is: forked from it, with the same functions."""
        target, found = self.target.process, []
        for pid in target.children(recursive=True):
            try:
                process = Process(pid)
                alike = self._places(process) == self._places(target)
                if alike and self._functions_in(process) == self._functions_in(target):
                    found.append(process)
                else:
                    self._unlike.append(pid)
            except TargetError:
                continue  # it ended meanwhile
        return found

    def _functions_in(self, process: Process) -> list[Function | None]:
        """What is at the addresses of the functions."""
        build, offsets = self.target.build, self.target.offsets
        there = [describe(process, build, offsets, each.live.address) for each in self.functions]
        return [None if live is None else live.function for live in there]

    def _places(self, process: Process) -> list[int]:
        """Where the interpreter's file is mapped."""
        mine = self.target.build.device_inode
        return [mapping.start for mapping in process.maps() if mapping.device_inode == mine]

    def _find_functions(self, lives: Sequence[LiveFunction] | None) -> list[WatchPoints]:
        target = self.target
        matcher = Matcher.parse(self.options.func, regex=self.options.regex)
        if lives is None:
            lives = live_functions(target.process, target.build, target.offsets)
        wanted = [live for live in lives if matcher.matches(live)]
        if not wanted:
            raise _nothing_matches(matcher, lives)
        why = unwatchable(target.process, target.build, target.offsets, wanted)
        if why:
            raise UsageError(why, "take another --engine, or name other functions")
        found = [watch_points(target.process, target.offsets, live) for live in wanted]
        if any(each.needs_probe for each in found) and not any(self._plan.of(Role.RAISE)):
            raise UsageError("where this build unwinds a frame is not known", "take another --engine")
        return found

    def _read(self, at_ns: int) -> Reading:
        statistics = self.program.statistics
        functions: dict[Function, Counted] = {}
        for slot, points in enumerate(self.functions):
            counted = functions.setdefault(points.live.function, Counted())
            counted.add(statistics[slot].copy())
            counted.slots.append(slot)
        calls = (
            sum(each.returned for each in functions.values()),
            sum(each.raised for each in functions.values()),
        )
        return Reading(at_ns, functions, 0, {0: calls}, self.program.counters())

    def _over(self) -> set[tuple[int, int]]:
        """The calls in the tables whose end was not seen: (address of the frame, CLOCK_MONOTONIC of the start)."""
        target, found = self.target, set()
        for _, value in self.program.threads.items():
            calls = value[0]["calls"]
            process = self._readable(int(calls["space"]))
            for call in calls["open"][: min(int(calls["depth"]), wire.DEPTH)]:
                code, frame = self.functions[int(call["slot"])].live.address, int(call["frame"])
                if process and has_ended(process, target.offsets, self._plan, frame, code):
                    found.add((frame, int(call["start_ns"])))
        for key, value in self.program.frames.items():
            points, frame = self.functions[int(value[0]["slot"])], int(key[0]["frame"])
            process = self._readable(int(key[0]["process"])) if points.suspends else None
            if process and not is_alive(process, target.offsets, points, frame):
                found.add((frame, int(value[0]["start_ns"])))
        return found

    def _open_calls(self, over: set[tuple[int, int]]) -> tuple[dict[int, OpenCalls], int]:
        """(the open calls by slot, how many have ended unseen)."""
        unseen = 0
        opens: dict[int, OpenCalls] = {}
        for _, value in self.program.threads.items():
            calls = value[0]["calls"]
            for call in calls["open"][: min(int(calls["depth"]), wire.DEPTH)]:
                slot, start_ns = int(call["slot"]), int(call["start_ns"])
                if (int(call["frame"]), start_ns) in over:
                    unseen += 1
                else:
                    opens.setdefault(slot, OpenCalls()).add(start_ns)
        return opens, unseen

    def _count_closed(self, opens: dict[int, OpenCalls], over: set[tuple[int, int]]) -> None:
        """Adds the calls of what suspends to the open ones; those that were closed or freed unseen are abandoned."""
        for key, value in self.program.frames.items():
            slot, start_ns = int(value[0]["slot"]), int(value[0]["start_ns"])
            if not self.functions[slot].suspends:
                continue
            if (int(key[0]["frame"]), start_ns) in over:
                self.program.statistics["abandoned"][slot] += 1
                self._closed += 1
            else:
                opens.setdefault(slot, OpenCalls()).add(start_ns)

    def _readable(self, tgid: int) -> Process | None:
        """The process of a key (0: the target), while it runs what it ran when its calls began."""
        if tgid in (0, self.target.process.pid):
            return None if self._ended() else self.target.process
        if tgid not in self._processes:
            value = self.program.processes.lookup(np.array([tgid], np.uint64))
            self._processes[tgid] = None
            if value is not None and not value["ended"][0]:
                with suppress(TargetError):
                    self._processes[tgid] = Process(tgid)
        return self._processes[tgid]

    def _process_calls(self) -> tuple[ProcessCalls, ...]:
        found = []
        for key, value in self.program.processes.items():
            each = value[0]
            found.append(
                ProcessCalls(int(key[0]), int(each["returned"]), int(each["raised"]), ended=bool(each["ended"]))
            )
        return tuple(sorted(found, key=lambda each: each.pid))

    def _not_followed(self) -> list[str]:
        lines = [f"process {pid}, which is a child, but not forked from the target as it is" for pid in self._unlike]
        values = [value[0] for _, value in self.program.processes.items()]
        if others := sum(int(value["ended"]) == EXECUTED for value in values):
            lines.append(f"what {others:,} children did after they replaced themselves by another program (exec)")
        return lines

    def _recording(
        self,
        reading: Reading,
        earlier: Reading | None,
        opens: dict[int, OpenCalls],
        slices: Slices | None,
        *,
        unseen: int = 0,
        watched: WatchedUntil,
    ) -> Recording:
        since = earlier.counters if earlier else {}
        counters = {name: count - since.get(name, 0) for name, count in reading.counters.items()}
        counters.pop("slow_lost")
        losses = {name: counters.pop(name) for name in wire.LOSSES}
        losses["unmatched_entry"] += unseen
        counters["abandoned"] += self._closed
        duration_s = (reading.at_ns - (earlier.at_ns if earlier else reading.at_ns)) / 1e9
        return Recording(
            target=replace(self._info, choice=self.target.choice),
            duration_s=duration_s,
            functions=latencies(
                reading,
                opens=opens,
                slices=slices,
                earlier=earlier,
                cut=watched.ages if self.limit.sliced else None,
            ),
            options=self.options,
            losses=Losses.from_dict({**losses, "unnamed": 0}),
            blind_spots=(
                *self._plan.blind_spots,
                *self._of_suspending(),
                *self._not_followed(),
                self._resolution(),
                *self._unlimited(),
                *self._gone(),
            ),
            overhead=self._overhead(counters["hits"], duration_s),
            began_before=counters.pop("began_before"),
            events=counters,
            started_at=began_at(self._started_at, self._first, earlier),
            watched=watched.share(duration_s) if self.limit.sliced else None,
            processes=self._process_calls() if self.options.children else (),
        )

    @property
    def _may_be_sliced(self) -> bool:
        """Whether the watchpoints can be away for a time: a suspended call would go on unseen, and so would a fork."""
        return not self.options.children and not any(each.suspends for each in self.functions)

    def _unlimited(self) -> list[str]:
        if self.options.max_overhead_pct is None or self._may_be_sliced:
            return []
        return ["--max-overhead is not kept: this engine takes no slices of generators and coroutines, or of children"]

    def _of_suspending(self) -> list[str]:
        names = ", ".join(sorted({each.live.function.qualname for each in self.functions if each.suspends}))
        return [f"of {names}: how often they are suspended, and the time that they run"] if names else []

    def _gone(self) -> list[str]:
        return [f"{self.limit.gone} was freed between two slices: nothing after that"] if self.limit.gone else []

    def _resolution(self) -> str:
        return (
            f"a watchpoint hit takes {self._trap_ns / 1000:.1f} µs here and is taken off: "
            f"calls below {1.4 * self._trap_ns / 1000:.1f} µs are not resolved"
        )

    def _overhead(self, hits: int, duration_s: float) -> Overhead | None:
        if not hits or duration_s <= 0:
            return None
        return Overhead(
            hits=hits,
            ns_per_hit=self._trap_ns,
            share_of_cpu=hits * self._trap_ns / 1e9 / duration_s,
            memory_bytes=self._memory_bytes,
            map_bytes=self._map_bytes,
        )


def _nothing_matches(matcher: Matcher, lives: Sequence[LiveFunction]) -> NoFunctionMatches:
    pattern = matcher.unmatched(list(lives))[0]
    near = nearest(pattern, list(lives))
    hint = f"nearest: {', '.join(near)}" if near else "pylat functions -p PID lists what there is"
    return NoFunctionMatches(f"no function matches {pattern!r}", hint)
