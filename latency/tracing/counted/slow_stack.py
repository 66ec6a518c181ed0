"""The Python frames above a slow call, from what the program has told of them and of their code objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from latency.cpython.lines import line_of
from latency.cpython.offsets import Offsets
from latency.recording import Function, StackFrame

UNKNOWN = Function("", "", 0)
_UNIT_BYTES = 2
_CO_VARARGS, _CO_VARKEYWORDS = 0x4, 0x8  # Include/cpython/code.h


@dataclass(frozen=True)
class ToldCode:
    """A code object as it was when it stood on a stack; see ``struct pylat_slow_code``.

    Attributes:
        digest: of all that was told.
    """

    function: Function
    first_line: int
    first_traceable: int
    lines: bytes
    lines_whole: bool
    digest: int


def stack(
    event: np.ndarray[Any, Any], codes: Mapping[tuple[int, int], ToldCode], offsets: Offsets
) -> Iterable[StackFrame]:
    """The Python frames above a slow call, the innermost first; what CPython itself leaves out is left out."""
    generator = offsets.constants.get("FRAME_OWNED_BY_GENERATOR")
    shims = [offsets.constants[name] for name in _SHIMS if name in offsets.constants]
    for frame in event["stack"][: event["depth"]]:
        address, instruction, owner = int(frame["code"]), int(frame["instruction"]), int(frame["owner"])
        if owner in shims:
            continue
        code = codes.get((int(event["space"]), address))
        if code is None:
            yield StackFrame(UNKNOWN)
            continue
        if "code.code_adaptive" in offsets and owner != generator:
            # _PyFrame_IsIncomplete, 3.11 and later: its function has not begun
            begin = address + offsets["code.code_adaptive"] + _UNIT_BYTES * code.first_traceable
            if instruction < begin:
                continue
        line = line_of(
            code.lines,
            offsets,
            code=address,
            first_line=code.first_line,
            instruction=instruction,
            whole=code.lines_whole,
        )
        yield StackFrame(code.function, line or 0)


# Include/internal/pycore_frame.h: frames of the interpreter itself, 3.12 and later
_SHIMS = ("FRAME_OWNED_BY_CSTACK", "FRAME_OWNED_BY_INTERPRETER")


def takes_none(event: np.ndarray[Any, Any], offsets: Offsets) -> bool:
    """Whether the function of a slow call has no arguments at all."""
    head = event["code_head"].tobytes()

    def member(name: str) -> int:
        return int.from_bytes(head[offsets[name] : offsets[name] + offsets.size(name)], "little")

    varied = member("code.flags") & (_CO_VARARGS | _CO_VARKEYWORDS)
    return not (member("code.argcount") or member("code.kwonlyargcount") or varied)
