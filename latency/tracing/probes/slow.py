"""Slow calls, one by one, of a measurement by probes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from latency.cpython.functions import LiveFunction
from latency.recording import Function
from latency.target.process import Process
from latency.tracing.counted import wire
from latency.tracing.counted.parameters import Capacity
from latency.tracing.counted.slow import TOLD_CODES, SlowLog
from latency.tracing.probes.part import Host, Part

_SLOW_THREADS = 1024


class Slow(SlowLog, Part):
    """The part of a session that tells them. A code object is told once, until the program sees that it is freed."""

    called: Mapping[str, str] = {"pylat_slow": "slow_programs"}

    def capacity(self, capacity: Capacity) -> Capacity:
        """With room for what is told of slow calls."""
        return replace(capacity, slow_bytes=self.ring_bytes, told_codes=TOLD_CODES, slow_threads=_SLOW_THREADS)

    def loaded(self, session: Host) -> None:
        """Tell the program which calls are slow."""
        self._told = session.maps.map("told_codes", wire.FUNCTION_KEY, np.dtype("u1"))
        self.open(session.maps, _Followed(session))

    def forgotten(self, space: int, code: int) -> None:
        """Let the program tell it again."""
        key = np.zeros(1, wire.FUNCTION_KEY)
        key["code"], key["space"] = code, space
        self._told.delete(key)


class _Followed:
    """Whose calls they are, as the session's tables know."""

    def __init__(self, session: Host) -> None:
        self._table, self._spaces = session.table, session.spaces

    def owner(self, slot: int, row: np.void) -> tuple[Function | None, bool]:
        """As ``FunctionTable`` says."""
        return self._table.owner(slot, row)

    def known_code(self, space: int, code: int) -> LiveFunction | None:
        """As ``Spaces`` says."""
        return self._spaces.known_code(space, code)

    def readable(self, space: int) -> Process | None:
        """As ``Space`` says."""
        found = self._spaces.get(space)
        return found.readable if found else None
