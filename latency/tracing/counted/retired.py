"""What was counted in slots of the statistics that were given back: of code objects and processes that are gone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from latency.recording import Function
from latency.tracing.counted import wire
from latency.tracing.counted.divided import Divided

FIRST_PLACE = wire.NO_SLOT + 1
"""No slot has such a number: here on lie the places of functions of which something was retired."""
_ADDED = (
    "returned",
    "raised",
    "abandoned",
    "suspensions",
    "cut",
    "slow",
    "unjudged",
    "sum_ns",
    "taken_ns",
    "unsure_ns",
)


class Given(NamedTuple):
    """A slot that was given back.

    Attributes:
        place: where its counts are kept from now on; None where they are not.
        counts: of its buckets, at that moment.
    """

    slot: int
    place: int | None
    counts: np.ndarray[Any, Any]


@dataclass
class Retired:
    """The counts, one record for each function however many code objects and processes it had.

    Attributes:
        rows: records of ``wire.STATISTICS`` by (function or None if its name is not known, the flag ``wire.ACTIVE``).
        places: the number of each of these.
        divided: where the time of these calls went.
        spaces: (returned, raised) calls in each address space.
        version: another one with each record that was kept.
    """

    rows: dict[tuple[Function | None, bool], np.ndarray[Any, Any]] = field(default_factory=dict)
    places: dict[tuple[Function | None, bool], int] = field(default_factory=dict)
    divided: dict[Function, Divided] = field(default_factory=dict)
    spaces: dict[int, tuple[int, int]] = field(default_factory=dict)
    version: int = 0

    def forget(self, functions: Iterable[Function]) -> None:
        """Nobody asks for these any more."""
        for function in functions:
            self.version += 1
            self.divided.pop(function, None)
            for active in (False, True):
                self.rows.pop((function, active), None)
                self.places.pop((function, active), None)

    def add(self, function: Function | None, row: np.void, divided: Divided) -> int | None:
        """Keep one record. Returns the place, None where nothing was counted."""
        if not any(row[name] for name in _ADDED) and not row["counts"].any():
            return None
        self.version += 1
        active = bool(row["flags"] & wire.ACTIVE)
        key = function, active
        if key not in self.rows:
            self.rows[key] = np.zeros(1, wire.STATISTICS)
            self.rows[key]["flags"] = row["flags"] & wire.ACTIVE
            self.places[key] = 1 + max(self.places.values(), default=FIRST_PLACE - 1)
        kept = self.rows[key]
        for name in (*_ADDED, "counts"):
            kept[name] += row[name]
        kept["min_ns"] = min((int(each) for each in (kept["min_ns"][0], row["min_ns"]) if each), default=0)
        kept["max_ns"] = max(int(kept["max_ns"][0]), int(row["max_ns"]))
        if function is not None and not active:
            self.divided[function] = self.divided.get(function, Divided()) + divided
            returned, raised = self.spaces.get(int(row["space"]), (0, 0))
            self.spaces[int(row["space"])] = returned + int(row["returned"]), raised + int(row["raised"])
        return self.places[key]
