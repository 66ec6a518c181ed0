"""``bpf/markers.h`` once more, as numpy dtypes; see ``wire.py``."""

from __future__ import annotations

from typing import Any

import numpy as np

DEPTH = 128  # PYLAT_MARKER_DEPTH
ITEMS = 16  # PYLAT_MARKER_ITEMS
NAME_BYTES = 192  # PYLAT_MARKER_NAME_BYTES
PRESENT, SIGNED, MEMORY = 1, 2, 4
NO_REGISTER = 255
KEYED, OWN, OUTCOME = 1, 2, 4

ARGUMENT = np.dtype(
    [
        ("value", "<i8"),
        *((name, "u1") for name in ("flags", "size", "shift", "base", "index", "scale")),
        ("padding", "u1", (2,)),
    ]
)
POINT = np.dtype(
    [
        *((name, ARGUMENT) for name in ("name", "number", "key", "amount")),
        *((name, "<u4") for name in ("item", "slot", "flags", "padding")),
    ]
)
NAME = np.dtype(
    [
        ("item", "<u4"),
        ("is_cut", "<u4"),
        ("number", "<i8"),
        ("address", "<u8"),
        ("text", "u1", (NAME_BYTES,)),
    ]
)
NAMED = np.dtype([("count", "<u8"), ("slot", "<u4"), ("own_slot", "<u4")])
CALL = np.dtype([("start_ns", "<u8"), ("inner_ns", "<u8"), ("slot", "<u4"), ("own_slot", "<u4")])
STACK_KEY = np.dtype([("tid", "<u4"), ("item", "<u4")])
STACK = np.dtype([*((name, "<u4") for name in ("depth", "too_deep", "before", "padding")), ("open", CALL, (DEPTH,))])
KEY = np.dtype([("key", "<u8"), ("item", "<u4"), ("padding", "<u4")])
ITEM = np.dtype([("before", "<u8"), ("dropped", "<u8")])
EXTREMES_KEY = np.dtype([("tid", "<u4"), ("slot", "<u4")])
EXTREMES = np.dtype([("min_ns", "<u8"), ("max_ns", "<u8")])
CONFIG = np.dtype(
    [
        *((name, "<u4") for name in ("enabled", "replaced")),
        *((name, "<u8") for name in ("namespace_device", "namespace_inode")),
        *((name, "<u4") for name in ("tgid", "padding")),
    ]
)

STRUCTS: dict[str, np.dtype[Any]] = {
    "pylat_argument": ARGUMENT,
    "pylat_marker_point": POINT,
    "pylat_marker_name": NAME,
    "pylat_marker_named": NAMED,
    "pylat_marker_call": CALL,
    "pylat_marker_stack_key": STACK_KEY,
    "pylat_marker_stack": STACK,
    "pylat_marker_key": KEY,
    "pylat_marker_item": ITEM,
    "pylat_marker_extremes_key": EXTREMES_KEY,
    "pylat_marker_extremes": EXTREMES,
    "pylat_marker_config": CONFIG,
}
