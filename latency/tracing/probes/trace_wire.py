"""The events of ``bpf/trace.h``: their layout, and the compiler flags that the header needs."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from latency.cpython.offsets import Offsets
from latency.cpython.sites import Place
from latency.cpython.sites.returns import ReturnPlace
from latency.tracing.counted.capture import SNAPSHOT, capture_flags
from latency.tracing.counted.parameters import place_flags

EVENT_TRACE = 17
NAME_BYTES = 48
STARTED, RESUMED, RETURNED, RAISED, YIELDED, ABANDONED = 1, 2, 3, 4, 5, 6
VALUE_NONE, VALUE_ARGUMENTS, VALUE_OBJECT, VALUE_RAW, VALUE_UNKNOWN = 0, 1, 2, 3, 4

EVENT = np.dtype(
    [
        *((name, "<u4") for name in ("kind", "tgid", "tid", "what")),
        *((name, "<u8") for name in ("time_ns", "latency_ns", "active_ns", "frame", "code", "space", "lost", "value")),
        *((name, "<u4") for name in ("slot", "depth", "value_kind", "timed", "own_tgid", "own_tid")),
        ("exception", "u1", (NAME_BYTES,)),
        ("snapshot", SNAPSHOT),
    ]
)
_HEAD = struct.Struct(f"<4I8Q6I{NAME_BYTES}s2I")
STREAM_AT = _HEAD.size

PROGRAM = "pylat_trace_more"
"""The BPF function that takes along what is too much for one program: reached by tail calls alone."""
THREADS_TABLE, LOST_TABLE, NEXT_TABLE = "trace_threads", "trace_lost", "trace_more"


class RawEvent(NamedTuple):
    """One event as it came; see ``struct pylat_trace_event``."""

    kind: int
    tgid: int
    tid: int
    what: int
    time_ns: int
    latency_ns: int
    active_ns: int
    frame: int
    code: int
    space: int
    lost: int
    value: int
    slot: int
    depth: int
    value_kind: int
    timed: int
    own_tgid: int
    own_tid: int
    exception: bytes
    snapshot_bytes: int
    snapshot_blocks: int


def decode(record: bytes) -> tuple[RawEvent, bytes]:
    """(the event, the stream of its snapshot). Raises struct.error on less."""
    event = RawEvent._make(_HEAD.unpack_from(record))
    return event, record[STREAM_AT : STREAM_AT + event.snapshot_bytes]


def trace_flags(offsets: Offsets, *, arguments: bool, returns: ReturnPlace | None) -> dict[str, int]:
    """The compiler flags of ``bpf/trace.h``, beside those of ``parameters.cflags``.

    Args:
        arguments: take along the arguments of each call.
        returns: where returned values are, to take them along; None not to.

    Raises:
        UnsupportedBuild: the offsets lack a member.
    """
    cells_apart = "code.localspluskinds" not in offsets
    opcodes = dict(returns.opcodes) if returns else {}
    return {
        "TRACE": 1,
        "TRACE_ARGUMENTS": int(arguments),
        "VALUE_IN": (1 if returns.place else 2) if returns else 0,
        **place_flags("VALUE", (returns and returns.place) or Place("rax")),
        "FRAME_LOCALSPLUS": offsets["frame.localsplus"],
        "FRAME_STACKPOINTER": _or_absent(offsets.get("frame.stackpointer")),
        "FRAME_STACKTOP_INDEX": _or_absent(offsets.get("frame.stacktop")),
        "CODE_ARGCOUNT": offsets["code.argcount"],
        "CODE_KWONLYARGCOUNT": offsets["code.kwonlyargcount"],
        "CODE_NLOCALS": _or_absent(offsets.get("code.nlocals")),
        "CODE_CELLVARS": offsets["code.cellvars"] if cells_apart else -1,
        "CODE_CONSTS": offsets["code.consts"],
        "VAR_SIZE": offsets["var.size"],
        "TUPLE_ITEMS": offsets["tuple.items"],
        **{
            name: opcodes.get(name, -1)
            for name in (
                *("RETURN_CONST", "INSTRUMENTED_RETURN_CONST"),
                *("RETURN_VALUE", "INSTRUMENTED_RETURN_VALUE", "EXTENDED_ARG"),
            )
        },
        **capture_flags(offsets),
    }


def _or_absent(offset: int | None) -> int:
    return -1 if offset is None else offset
