"""``bpf/watch.h`` once more, as numpy dtypes; see ``wire.py``."""

from __future__ import annotations

from typing import Any

import numpy as np

from latency.cpython.watch_points import WatchPoints
from latency.tracing.counted.wire import OPEN, SHARE, SPLIT_OPEN, SPLIT_THREAD, THREAD

WATCHED_FUNCTIONS = 4  # PYLAT_WATCHED
SLOTS = 64  # PYLAT_WATCH_SLOTS
MOST_RETURNS = 3  # PYLAT_WATCH_RETURNS
MOST_PARTS = 1024  # PYLAT_WATCH_PARTS
NO_PART = 1 << 62  # PYLAT_WATCH_NO_PART
MOST_AGAIN = 8  # PYLAT_WATCH_AGAIN
MOST_LEAVES = 64  # PYLAT_WATCH_LEAVES

WATCHED = np.dtype(
    [
        *((name, "<u8") for name in ("code", "count", "entry", "units")),
        ("returns", "<u8", (MOST_RETURNS,)),
        ("raises", "<u8"),
        ("exception", "<u4"),
        ("suspends", "<u4"),
        ("slot", "<u4"),
        ("place", "<u4"),
    ]
)
WATCH_PROCESS = np.dtype(
    [
        ("returned", "<u8"),
        ("raised", "<u8"),
        ("last_count", "<u4", (WATCHED_FUNCTIONS,)),
        ("made", "<u4", (WATCHED_FUNCTIONS,)),
        ("freed", "<u8"),
        ("ended", "<u4"),
        ("padding", "<u4"),
    ]
)
ENDED, EXECUTED = 1, 2  # of "ended"
WATCH_KEY = np.dtype([("frame", "<u8"), ("process", "<u8")])
WATCH_CALL = np.dtype(
    [
        *((name, "<u8") for name in ("caller", "caller_lasti", "traps", "start_ns")),
        *((name, "<u8") for name in ("raised_ns", "raised_traps", "outer", "told_ns")),
        ("slot", "<u2"),
        ("place", "<u2"),
        ("tid", "<u4"),
    ]
)
WATCH_HOME = np.dtype([("at", "<i8"), ("from_base", "<u8")])
_OF_THREAD = [(name, "<u8") for name in ("traps", "ended", "beyond", "told_ns")]
_OF_JIT = [
    *((name, "<u4", (WATCHED_FUNCTIONS,)) for name in ("numbered", "loose")),
    *((name, "<u4") for name in ("numbered_last", "loose_last")),
    *((name, "<u8") for name in ("loose_at", "loose_ns", "loose_traps")),
]
WATCH_THREAD = np.dtype([("calls", THREAD), *_OF_THREAD, ("at_hand", OPEN), *_OF_JIT])
SPLIT_WATCH_THREAD = np.dtype(  # with PYLAT_SPLIT
    [("calls", SPLIT_THREAD), *_OF_THREAD, ("at_hand", SPLIT_OPEN), *_OF_JIT, ("share", SHARE)]
)
WATCH_CONFIG = np.dtype(
    [
        *((name, "<u8", (MOST_LEAVES,)) for name in ("leave_begins", "leave_ends")),
        *((name, "<u8") for name in ("generator_exit_type", "trap_ns", "code_type", "slower_ns", "floor_ns")),
        *((name, "<u8") for name in ("text_begins", "text_ends")),
        *((name, "<u8", (MOST_PARTS,)) for name in ("begins", "ends")),
        ("again", "<u8", (MOST_AGAIN,)),
        ("enabled", "<u4"),
        ("padding", "<u4"),
    ]
)

STRUCTS: dict[str, np.dtype[Any]] = {
    "pylat_watched": WATCHED,
    "pylat_watch_process": WATCH_PROCESS,
    "pylat_watch_key": WATCH_KEY,
    "pylat_watch_call": WATCH_CALL,
    "pylat_watch_home": WATCH_HOME,
    "pylat_watch_thread": WATCH_THREAD,
    "pylat_watch_config": WATCH_CONFIG,
}


def record_of(points: WatchPoints, slot: int, place: int) -> tuple[object, ...]:
    """As ``WATCHED``: a function that is watched now, at this place among them."""
    returns = [*points.returns, *[0] * MOST_RETURNS][:MOST_RETURNS]
    return (
        points.live.address,
        points.count,
        points.entry,
        points.units,
        returns,
        points.raises,
        points.exception,
        int(points.suspends),
        slot,
        place,
    )
