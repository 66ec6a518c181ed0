"""What the program tells of a code object that is met while it runs: its names, its module, who holds it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from latency.cpython.functions import from_capture, of_owner
from latency.cpython.offsets import Offsets
from latency.cpython.strings import CUT, decode
from latency.recording import Function
from latency.tracing.counted import wire

_Key = tuple[int, int]  # space and address


class Announced:
    """Keeps what is told before a code object is met, until then."""

    def __init__(self, offsets: Offsets) -> None:
        self._offsets = offsets
        self._modules: dict[_Key, str] = {}
        self._holders: dict[_Key, tuple[str, str]] = {}  # the qualname and the module that its function says

    def take(self, kind: int, event: np.ndarray[Any, Any]) -> None:
        """In which module the code object runs that is met next, or which function holds it."""
        key = int(event["space"]), int(event["code"])
        if kind == wire.EVENT_MODULE:
            self._modules[key] = self._whole(event, "name")
        elif qualname := self._whole(event, "qualname"):
            self._holders[key] = qualname, self._whole(event, "module")

    def captured(self, event: np.ndarray[Any, Any]) -> Function | None:
        """What a code object says of itself that is met; None where that could not be captured."""
        return from_capture(
            event["qualname"][: event["qualname_bytes"]].tobytes(),
            event["filename"][: event["filename_bytes"]].tobytes(),
            int(event["line"]),
            int(event["co_flags"]),
            self._offsets,
        )

    def completed(self, function: Function, key: _Key) -> tuple[Function, str]:
        """The function that is met, as the one names it that holds its code, and its module, as far as it was told."""
        module, holder = self._modules.pop(key, ""), self._holders.pop(key, None)
        owned = of_owner(function, *holder) if holder else None
        return owned or function, module or (owned.module if owned else "")

    def forget(self, key: _Key) -> None:
        """Nothing that was told of it is of use."""
        self._modules.pop(key, None)
        self._holders.pop(key, None)

    def forget_spaces(self, numbers: Collection[int]) -> None:
        """The same of whole processes."""
        for key in [key for key in (*self._modules, *self._holders) if key[0] in numbers]:
            self.forget(key)

    def _whole(self, event: np.ndarray[Any, Any], name: str) -> str:
        """A captured text; ``""`` for one that was not captured whole, which is not known."""
        text = decode(event[name][: event[f"{name}_bytes"]].tobytes(), self._offsets) or ""
        return "" if text.endswith(CUT) else text
