"""Which functions are watched when.

All of them, all the time, where the processor has registers enough. Else in turns: groups that fit, for a short slice
each. And none for a part of the time, where a limit is to be kept, as the probes are away of ``probes/slicing.py``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from latency.cpython.interpreter import Target
from latency.cpython.watch_points import WatchPoints, groups_of, is_there
from latency.recording import Function
from latency.target.process import Process
from latency.tracing.kernel import clock
from latency.tracing.limit.rounds import Rounds
from latency.tracing.limit.throttle import Keeper
from latency.tracing.limit.watched import SlicesWatched
from latency.tracing.watch.program import WatchProgram
from latency.tracing.watch.unended import Unended


class Turns:
    """Places the watchpoints of one measurement, moves them on, and takes them away for a time.

    Args:
        points: what is watched, by slot.
        slices: what was watched, and which calls were cut.

    Attributes:
        groups: the slots of each.
        vanished: calls whose end was missed, among those that were open when a slice ended.
        closed: those that were found to be abandoned then.
        freed: a bit for each slot whose code object is gone.
    """

    def __init__(
        self,
        target: Target,
        program: WatchProgram,
        points: Sequence[WatchPoints],
        unended: Unended,
        slices: SlicesWatched,
    ) -> None:
        self.vanished = self.closed = self.freed = 0
        self.groups = groups_of(points)
        self._target, self._program, self._points, self._unended = target, program, points, unended
        self._slices = slices
        self._rounds = Rounds(list(range(len(self.groups))))
        self._keeper: Keeper | None = None
        self._in_place = False

    @property
    def now(self) -> list[int]:
        """The slots whose turn it is, but those whose code objects are gone."""
        return self._still(self._rounds.now)

    @property
    def whole(self) -> set[Function]:
        """The functions of these, all of whose code objects are watched."""
        return {function for function, share in self._shares().items() if share == 1}

    def points_of(self, slot: int) -> WatchPoints:
        """Where a function is watched."""
        return self._points[slot]

    def place(self, children: Sequence[Process] = ()) -> None:
        """Place the watchpoints of those whose turn it is; nothing is counted yet.

        Args:
            children: that are there already and are to be measured, too.

        Raises:
            AttachError, KernelTooOld
        """
        target = self._target
        processes, path = [target.process, *children], f"/proc/self/fd/{target.build.fd}"
        # The first group has the most watchpoints.
        self._program.attach(processes, path, target.build.bias, self._points, self.now, self.groups[0])
        self._in_place = True

    def begin(self, limit_pct: float | None) -> Keeper | None:
        """The measurement has begun. ``limit_pct``: of one CPU; None for none. Returns what keeps it."""
        now_s = time.monotonic()
        self._rounds.begin(now_s)
        if limit_pct is not None:
            self._keeper = Keeper(limit_pct / 100, self.pause, self.resume)
            self._keeper.begin(now_s)
        return self._keeper

    def keep(self, cost_s: float) -> bool:
        """Call it often, with what the hits have cost since the beginning. Raises AttachError, TargetGone.

        Returns:
            Whether it ``hurries``.
        """
        now_s = time.monotonic()
        hurries = bool(self._keeper and self._any_left and self._keeper.keep(now_s, cost_s))
        if self._in_place and self._rounds.is_over(now_s):
            self.advance()
        return hurries

    def advance(self) -> None:
        """End a slice; the next one is of the next group. Raises AttachError, TargetGone."""
        target, program = self._target, self._program

        def move() -> None:
            program.move(target.process, self._points, self.now)

        self._rounds.advance()
        self._end(move)
        program.watch(target.process, self._points, self.now)
        self._go_on()

    def pause(self) -> None:
        """End a slice: the calls that are open are cut."""
        self._end(self._program.detach)
        self._in_place = False

    def resume(self) -> None:
        """Begin the next slice, of the next group. Raises AttachError, TargetGone."""
        self._target.process.check()
        self._rounds.advance()
        self.place()
        self._go_on()

    def tell(self) -> None:
        """Say whom the next slice is of, where they are not all."""
        if len(self.groups) > 1:
            self._slices.of(self._shares())

    # -- inside ----------------------------------------------------------------------------------

    @property
    def _any_left(self) -> bool:
        return any(map(self._still, self._rounds.members))

    def _still(self, group: int) -> list[int]:
        return [slot for slot in self.groups[group] if not self.freed >> slot & 1]

    def _shares(self) -> Mapping[Function, float]:
        """Of the functions whose turn it is, the share of their code objects that are watched now."""
        of = [points.live.function for points in self._points]
        objects, now = Counter(of), Counter(of[slot] for slot in self.now)
        return {function: number / objects[function] for function, number in now.items()}

    def _end(self, take_away: Callable[[], None]) -> None:
        program = self._program
        # Found while ends are still seen.
        over = self._unended.over_for_certain()
        # The time is taken before: what is in the tables afterwards was running then, or had not begun.
        ended_ns = clock.now_ns()
        program.maps.config["enabled"] = 0
        take_away()
        self.freed |= program.freed(self._target.process.pid)
        opens, unseen = self._unended.open_calls(over)
        self.vanished += unseen
        self.closed += self._unended.count_closed(over)
        program.forget_calls()
        cut = [(self._points[slot].live.function, each.starts_ns) for slot, each in opens.items()]
        self._slices.end(ended_ns, cut)

    def _go_on(self) -> None:
        """Begin to count, unless the code objects are gone meanwhile."""
        target = self._target
        for slot in self.now:
            if not is_there(target.process, target.build, target.offsets, self._points[slot]):
                target.process.check()
                self.freed |= 1 << slot
        self._rounds.keep(group for group in self._rounds.members if self._still(group))
        self._program.forget(self.freed)
        self.tell()
        self._program.maps.config["enabled"] = 1
        self._slices.begin(clock.now_ns())
        self._rounds.begin(time.monotonic())
