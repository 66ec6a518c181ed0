"""The shortest and the longest call of each slot, where several threads run Python at once.

Those of free-threaded builds (``bpf/calls.h``), or of several processes that share the slot (``bpf/watch_calls.h``).
What stands in the statistics can be overwritten by a thread that saw older ones, so each that goes beyond that keeps
its own, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from latency.tracing.counted import wire
from latency.tracing.kernel.calls import Map

_OF_SELF = 1 << 16


class Extremes:
    """What threads have kept of their own.

    Args:
        table: ``wire.EXTREMES_KEY`` to ``wire.EXTREMES``; None where the statistics are right as they are.
    """

    def __init__(self, table: Map | None = None) -> None:
        self._table = table
        self._keys, self._values = np.zeros(0, wire.EXTREMES_KEY), np.zeros(0, wire.EXTREMES)

    @property
    def are_kept(self) -> bool:
        """Whether there is such a table."""
        return self._table is not None

    def look(self) -> None:
        """What there is now is told from now on."""
        if self._table is not None:
            self._keys, self._values = self._table.everything()

    def into(self, rows: np.ndarray[Any, Any], slots: np.ndarray[Any, Any], *, of_self: bool = False) -> None:
        """Widen these records of ``wire.STATISTICS``.

        Args:
            rows: copies of the records of ``slots``.
            slots: ascending.
            of_self: they are of self times.
        """
        keys, values = self._keys, self._values
        if not len(keys) or not len(slots):
            return
        mine = keys["slot"].astype(np.int64) - (_OF_SELF if of_self else 0)
        at = np.minimum(np.searchsorted(slots, mine), len(slots) - 1)
        known = slots[at] == mine
        least, most = rows["min_ns"].copy(), rows["max_ns"].copy()
        least[least == 0] = np.iinfo(np.uint64).max
        np.minimum.at(least, at[known], np.maximum(values["min_ns"][known], 1))
        np.maximum.at(most, at[known], values["max_ns"][known])
        counted = most > 0
        rows["min_ns"][counted], rows["max_ns"][counted] = least[counted], most[counted]

    def clear(self, slot: int) -> None:
        """A slot starts again from nothing."""
        if self._table is not None:
            keys, _ = self._table.everything()
            self._table.delete_many(keys[np.isin(keys["slot"], (slot, slot | _OF_SELF))])
