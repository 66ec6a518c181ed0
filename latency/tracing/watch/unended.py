"""The calls in the tables of the watch engine: which are open, and which have ended unseen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

import numpy as np

from latency.cpython.interpreter import Target
from latency.cpython.watch_points import WatchPlan, WatchPoints, are_alive, has_ended
from latency.errors import TargetError
from latency.recording import Function, Recording
from latency.target.process import Process
from latency.target.scheduling import threads_of, wait_until_gone_on
from latency.tracing.counted import wire
from latency.tracing.counted.agreement import Ends, OpenFrame, Seen
from latency.tracing.counted.opencalls import OpenCalls
from latency.tracing.watch.program import WatchProgram

Calls = set[tuple[int, int]]
"""(address of the frame, CLOCK_MONOTONIC of the start) of each."""


_Frame = tuple[int, int, int, int, int]
"""A call in the table of frames: process, frame, slot, thread (0 for none), CLOCK_MONOTONIC of the start."""


class Unended:
    """Looks into the tables, and at the frames in the target's memory.

    Args:
        points: what is watched, by slot.
        ended: why the target runs no longer what it ran; ``""`` where it does.
    """

    def __init__(
        self, target: Target, program: WatchProgram, points: Sequence[WatchPoints], ended: Callable[[], str]
    ) -> None:
        assert isinstance(target.plan, WatchPlan)
        self._target, self._plan, self._program, self._points = target, target.plan, program, points
        self._ended = ended
        self._children: dict[int, Process | None] = {}  # to read from

    def over_for_certain(self) -> Calls:
        """The same as ``over``, where no thread lies between the end of a frame and what tells of it."""
        found = self.over()
        if found:
            processes = [self._target.process, *(each for each in self._children.values() if each)]
            wait_until_gone_on((process, tid) for process in processes for tid in threads_of(process))
            found &= self.over()
        return found

    def over(self, frames: Sequence[_Frame] | None = None) -> Calls:
        """The calls in the tables whose frame has ended, and of whose end nothing was told.

        Args:
            frames: what ``_frames`` gave just now, where somebody has read it.
        """
        target, found = self._target, Calls()
        for _, value in self._program.threads.items():
            calls = value[0]["calls"]
            process = self.readable(int(calls["space"]))
            for call in calls["open"][: min(int(calls["depth"]), wire.DEPTH)]:
                code, frame = self._points[int(call["slot"])].live.address, int(call["frame"])
                if process and has_ended(process, target.offsets, self._plan, frame, code):
                    found.add((frame, int(call["start_ns"])))
        suspending: dict[int, list[tuple[WatchPoints, int, int]]] = {}
        for tgid, frame, slot, tid, start_ns in self._frames() if frames is None else frames:
            points = self._points[slot]
            if points.suspends:
                suspending.setdefault(tgid, []).append((points, frame, start_ns))
                continue
            process = self.readable(tgid) if tid else None  # else it is in its thread's table
            if process and has_ended(process, target.offsets, self._plan, frame, points.live.address):
                found.add((frame, start_ns))
        for tgid, known in suspending.items():
            if process := self.readable(tgid):
                alive = are_alive(process, target.offsets, [(points, frame) for points, frame, _ in known])
                found |= {each[1:] for each, lives in zip(known, alive, strict=True) if not lives}
        return found

    def open_calls(self, over: Calls) -> tuple[dict[int, OpenCalls], int]:
        """(the open calls by slot, how many have ended unseen, but for those that were closed or freed)."""
        unseen = 0
        opens: dict[int, OpenCalls] = {}
        calls: list[tuple[int, int, int]] = []
        tids = set()
        for key, value in self._program.threads.items():
            tids.add(int(key[0]))
            table = value[0]["calls"]
            in_it = table["open"][: min(int(table["depth"]), wire.DEPTH)]
            calls += [(int(call["frame"]), int(call["slot"]), int(call["start_ns"])) for call in in_it]
        # those that have no place in the table of a thread that is there still
        calls += [(frame, slot, start_ns) for _, frame, slot, tid, start_ns in self._frames() if tid in tids]
        for frame, slot, start_ns in calls:
            if (frame, start_ns) in over:
                unseen += 1
            else:
                opens.setdefault(slot, OpenCalls()).add(start_ns)
        for frame, slot, start_ns in self._suspending():
            if (frame, start_ns) not in over:
                opens.setdefault(slot, OpenCalls()).add(start_ns)
        return opens, unseen

    def closed(self, over: Calls) -> Counter[int]:
        """How many of what suspends were closed or freed unseen, by slot: they are abandoned."""
        return Counter(slot for frame, slot, start_ns in self._suspending() if (frame, start_ns) in over)

    def count_closed(self, over: Calls) -> int:
        """These are abandoned. Returns how many."""
        closed = self.closed(over)
        for slot, calls in closed.items():
            self._program.maps.statistics["abandoned"][slot] += calls
        return sum(closed.values())

    def seen(self, of: Collection[Function]) -> Seen:
        """What is to be compared with what the probes see of these functions."""
        # once: the kernel goes through the whole table, and a moment at which nothing happens is short
        frames = self._frames()
        statistics, over = self._program.maps.statistics, self.over(frames)
        ended = {
            (frame, start_ns): slot
            for _, frame, slot, _, start_ns in frames
            if self._points[slot].suspends and (frame, start_ns) in over
        }
        closed = Counter(ended.values())
        opens = {
            OpenFrame(frame, start_ns)
            for _, frame, slot, _, start_ns in frames
            if self._points[slot].live.function in of and (frame, start_ns) not in ended
        }
        ends: dict[Function, Ends] = {}
        for slot, points in enumerate(self._points):
            if points.live.function not in of:
                continue
            row, before = statistics[slot], ends.get(points.live.function, (0, 0, 0))
            now = int(row["returned"]), int(row["raised"]), int(row["abandoned"]) + closed[slot]
            ends[points.live.function] = (before[0] + now[0], before[1] + now[1], before[2] + now[2])
        return Seen(ends, frozenset(opens))

    def _frames(self) -> list[_Frame]:
        """The calls in the table of frames."""
        keys, calls = self._program.frames.everything()
        words = keys["process"], keys["frame"], calls["slot"], calls["tid"], calls["start_ns"]
        return list(zip(*(each.tolist() for each in words), strict=True))

    def _suspending(self) -> list[tuple[int, int, int]]:
        return [call for call in self._program.open_frames() if self._points[call[1]].suspends]

    def readable(self, tgid: int) -> Process | None:
        """The process of a key (0: the target), while it runs what it ran when its calls began."""
        target = self._target.process
        if tgid in (0, target.pid):
            return None if self._ended() else target
        if tgid not in self._children:
            value = self._program.processes.lookup(np.array([tgid], np.uint64))
            self._children[tgid] = None
            if value is not None and not value["ended"][0]:
                with suppress(TargetError):
                    self._children[tgid] = Process(tgid)
        return self._children[tgid]


def unaccounted(recording: Recording) -> int:
    """Calls that began, and neither ended nor are open nor are among the losses: whatever became of them."""
    events, losses = recording.events, recording.losses
    still = sum(each.open + each.cut for each in recording.functions)
    lost = losses.unmatched_entry + losses.too_deep + losses.table_full + losses.thread_ended + losses.negative
    return max(0, events["entries"] - events["matched"] - events["abandoned"] - still - lost)
