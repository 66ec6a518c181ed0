"""The watch engine's measurement of one process: what ``Session`` is to the other engines, with the same face.

attach:  calibrate; watch exits, then entries; look once more at the code objects; enable
end:     disable; detach; read
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from types import TracebackType

from latency.cpython import jit
from latency.cpython.functions import LiveFunction, describe, live_functions
from latency.cpython.interpreter import Target
from latency.cpython.patterns import Matcher, nearest
from latency.cpython.watch_points import WatchPlan, WatchPoints, has_ended, registers_needed, watch_points
from latency.errors import AttachError, NoFunctionMatches, UsageError
from latency.recording import Function, Losses, Options, Overhead, Recording
from latency.tracing import wire
from latency.tracing.opencalls import OpenCalls
from latency.tracing.reading import Counted, Reading, Slices
from latency.tracing.results import latencies
from latency.tracing.watch_events import REGISTERS
from latency.tracing.watch_program import WatchProgram, compile_watch


class WatchSession:
    """Measures a few functions of a target and costs the others nothing.

    Args:
        target: whose plan is a ``WatchPlan`` (``Target(pid, engine="watch")``).
        options: ``func`` and ``regex`` say which functions; ``children`` is not possible.

    Raises:
        NoFunctionMatches: no live function matches; the hint offers the nearest names.
        UsageError: more functions than the processor has registers for, or of a kind that cannot be watched.
        HostError: bcc, the kernel or the privileges do not allow it.
    """

    def __init__(self, target: Target, options: Options) -> None:
        assert isinstance(target.plan, WatchPlan)
        if not options.func:
            raise UsageError("the watch engine measures single functions", "name them with --func")
        if options.children:
            raise UsageError("the watch engine follows no children", "take another --engine")
        if options.slower:
            raise UsageError("the watch engine does not tell slow calls one by one", "take another --engine")
        self.target = target
        self.options = options
        self.strangers: list[int] = []  # nobody is followed
        self._plan = target.plan
        self._info = target.info()  # now: at the end the process may be gone
        self._slices = Slices()
        self._image = target.process.image_identity()
        self._first: Reading | None = None
        self._last: Reading | None = None
        self._trap_ns = 0.0
        self._started_at = datetime.now(timezone.utc)
        _require_no_jit(target)
        # The compiler is another process: search the heap meanwhile.
        with ThreadPoolExecutor(1) as pool:
            compiling = pool.submit(compile_watch, target.offsets, self._plan)
            with target.stopwatch.step("find functions"):
                self.functions = self._find_functions()
            with target.stopwatch.step("wait for the compiler"):
                made = compiling.result()
        with target.stopwatch.step("load"):
            self.program = WatchProgram(made, self._plan, threads=len(target.process.threads()))

    # -- running ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Place the watchpoints and begin. Raises AttachError, KernelTooOld, TargetGone."""
        target, program = self.target, self.program
        with target.stopwatch.step("calibrate"):
            self._trap_ns = program.trap_ns()
            program.config["trap_ns"] = round(self._trap_ns)
        with target.stopwatch.step("attach"):
            target.process.check()
            program.attach(target.process, f"/proc/self/fd/{target.build.fd}", target.build.bias, self.functions)
            for points in self.functions:
                now = describe(target.process, target.build, target.offsets, points.live.address)
                if now is None or now.function.line != points.live.function.line:
                    raise AttachError(f"{points.live.function.qualname} was freed just now", "try again")
        self._started_at = datetime.now(timezone.utc)
        self._first = self._read(time.monotonic_ns())
        program.config["enabled"] = 1

    def poll(self) -> str:
        """``""``, or why the target cannot be measured any longer: ``"exited"`` or ``"exec"``."""
        if not self.target.process.alive():
            return "exited"
        return "exec" if self.target.process.image_identity() != self._image else ""

    def end_slice(self) -> None:
        """One more of the equal parts of the measurement is over."""
        self._slices.add(self.program)

    def interval(self) -> Recording:
        """What came since the last interval. The open calls are not told."""
        reading = self._read(time.monotonic_ns())
        earlier, self._last = self._last or self._first, reading
        return self._recording(reading, earlier, {}, None)

    def stop(self) -> Recording:
        """End the measurement: disable, detach, read."""
        self.program.config["enabled"] = 0
        ended_ns = time.monotonic_ns()
        opens, unseen = self._open_calls()
        self.program.detach()
        return self._recording(self._read(ended_ns), self._first, opens, self._slices, unseen=unseen)

    def close(self) -> None:
        """Take everything away."""
        self.program.close()

    def __enter__(self) -> WatchSession:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # -- inside ----------------------------------------------------------------------------------

    def _find_functions(self) -> list[WatchPoints]:
        target = self.target
        matcher = Matcher.parse(self.options.func, regex=self.options.regex)
        lives = live_functions(target.process, target.build, target.offsets)
        wanted = [live for live in lives if matcher.matches(live)]
        if not wanted:
            raise _nothing_matches(matcher, lives)
        found = [watch_points(target.process, target.offsets, live) for live in wanted]
        needed = registers_needed(found)
        if needed > REGISTERS:
            names = sorted({each.live.function.qualname for each in found})
            listed = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
            raise UsageError(
                f"{len(found):,} functions match ({listed}), and the processor's {REGISTERS} watchpoints hold 2",
                "name fewer, or take another --engine",
            )
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

    def _open_calls(self) -> tuple[dict[int, OpenCalls], int]:
        """(the open calls by slot, how many have ended unseen)."""
        target, unseen = self.target, 0
        there = not self.poll()
        opens: dict[int, OpenCalls] = {}
        for _, value in self.program.threads.items():
            calls = value[0]["calls"]
            for call in calls["open"][: min(int(calls["depth"]), wire.DEPTH)]:
                slot, frame = int(call["slot"]), int(call["frame"])
                code = self.functions[slot].live.address
                if there and has_ended(target.process, target.offsets, self._plan, frame, code):
                    unseen += 1
                else:
                    opens.setdefault(slot, OpenCalls()).add(int(call["start_ns"]))
        return opens, unseen

    def _recording(
        self,
        reading: Reading,
        earlier: Reading | None,
        opens: dict[int, OpenCalls],
        slices: Slices | None,
        *,
        unseen: int = 0,
    ) -> Recording:
        since = earlier.counters if earlier else {}
        counters = {name: count - since.get(name, 0) for name, count in reading.counters.items()}
        counters.pop("slow_lost")
        losses = {name: counters.pop(name) for name in wire.LOSSES}
        losses["unmatched_entry"] += unseen
        duration_s = (reading.at_ns - (earlier.at_ns if earlier else reading.at_ns)) / 1e9
        return Recording(
            target=self._info,
            duration_s=duration_s,
            functions=latencies(reading, opens=opens, slices=slices, earlier=earlier),
            options=self.options,
            losses=Losses.from_dict({**losses, "unnamed": 0}),
            blind_spots=(*self._plan.blind_spots, self._resolution()),
            overhead=self._overhead(counters["hits"], duration_s),
            began_before=counters.pop("began_before"),
            events=counters,
            started_at=self._started_at,
        )

    def _resolution(self) -> str:
        return (
            f"a watchpoint hit takes {self._trap_ns / 1000:.1f} µs here and is taken off: "
            f"calls below {1.4 * self._trap_ns / 1000:.1f} µs are not resolved"
        )

    def _overhead(self, hits: int, duration_s: float) -> Overhead | None:
        if not hits or duration_s <= 0:
            return None
        return Overhead(hits=hits, ns_per_hit=self._trap_ns, share_of_cpu=hits * self._trap_ns / 1e9 / duration_s)


def _require_no_jit(target: Target) -> None:
    if jit.blind_spots(target.process, target.build):
        raise UsageError(
            "the target's JIT is on: what it compiles does not fetch the units that the watch engine watches",
            "start it with PYTHON_JIT=0, or take another --engine",
        )


def _nothing_matches(matcher: Matcher, lives: Sequence[LiveFunction]) -> NoFunctionMatches:
    pattern = matcher.unmatched(list(lives))[0]
    near = nearest(pattern, list(lives))
    hint = f"nearest: {', '.join(near)}" if near else "pylat functions -p PID lists what there is"
    return NoFunctionMatches(f"no function matches {pattern!r}", hint)
