"""Slots of the statistics that serve no more, and what is known of processes that have ended: given back as it goes on.

All of it is for those who come to be called. While nobody calls nothing is looked through.
"""

from __future__ import annotations

from collections.abc import Callable

from latency.tracing.counted import opencalls
from latency.tracing.counted.maps import CallMaps
from latency.tracing.counted.retired import Given
from latency.tracing.counted.table import FunctionTable
from latency.tracing.probes.following import Following

_WAITING = 16
"""So many processes end before their tables are cleared, which takes a look at all that is known."""


class Tidying:
    """Of one measurement."""

    def __init__(self, maps: CallMaps, table: FunctionTable, following: Following) -> None:
        self._maps, self._table, self._following = maps, table, following
        self._hits = -1

    def step(self, *, watching: bool, take_events: Callable[[], None]) -> list[Given]:
        """Several times a second, after a look at who has ended.

        Args:
            watching: the probes are in place.
            take_events: of all that the program has told.

        Returns:
            What was given back.
        """
        maps, table, following = self._maps, self._table, self._following
        before, self._hits = self._hits, maps.counters()["hits"]
        busy = before != self._hits or table.ripens or not watching
        given: list[Given] = []
        if busy:
            given += table.give_back(maps, lambda: {call.slot for call in opencalls.open_calls(maps)})
        over = following.over
        if len(over) >= (1 if busy else _WAITING):
            take_events()  # whom they have forked before they ended is known then
            few = 2 * len(maps.used_slots()) < maps.slots
            finished = following.finished(over, _WAITING if few else 1)
            given += table.give_back_spaces(maps, finished)
            following.forget(finished)
        return given
