"""``_Py_DebugOffsets``: the offsets that CPython 3.13 and later carry at the start of ``_PyRuntime`` for debuggers.

The struct (``Include/internal/pycore_runtime.h`` in 3.13, ``pycore_debug_offsets.h`` from 3.14) is a cookie, the
``PY_VERSION_HEX``, and one 64-bit number per member. Which number stands where differs by minor version: the layout
comes from that version's table.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from latency.errors import UnsupportedBuild

COOKIE = b"xdebugpy"
READ_BYTES = 4096  # 3.15, the largest so far, has 888
MAX_OFFSET = 1 << 16
MAX_SIZE = 1 << 24  # PyInterpreterState, and what lies in it, is far larger than all others

# CPython's member -> pylat's meaning. Members that pylat has no use for are not here.
_SAME: Mapping[str, str] = {
    "runtime_state.interpreters_head": "runtime.interpreters_head",
    "interpreter_state.id": "interp.id",
    "interpreter_state.next": "interp.next",
    "interpreter_state.threads_head": "interp.tstate_head",
    "interpreter_state.imports_modules": "interp.modules",
    "thread_state.prev": "tstate.prev",
    "thread_state.next": "tstate.next",
    "thread_state.interp": "tstate.interp",
    "thread_state.current_frame": "tstate.frame",
    "thread_state.base_frame": "tstate.base_frame",
    "thread_state.thread_id": "tstate.thread_id",
    "thread_state.native_thread_id": "tstate.native_thread_id",
    "thread_state.datastack_chunk": "tstate.datastack_chunk",
    "thread_state.current_exception": "tstate.curexc",
    "thread_state.exc_state": "tstate.exc_state",
    "interpreter_frame.size": "frame.sizeof",
    "interpreter_frame.previous": "frame.previous",
    "interpreter_frame.executable": "frame.code",
    "interpreter_frame.instr_ptr": "frame.instr_ptr",
    "interpreter_frame.localsplus": "frame.localsplus",
    "interpreter_frame.owner": "frame.owner",
    "interpreter_frame.stackpointer": "frame.stackpointer",
    "code_object.size": "code.sizeof",
    "code_object.filename": "code.filename",
    "code_object.name": "code.name",
    "code_object.qualname": "code.qualname",
    "code_object.linetable": "code.linetable",
    "code_object.firstlineno": "code.firstlineno",
    "code_object.argcount": "code.argcount",
    "code_object.localsplusnames": "code.localsplusnames",
    "code_object.localspluskinds": "code.localspluskinds",
    "code_object.co_code_adaptive": "code.code_adaptive",
    "pyobject.size": "object.sizeof",
    "pyobject.ob_type": "object.type",
    "type_object.size": "type.sizeof",
    "type_object.tp_name": "type.name",
    "type_object.tp_flags": "type.flags",
    "type_object.tp_basicsize": "type.basicsize",
    "type_object.tp_dictoffset": "type.dictoffset",
    "heap_type_object.size": "heaptype.sizeof",
    "heap_type_object.ht_cached_keys": "heaptype.cached_keys",
    "tuple_object.size": "tuple.sizeof",
    "tuple_object.ob_item": "tuple.items",
    "tuple_object.ob_size": "var.size",
    "list_object.size": "list.sizeof",
    "list_object.ob_item": "list.items",
    "list_object.ob_size": "list.size",
    "set_object.size": "set.sizeof",
    "set_object.used": "set.used",
    "set_object.table": "set.table",
    "set_object.mask": "set.mask",
    "dict_object.size": "dict.sizeof",
    "dict_object.ma_keys": "dict.keys",
    "dict_object.ma_values": "dict.values",
    "float_object.size": "float.sizeof",
    "float_object.ob_fval": "float.value",
    "long_object.size": "long.sizeof",
    "long_object.lv_tag": "long.tag",
    "long_object.ob_digit": "long.digits",
    "bytes_object.size": "bytes.sizeof",
    "bytes_object.ob_sval": "bytes.data",
    "unicode_object.size": "unicode.sizeof",
    "unicode_object.state": "unicode.state",
    "unicode_object.length": "unicode.length",
    "unicode_object.asciiobject_size": "unicode.ascii_data",
    "unicode_object.compactunicodeobject_size": "unicode.compact_data",
    "gen_object.size": "gen.sizeof",
    "gen_object.gi_name": "gen.name",
    "gen_object.gi_iframe": "gen.iframe",
    "gen_object.gi_frame_state": "gen.frame_state",
}
# The same of free-threaded builds alone; others have 0 there (3.14 and later).
_SAME_FREE_THREADED: Mapping[str, str] = {
    "interpreter_frame.tlbc_index": "frame.tlbc_index",
    "code_object.co_tlbc": "code.tlbc",
}


@dataclass(frozen=True)
class DebugOffsets:
    """What a target says of its own structs.

    Attributes:
        version: ``(3, 13, 5)``.
        free_threaded: whether it was built without a GIL.
        values: offset or size in bytes by meaning (:mod:`latency.cpython.meanings`).
    """

    version: tuple[int, int, int]
    free_threaded: bool
    values: Mapping[str, int]


def parse(data: bytes, layout: Mapping[str, Sequence[int]]) -> DebugOffsets:
    """Reads the struct.

    Args:
        data: the bytes at ``_PyRuntime``, ``READ_BYTES`` of them or fewer.
        layout: the members of ``_Py_DebugOffsets`` in the expected version: ``{name: [offset, size]}``.

    Raises:
        UnsupportedBuild: no cookie, too short, or a value that cannot be.
    """
    if data[:8] != COOKIE:
        raise UnsupportedBuild("the target has no _Py_DebugOffsets at _PyRuntime")
    version_hex = _word(data, 8)
    free_threaded = "free_threaded" in layout and _word(data, layout["free_threaded"][0]) != 0
    values: dict[str, int] = {}
    for name, meaning in {**_SAME, **(_SAME_FREE_THREADED if free_threaded else {})}.items():
        place = layout.get(name)
        if place is None:
            continue
        value = _word(data, place[0])
        large = name.endswith(".size") or name.startswith("interpreter_state.")
        if value >= (MAX_SIZE if large else MAX_OFFSET):
            raise UnsupportedBuild(f"the target's _Py_DebugOffsets say {value} for {name}: that cannot be")
        values[meaning] = value
    version = (version_hex >> 24 & 0xFF, version_hex >> 16 & 0xFF, version_hex >> 8 & 0xFF)
    return DebugOffsets(version, free_threaded, MappingProxyType(values))


def _word(data: bytes, offset: int) -> int:
    if offset + 8 > len(data):
        raise UnsupportedBuild(f"the target's _Py_DebugOffsets end after {len(data)} bytes")
    value: int = struct.unpack_from("<Q", data, offset)[0]
    return value
