"""What was read of the statistics before: functions in whose slots nothing has changed are not read again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import numpy as np

from latency.recording import Function

_Counted = TypeVar("_Counted")


class Kept(Generic[_Counted]):
    """Of one measurement, by function.

    A slot is told by the beginning of its record (``wire.HEAD``), and that changes after the counters behind it
    (``bpf/statistics.h``): a latency goes into its bucket before it goes into the sum, and is never nothing. So who
    copies the beginnings first, and reads the counters then, finds another beginning the next time if a counter was
    read too early. Not so where more is told of a call than that record holds: its parts, its self time, and the
    shortest and longest call of each thread.
    """

    def __init__(self) -> None:
        self._slots = np.zeros(0, np.int64)
        self._heads: np.ndarray[Any, Any] = np.zeros(0, np.uint64)
        self._places: Mapping[Function, list[int]] = {}
        self._functions: Mapping[Function, _Counted] = {}
        self._retired = -1

    def unchanged(
        self,
        slots: np.ndarray[Any, Any],
        heads: np.ndarray[Any, Any],
        places: Mapping[Function, list[int]],
        retired: int,
    ) -> dict[Function, _Counted]:
        """What is as it was.

        Args:
            slots: those in use, ascending.
            heads: records of ``wire.HEAD`` of these, which were copied just now.
            places: of each function, where its slots are in there.
            retired: ``Retired.version``.
        """
        if retired != self._retired or not np.array_equal(slots, self._slots):
            return {}
        same = (_words(heads) == self._heads).all(axis=1).tolist()
        return {
            function: self._functions[function]
            for function, these in places.items()
            if self._places.get(function) == these and all(map(same.__getitem__, these))
        }

    def keep(
        self,
        slots: np.ndarray[Any, Any],
        heads: np.ndarray[Any, Any],
        places: Mapping[Function, list[int]],
        retired: int,
        functions: Mapping[Function, _Counted],
    ) -> None:
        """For the next time; the arguments are those of ``unchanged``, and what was read."""
        self._slots, self._heads, self._places = slots, _words(heads), places
        self._retired, self._functions = retired, functions


def _words(heads: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A copy, shape (slots, words)."""
    found: np.ndarray[Any, Any] = heads.view(np.uint64).reshape(len(heads), heads.itemsize // 8).copy()
    return found
