"""Calls that have begun and not ended: from the tables of open and of suspended calls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from latency.cpython.offsets import Offsets
from latency.errors import TargetError
from latency.tracing.counted import wire
from latency.tracing.counted.maps import CallMaps
from latency.tracing.counted.spaces import Spaces


class OpenCall(NamedTuple):
    """One call. ``start_ns``: CLOCK_MONOTONIC."""

    space: int
    frame: int
    start_ns: int
    slot: int


@dataclass
class OpenCalls:
    """The open calls of one slot: since when each (CLOCK_MONOTONIC, nanoseconds)."""

    starts_ns: list[int] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many."""
        return len(self.starts_ns)

    def oldest_ns(self, at_ns: int) -> int:
        """For how long the oldest has been running then. One that began a moment after ``at_ns`` is new."""
        return max(0, at_ns - min(self.starts_ns, default=at_ns))

    def add(self, start_ns: int) -> None:
        """One more."""
        self.starts_ns.append(start_ns)


def open_calls(maps: CallMaps) -> set[OpenCall]:
    """All of them, suspended ones included."""
    suspended = {(int(key["space"][0]), int(key["frame"][0])): value[0] for key, value in maps.suspended.items()}
    found = set()
    for _, value in maps.threads.items():
        thread = value[0]
        space = int(thread["space"])
        for call in thread["open"][: min(int(thread["depth"]), wire.DEPTH)]:
            frame = int(call["frame"])
            began = suspended.get((space, frame), call) if call["flags"] & wire.RESUMED else call
            found.add(OpenCall(space, frame, int(began["start_ns"]), int(call["slot"])))
    for (space, frame), kept in suspended.items():
        if not kept["running"] or kept["resumed_ns"]:  # suspended, or running without a place in a table
            found.add(OpenCall(space, frame, int(kept["start_ns"]), int(kept["slot"])))
    return found


def cut_with_threads(maps: CallMaps) -> None:
    """Count those as cut that had no place in the table of a thread that has ended; the program does it with others.

    While the programs run, a thread has a table as long as it has such a call.
    """
    keys, values = maps.suspended.everything()
    tids, _ = maps.threads.everything()
    gone = (values["resumed_ns"] != 0) & ~np.isin(values["tid"], tids)
    maps.suspended.delete_many(keys[gone])
    np.add.at(maps.statistics["cut"], values["slot"][gone], 1)


def stale_calls(maps: CallMaps, spaces: Spaces, offsets: Offsets) -> set[OpenCall]:
    """Open calls whose end was missed: still in the table after their frame was seen to be another's.

    While the programs run, a call leaves the table when it ends; so the table is read before and after the frames.
    """
    calls = open_calls(maps)
    owners = maps.statistics["code"]
    gone = {call for call, code in _codes(calls, spaces, offsets) if code != int(owners[call.slot])}
    return gone & open_calls(maps) if gone else gone


def by_slot(calls: Iterable[OpenCall]) -> dict[int, OpenCalls]:
    """The calls of each slot."""
    found: dict[int, OpenCalls] = {}
    for call in calls:
        found.setdefault(call.slot, OpenCalls()).add(call.start_ns)
    return found


def _codes(calls: Iterable[OpenCall], spaces: Spaces, offsets: Offsets) -> list[tuple[OpenCall, int]]:
    """The code object of each frame now; nothing of processes that are gone or run another program."""
    found = []
    for number in {call.space for call in calls}:
        space = spaces.get(number)
        process = space.readable if space else None
        if process is None:
            continue
        these = [call for call in calls if call.space == number]
        try:
            words = process.read_many([call.frame + offsets["frame.code"] for call in these], np.dtype("<u8").itemsize)
        except TargetError:
            continue
        mask = offsets.stackref_mask
        found += [(call, int.from_bytes(word or b"", "little") & mask) for call, word in zip(these, words, strict=True)]
    return found
