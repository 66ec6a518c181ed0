"""A limit to what the probes cost (``--max-overhead``): they are away for part of the time."""

from __future__ import annotations

import time
from collections.abc import Mapping

from latency.errors import AttachError
from latency.tracing.counted import opencalls
from latency.tracing.kernel import clock
from latency.tracing.limit.throttle import Keeper
from latency.tracing.probes.part import Host, Part


class Slicing(Part):
    """Takes the probes of one session away and places them again.

    Args:
        limit_pct: of one CPU.
    """

    def __init__(self, limit_pct: float) -> None:
        self._keeper = Keeper(limit_pct / 100, self.pause, self.resume)
        self._begun = False

    def flags(self) -> Mapping[str, int]:
        """The program knows that ends may have been missed."""
        return {"SLICES": 1}

    def loaded(self, session: Host) -> None:
        """Whose probes they are."""
        self._session = session

    def begin(self) -> None:
        """The limit holds from now on, where the cost is known."""
        if self._session.hit_cost is not None:
            self._keeper.begin(time.monotonic())
            self._session.keeper = self._keeper

    def poll(self) -> None:
        """Keep the limit. Raises AttachError, TargetGone."""
        self._session.hurries = self._keeper.keep(time.monotonic(), self._session.spent_s())

    def pause(self) -> None:
        """Take the probes away for a time. The calls that are open are cut: they are counted, with their age."""
        session, maps = self._session, self._session.maps
        stale = opencalls.stale_calls(maps, session.spaces, session.target.offsets)
        # The time is taken first: what is in the tables afterwards was running then, or had not begun.
        ended_ns = clock.now_ns()
        maps.config["enabled"] = 0
        maps.config["sliced"] = 1
        session.pause()
        session.take_events()
        opens = opencalls.by_slot(opencalls.open_calls(maps) - stale, maps)
        cut = {slot: each.starts_ns for slot, each in opens.items()}
        session.vanished += len(stale)
        maps.forget_calls()
        rows = maps.statistics
        owners = {slot: session.table.owner(slot, rows[slot].copy()) for slot in cut}
        wanted = [(owners[slot][0], starts_ns) for slot, starts_ns in cut.items() if owners[slot][1]]
        session.watched.end(ended_ns, wanted)

    def resume(self) -> None:
        """Place them again, and go on. Raises AttachError, TargetGone."""
        session = self._session
        try:
            session.resume()
        except AttachError:
            session.target.process.check()  # it may just have ended: the next poll says so
            raise
        session.maps.enable(session.target.process)
        session.watched.begin(clock.now_ns())
