"""What crosses the border between BPF and Python: ``bpf/pylat.h`` once more, as numpy dtypes.

``bpf/pylat.h`` is the truth. A test compiles it and compares every offset and size with these; ``program.py`` compares
the sizes again with what bcc made of it.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from latency.histogram import BUCKETS
from latency.resources import directory

DEPTH = 1024
NAME_BYTES = 224
BARE_NAME_BYTES = 32
STACK_FRAMES, LINES_BYTES, TYPE_NAME_BYTES, COMM_BYTES, CODE_HEAD_BYTES = 64, 4096, 64, 16, 136
WANTED, SUSPENDS, RESUMED, FREED, UNDECIDED, STRUCK_OUT = 1, 2, 4, 8, 16, 32
NO_SLOT = 0xFFFF
OF_PYLAT = 1 << 30
ACTIVE, DEAD = 1, 2
EVENT_CODE, EVENT_FORK, EVENT_EXEC = 1, 2, 3
EVENT_MODULE, EVENT_OWNER = 16, 18
RUNNING, WAITING, RUNNABLE, GC, SUSPENDED_PART = range(5)
PARTS, SPLIT_BUCKETS = 5, 145
SLOW_CODE, SLOW_CALL = 1, 2
TAKEN_AT_END, TAKEN_AT_ENTRY = 1, 2
SNAPSHOT_HEAD_BYTES = 8  # of struct pylat_snapshot (bpf/capture.h), before its stream
HIT_ENTRY, HIT_EXIT, HIT_RAISE, HIT_YIELD, HIT_DEALLOC, HIT_OTHER = range(6)
HIT_KINDS = 6
ACCOUNTS, SAMPLES, KNOWN_BITS, KNOWN = 65_536, 256, 12, 4096
GAP_SETS, PROGRAM_SETS, OWN_SETS, CLOCK_SET, SAMPLE_SETS = 0, 36, 48, 54, 55
STACK_WHOLE, STACK_CUT, STACK_BROKEN = 1, 2, 3

FUNCTION_KEY = np.dtype([("code", "<u8"), ("space", "<u8")])
FUNCTION = np.dtype([("slot", "<u2"), ("active_slot", "<u2"), ("flags", "<u4")])
STATISTICS = np.dtype(
    [
        ("code", "<u8"),
        ("space", "<u8"),
        ("flags", "<u4"),
        ("padding", "<u4"),
        *(
            (name, "<u8")
            for name in (
                *("returned", "raised", "abandoned", "suspensions", "cut", "sum_ns", "min_ns", "max_ns"),
                *("taken_ns", "unsure_ns", "slower_ns", "slow", "unjudged"),
            )
        ),
        ("counts", "<u8", (BUCKETS,)),
    ]
)
HEAD = np.dtype(STATISTICS.descr[:-1])
"""The same without the counters at its end."""
EXTREMES_KEY = np.dtype([("tid", "<u4"), ("slot", "<u4")])
EXTREMES = np.dtype([("min_ns", "<u8"), ("max_ns", "<u8")])
OPEN = np.dtype(
    [
        *((name, "<u8") for name in ("frame", "start_ns")),
        *((name, "<u2") for name in ("slot", "active_slot")),
        ("flags", "<u4"),
        ("taken_ns", "<u8"),
    ]
)
THREAD = np.dtype(
    [
        *((name, "<u4") for name in ("depth", "too_deep", "disordered", "last_beyond")),
        *((name, "<u8") for name in ("space", "unlearnt")),
        ("open", OPEN, (DEPTH,)),
    ]
)
FRAME_KEY = np.dtype([("frame", "<u8"), ("space", "<u8")])
SUSPENDED = np.dtype(
    [
        *((f"{name}_ns", "<u8") for name in ("start", "active", "resumed", "taken", "beside", "unsure", "account")),
        ("slept", "<u8"),
        ("slot", "<u2"),
        ("active_slot", "<u2"),
        *((name, "<u4") for name in ("suspensions", "running", "tid")),
    ]
)
SHARE = np.dtype([(name, "<u8") for name in ("waiting_ns", "runnable_ns", "gc_ns", "callees_ns")])
CLOCK = np.dtype(
    [
        *((f"{name}_ns", "<u8") for name in ("waiting", "runnable", "gc", "off_since", "ready_since", "gc_since")),
        ("switches", "<u4"),
        ("in_gc", "<u4"),
    ]
)
SPLIT = np.dtype([("calls", "<u8"), ("parts_ns", "<u8", (PARTS * SPLIT_BUCKETS,))])
CONFIG = np.dtype(
    [
        *((name, "<u8") for name in ("code_type", "generator_exit_type", "slower_ns", "floor_ns")),
        *((name, "<u4") for name in ("enabled", "sliced")),
        ("price_ns", "<u4", (HIT_KINDS, 2)),
        ("own_ns", "<u4", (HIT_KINDS,)),
        *((name, "<u4") for name in ("clock_ns", "replaced")),
        *((name, "<u8") for name in ("namespace_device", "namespace_inode")),
        *((name, "<u4") for name in ("tgid", "padding")),
    ]
)
ACCOUNT = np.dtype(
    [
        *((name, "<u8") for name in ("taken_ns", "ended_ns", "telling_ns", "innermost", "began_ns")),
        *(("left", "<u2"), ("turn", "<u2"), ("reads", "<u2"), ("before", "u1"), ("gap", "u1")),
    ]
)
TIMES = np.dtype([("count", "<u8"), ("ns", "<u4", (SAMPLES,))])
NAME = np.dtype([("text", "u1", (BARE_NAME_BYTES,))])
PROCESS = np.dtype([("space", "<u8"), ("parent", "<u8"), ("told", "<u8")])
PROCESS_EVENT = np.dtype([("kind", "<u4"), ("tgid", "<u4"), ("space", "<u8"), ("parent", "<u8")])
CODE_EVENT = np.dtype(
    [
        ("kind", "<u4"),
        ("tgid", "<u4"),
        ("space", "<u8"),
        ("code", "<u8"),
        ("slot", "<u2"),
        ("active_slot", "<u2"),
        ("qualname_bytes", "<u2"),
        ("filename_bytes", "<u2"),
        ("line", "<u4"),
        ("co_flags", "<u4"),
        ("qualname", "u1", (NAME_BYTES,)),
        ("filename", "u1", (NAME_BYTES,)),
    ]
)
MODULE_EVENT = np.dtype(
    [("kind", "<u4"), ("name_bytes", "<u4"), ("space", "<u8"), ("code", "<u8"), ("name", "u1", (NAME_BYTES,))]
)
OWNER_EVENT = np.dtype(
    [
        ("kind", "<u4"),
        *((name, "<u2") for name in ("qualname_bytes", "module_bytes")),
        *((name, "<u8") for name in ("space", "code")),
        *((name, "u1", (NAME_BYTES,)) for name in ("qualname", "module")),
    ]
)
SLOW_CODE_EVENT = np.dtype(
    [
        *((name, "<u4") for name in ("kind", "co_flags")),
        *((name, "<u8") for name in ("code", "space")),
        *((name, "<u4") for name in ("line", "first_traceable")),
        *((name, "<u2") for name in ("qualname_bytes", "filename_bytes", "lines_bytes", "lines_whole")),
        ("qualname", "u1", (NAME_BYTES,)),
        ("filename", "u1", (NAME_BYTES,)),
        ("lines", "u1", (LINES_BYTES,)),
    ]
)
STACK_FRAME = np.dtype([("code", "<u8"), ("instruction", "<u8"), ("owner", "<u8")])
SLOW_CALL_EVENT = np.dtype(
    [
        *((name, "<u4") for name in ("kind", "tgid", "tid")),
        ("slot", "<u2"),
        ("raised", "u1"),
        ("stack_end", "u1"),
        *((name, "<u8") for name in ("space", "frame", "code")),
        *((name, "<u8") for name in ("start_ns", "end_ns", "latency_ns", "active_ns", "threshold_ns")),
        *((name, "<u4") for name in ("suspensions", "depth", "own_tgid", "own_tid", "taken_at", "padding")),
        ("comm", "u1", (COMM_BYTES,)),
        ("exception", "u1", (TYPE_NAME_BYTES,)),
        ("code_head", "u1", (CODE_HEAD_BYTES,)),
        ("stack", STACK_FRAME, (STACK_FRAMES,)),
    ]
)
COUNTERS = np.dtype(
    [
        (name, "<u8")
        for name in (
            *("hits", "taken_ns", "entries", "matched", "abandoned", "duplicates", "began_before", "slow_lost"),
            *("unmatched_return", "unmatched_entry", "too_deep", "table_full", "read_fault", "negative"),
            *("bad_frame", "event_lost", "thread_ended"),
        )
    ]
)
LOSSES = COUNTERS.names[COUNTERS.names.index("unmatched_return") :] if COUNTERS.names else ()

STRUCTS: dict[str, np.dtype[Any]] = {
    "pylat_function_key": FUNCTION_KEY,
    "pylat_function": FUNCTION,
    "pylat_statistics": STATISTICS,
    "pylat_open": OPEN,
    "pylat_extremes_key": EXTREMES_KEY,
    "pylat_extremes": EXTREMES,
    "pylat_thread": THREAD,
    "pylat_frame_key": FRAME_KEY,
    "pylat_suspended": SUSPENDED,
    "pylat_account": ACCOUNT,
    "pylat_samples": TIMES,
    "pylat_config": CONFIG,
    "pylat_name": NAME,
    "pylat_counters": COUNTERS,
    "pylat_process": PROCESS,
    "pylat_process_event": PROCESS_EVENT,
    "pylat_code_event": CODE_EVENT,
    "pylat_module_event": MODULE_EVENT,
    "pylat_owner_event": OWNER_EVENT,
    "pylat_slow_code": SLOW_CODE_EVENT,
    "pylat_stack_frame": STACK_FRAME,
    "pylat_slow_call": SLOW_CALL_EVENT,
    "pylat_share": SHARE,
    "pylat_clock": CLOCK,
    "pylat_split": SPLIT,
}

# The same with PYLAT_SPLIT: what a program that splits times keeps of each open and each suspended call.
SPLIT_OPEN = np.dtype([*OPEN.descr, ("share", SHARE)])
SPLIT_THREAD = np.dtype([*THREAD.descr[:-1], ("clock", CLOCK), ("open", SPLIT_OPEN, (DEPTH,))])
SPLIT_SUSPENDED = np.dtype([*SUSPENDED.descr, ("share", SHARE)])
SPLIT_STRUCTS: dict[str, np.dtype[Any]] = {
    **STRUCTS,
    "pylat_open": SPLIT_OPEN,
    "pylat_thread": SPLIT_THREAD,
    "pylat_suspended": SPLIT_SUSPENDED,
}


def header_constants() -> dict[str, int]:
    """The plain integer ``#define``s of ``bpf/pylat.h``."""
    text = (directory("bpf") / "pylat.h").read_text("utf-8")
    return {name: int(value, 0) for name, value in re.findall(r"^#define (PYLAT_\w+) (\w+)", text, re.MULTILINE)}
