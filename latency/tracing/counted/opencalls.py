"""Calls that have begun and not ended: from the tables of open and of suspended calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from latency.cpython.offsets import Offsets
from latency.errors import TargetError
from latency.target.scheduling import wait_until_gone_on
from latency.tracing.counted import wire
from latency.tracing.counted.maps import CallMaps
from latency.tracing.counted.spaces import Spaces


class OpenCall(NamedTuple):
    """One call.

    Attributes:
        start_ns: CLOCK_MONOTONIC.
        tid, account_ns: where it runs, and that thread's account (``bpf/account.h``) behind its entry; 0 and 0 where it
            is suspended.
        taken_ns: by the probes, until it was suspended last.
    """

    space: int
    frame: int
    start_ns: int
    slot: int
    tid: int = 0
    account_ns: int = 0
    taken_ns: int = 0


@dataclass
class OpenCalls:
    """The open calls of one slot: since when each (CLOCK_MONOTONIC, nanoseconds), as if the probes took no time."""

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
    for tid, value in maps.threads.items():
        thread = value[0]
        space = int(thread["space"])
        for call in thread["open"][: min(int(thread["depth"]), wire.DEPTH)]:
            frame, slot, account_ns = int(call["frame"]), int(call["slot"]), int(call["taken_ns"])
            kept = suspended.get((space, frame)) if call["flags"] & wire.RESUMED else None
            start_ns, taken_ns = (
                (int(call["start_ns"]), 0) if kept is None else (int(kept["start_ns"]), _taken_ns(kept))
            )
            found.add(OpenCall(space, frame, start_ns, slot, int(tid[0]), account_ns, taken_ns))
    for (space, frame), kept in suspended.items():
        if not kept["running"] or kept["resumed_ns"]:  # suspended, or running without a place in a table
            runs = (int(kept["tid"]), int(kept["account_ns"])) if kept["resumed_ns"] else (0, 0)
            found.add(OpenCall(space, frame, int(kept["start_ns"]), int(kept["slot"]), *runs, _taken_ns(kept)))
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


def _taken_ns(kept: np.void) -> int:
    return int(kept["taken_ns"] + kept["beside_ns"])


def stale_calls(
    maps: CallMaps, spaces: Spaces, offsets: Offsets, *, sleep: Callable[[float], None] = time.sleep
) -> set[OpenCall]:
    """Open calls whose end was missed: still in the table after their frame was seen to be another's.

    While the programs run, a call leaves the table when it ends; so the table is read before and after the frames. A
    thread may wait for a processor between the end of a frame and the probe that tells of it: then it is waited for.
    """
    calls = open_calls(maps)
    owners = maps.statistics["code"]
    gone = {call for call, code in _codes(calls, spaces, offsets) if code != int(owners[call.slot])}
    if not gone:
        return gone
    of = {number: space.readable for number in {call.space for call in gone} if (space := spaces.get(number))}
    threads = {(process, call.tid) for call in gone if call.tid and (process := of.get(call.space))}
    wait_until_gone_on(threads, sleep=sleep)
    return gone & open_calls(maps)


def by_slot(calls: Iterable[OpenCall], maps: CallMaps) -> dict[int, OpenCalls]:
    """The calls of each slot, without what the probes have taken of them by now."""
    found: dict[int, OpenCalls] = {}
    accounts_ns: dict[int, int] = {}
    for call in calls:
        taken_ns = call.taken_ns
        if call.tid:
            if call.tid not in accounts_ns:
                accounts_ns[call.tid] = maps.account_ns(call.tid)
            taken_ns += max(0, accounts_ns[call.tid] - call.account_ns)
        found.setdefault(call.slot, OpenCalls()).add(call.start_ns + taken_ns)
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
