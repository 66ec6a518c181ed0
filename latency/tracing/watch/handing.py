"""Calls that are open when the watchpoints go on from another engine: they end as if these had seen them begin."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, NamedTuple

import numpy as np

from latency.tracing.counted.reading import Reading
from latency.tracing.kernel import clock
from latency.tracing.watch import wire
from latency.tracing.watch.session import WatchSession


class OpenedCall(NamedTuple):
    """A call that is open.

    Attributes:
        code: the address of its code object.
        start_ns: CLOCK_MONOTONIC, as if the other engine took no time.
        tid: its thread; 0 where it is suspended.
    """

    code: int
    start_ns: int
    tid: int


class Handing:
    """Of one session, which counts beside the other engine.

    Attributes:
        number: how many calls were handed over.
    """

    def __init__(self, watching: WatchSession) -> None:
        self.number = 0
        self._watching, self._program = watching, watching.program
        self._slots = {live.address: slot for slot, live in enumerate(watching.functions)}
        self._first: Reading | None = None

    def reading(self) -> Reading:
        """What the watchpoints have counted."""
        return self._watching.reading(clock.now_ns())

    def frames(self) -> set[int]:
        """Those of the calls that are open, as far as the watchpoints know."""
        return {frame for frame, _, _ in self._program.open_frames()}

    def is_same(self, reading: Reading, mine: Set[int], opens: Mapping[int, OpenedCall]) -> bool:
        """Whether both had the same calls open at a moment at which nothing happened; else that is set right.

        Args:
            reading: of the watchpoints.
            mine: their ``frames`` then.
            opens: of the other engine, by frame.
        """
        for frame in mine - opens.keys():  # closed or freed while suspended, or ended while it was handed over
            self._program.drop(_key(frame))
        for frame in opens.keys() - mine:
            self._add(frame, opens[frame])
        self._first, self.number = reading, len(opens)
        return mine == opens.keys()

    def go_on(self) -> None:
        """What came since that moment counts."""
        assert self._first is not None
        self._watching.go_on_from(self._first, self.number)

    def _add(self, frame: int, call: OpenedCall) -> None:
        slot = self._slots.get(call.code)
        if slot is None:
            return  # nobody watches it
        watching, program = self._watching, self._program
        points = watching.turns.points_of(slot)
        more = np.zeros(1, wire.WATCH_CALL)
        more["slot"], more["place"], more["start_ns"] = slot, watching.turns.now.index(slot), call.start_ns
        if not points.suspends:
            # As a call without a place in its thread's table, which is the program's to write, once it is there.
            thread = np.array([call.tid], program.threads.key)
            program.threads.add(thread, np.zeros(1, wire.WATCH_THREAD))
            value = program.threads.lookup(thread)
            more["tid"] = call.tid
            if value is not None:
                more["traps"], more["told_ns"] = value["traps"], value["told_ns"]
            more["caller"], more["caller_lasti"] = self._caller(frame)
        program.frames.add(_key(frame), more)

    def _caller(self, frame: int) -> tuple[int, int]:
        """To 3.10: the frame that has called this one, and where it stands; else (0, 0)."""
        target = self._watching.target
        offsets, process = target.offsets, target.process
        if "frame.lasti" not in offsets:
            return 0, 0
        caller = int.from_bytes(process.read_some(frame + offsets["frame.previous"], 8), "little")
        stands = process.read_some(caller + offsets["frame.lasti"], 4) if caller else b""
        return caller, int.from_bytes(stands, "little")


def _key(frame: int) -> np.ndarray[Any, Any]:
    """Of one process alone."""
    return np.array([(frame, 0)], wire.WATCH_KEY)
