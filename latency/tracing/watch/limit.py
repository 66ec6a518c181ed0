"""The watch engine within a limit: the watchpoints are away for part of the time, as the probes are of ``Slicing``."""

from __future__ import annotations

import time
from collections.abc import Sequence

from latency.cpython.functions import describe
from latency.cpython.interpreter import Target
from latency.cpython.watch_points import WatchPlan, WatchPoints, has_ended
from latency.tracing.kernel import clock
from latency.tracing.limit.throttle import Keeper
from latency.tracing.limit.watched import SlicesWatched
from latency.tracing.watch.program import WatchProgram


class WatchLimit:
    """Takes the watchpoints of one measurement away and places them again.

    Args:
        slices: what was watched, and which calls were cut.

    Attributes:
        vanished: calls whose end was missed, among those that were open when a slice ended.
        gone: a function that was freed while nobody watched; the measurement has ended then.
    """

    def __init__(
        self, target: Target, program: WatchProgram, functions: Sequence[WatchPoints], slices: SlicesWatched
    ) -> None:
        self.vanished = 0
        self.gone = ""
        self._slices = slices
        self._target, self._program, self._functions = target, program, functions
        self._keeper: Keeper | None = None

    def begin(self, limit_pct: float | None) -> None:
        """The measurement has begun. ``limit_pct``: of one CPU; None for none."""
        if limit_pct is not None:
            self._keeper = Keeper(limit_pct / 100, self.pause, self.resume)
            self._keeper.begin(time.monotonic())

    def keep(self, cost_s: float) -> None:
        """Call it often, with what the hits have cost since the beginning. Raises AttachError, TargetGone."""
        if self._keeper and not self.gone:
            self._keeper.keep(time.monotonic(), cost_s)

    def pause(self) -> None:
        """End a slice: the calls that are open are cut."""
        program = self._program
        stale = self._stale()
        # The time is taken first: what is in the table afterwards was running then, or had not begun.
        ended_ns = clock.now_ns()
        program.maps.config["enabled"] = 0
        program.detach()
        cut: dict[int, list[int]] = {}
        for frame, slot, start_ns in program.open_frames():
            if frame not in stale:
                cut.setdefault(slot, []).append(start_ns)
        self.vanished += len(stale)
        program.forget_calls()
        named = [(self._functions[slot].live.function, starts_ns) for slot, starts_ns in cut.items()]
        self._slices.end(ended_ns, named)

    def resume(self) -> None:
        """Begin the next slice."""
        target, program = self._target, self._program
        target.process.check()
        program.attach([target.process], f"/proc/self/fd/{target.build.fd}", target.build.bias, self._functions)
        for points in self._functions:
            now = describe(target.process, target.build, target.offsets, points.live.address)
            if now is None or now.function != points.live.function:
                program.detach()
                self.gone = points.live.function.qualname
                return
        program.maps.config["enabled"] = 1
        self._slices.begin(clock.now_ns())

    def _stale(self) -> set[int]:
        """Frames of calls whose end was missed: still in the table after they were seen to run no longer."""
        target, plan = self._target, self._target.plan
        assert isinstance(plan, WatchPlan)
        gone = {
            frame
            for frame, slot, _ in self._program.open_frames()
            if has_ended(target.process, target.offsets, plan, frame, self._functions[slot].live.address)
        }
        return gone & {frame for frame, _, _ in self._program.open_frames()} if gone else gone
