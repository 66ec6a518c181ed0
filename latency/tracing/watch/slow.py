"""Slow calls, one by one, of a measurement by watchpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from latency.cpython.functions import LiveFunction
from latency.cpython.watch_points import WatchPoints
from latency.recording import Function
from latency.target.process import Process
from latency.tracing.counted import wire
from latency.tracing.counted.maps import CountingMaps
from latency.tracing.counted.slow import SlowLog
from latency.tracing.watch.unended import Unended

SNAPSHOT_BYTES = 8192
"""Of what is taken along of the arguments of one call: half as much as by probes, since every call takes some."""

_ROUND_BLOCKS = 8  # what one run of a program takes along; of several programs the verifier looks at each


class WatchSlow(SlowLog):
    """The slow calls of one session. The names of code objects are told with each call.

    Attributes:
        lives: the code objects that were alive when pylat looked.
    """

    lives: Mapping[int, LiveFunction] = {}

    def flags(self) -> Mapping[str, int]:
        """And those of ``bpf/watch_slow.h``."""
        offsets = self._offsets
        current = offsets.get("cframe.current_frame")
        return {
            **super().flags(),
            "SNAPSHOT_BYTES": SNAPSHOT_BYTES,
            "ROUND_BLOCKS": _ROUND_BLOCKS,
            "TSTATE_FRAME": offsets["tstate.frame"],
            "CFRAME_FRAME": -1 if current is None else current,
        }

    def found(self, lives: Iterable[LiveFunction]) -> None:
        """The code objects that are alive."""
        self.lives = {live.address: live for live in lives}

    def watch(self, maps: CountingMaps, points: Sequence[WatchPoints], unended: Unended) -> None:
        """Tell the program which calls of these functions are slow."""
        self.open(maps, _Watched(self.lives, points, unended))

    def take(self) -> None:
        """What the program has told since."""
        self.before_events()
        self.after_events()

    def poll(self) -> None:
        """Several times a second, while the target runs."""
        self.take()
        super().poll()

    def end(self) -> None:
        """The measurement has ended, and nothing is attached any more."""
        self.take()
        super().end()

    def restart(self, since_ns: int) -> None:
        """Of the calls that were told only those count that ended later than this (CLOCK_MONOTONIC)."""
        self.before_events()
        self._waiting = [
            (event, stream)
            for event, stream in self._waiting
            if event["kind"] == wire.SLOW_CODE or int(event["end_ns"]) > since_ns
        ]
        self.forget()


class _Watched:
    """Whose calls they are: as ``counted.slow.Whose`` says."""

    def __init__(self, lives: Mapping[int, LiveFunction], points: Sequence[WatchPoints], unended: Unended) -> None:
        self._lives, self._points, self._unended = lives, points, unended

    def owner(self, slot: int, row: object) -> tuple[Function | None, bool]:
        """What is watched in that slot."""
        return (self._points[slot].live.function, True) if slot < len(self._points) else (None, False)

    def known_code(self, space: int, code: int) -> LiveFunction | None:
        """Of the target, as forks have it, too; who asks compares it with what was told."""
        return self._lives.get(code)

    def readable(self, space: int) -> Process | None:
        """The space is the process's number, or 0 for the target."""
        return self._unended.readable(space)
