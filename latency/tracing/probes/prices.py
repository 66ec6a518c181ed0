"""What each kind of hit takes from the target: prices, made of what the programs measure now and then.

``bpf/account.h`` adds them up for each thread. A price is the trap and the program: the program's own time is measured
in it, the trap is the time from the end of one hit's program to the next hit of the thread, where nearly no Python
lies between the two. What little there is stands for how much slower Python goes on behind a trap.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from latency.cpython.sites import Role, SitePlan
from latency.tracing.counted import wire

_KINDS = {
    Role.ENTRY: wire.HIT_ENTRY,
    Role.EXIT: wire.HIT_EXIT,
    Role.RETURN: wire.HIT_EXIT,
    Role.RAISE: wire.HIT_RAISE,
    Role.YIELD: wire.HIT_YIELD,
    Role.GENERATOR_DEALLOC: wire.HIT_DEALLOC,
}
_FEW = 16
"""From so many samples on a time is believed."""
_SHORTEST = 0.05
"""The quantile that stands for what was not disturbed."""
_NEAR, _NEAR_GAP = 1.5, 1.1
"""What is up to so many times the shortest is the same thing, a little disturbed. (The clock may be coarse, 10 ns in
some virtual machines: one value of many is no estimate, their mean is.)"""
_MOST_TRAPS = 2
"""So many times the cheapest trap takes another one at most whose instruction is emulated, too."""
ERROR = 0.04
"""Of all that is taken off: by so much at most the medians of plain calls and generators were wrong on 3.11.2 beside a
little other work (``benchmarks/truth.py``: 3.4 % of a generator's hundred steps, 0.4 % of a thousand calls). Where the
machine's speed changes, it is more."""

Floats = np.ndarray[Any, np.dtype[np.float64]]


def _nothing(*shape: int) -> Floats:
    return np.zeros(shape)


@dataclass(frozen=True)
class Prices:
    """Nanoseconds, by ``wire.HIT_…``.

    Attributes:
        trap_ns: of the site's kind of instruction; shape (kinds,).
        program_ns: of a hit that is rejected, and of one that counts; shape (kinds, 2).
        own_ns: of an entry, behind the call's time stamp; of an exit, before it; without the trap; shape (kinds,).
        clock_ns: to read the clock once.
    """

    trap_ns: Floats = field(default_factory=lambda: _nothing(wire.HIT_KINDS))
    program_ns: Floats = field(default_factory=lambda: _nothing(wire.HIT_KINDS, 2))
    own_ns: Floats = field(default_factory=lambda: _nothing(wire.HIT_KINDS))
    clock_ns: float = 0.0

    @property
    def hit_ns(self) -> Floats:
        """What a hit takes, of each kind, rejected or not; shape (kinds, 2)."""
        return np.asarray(self.trap_ns[:, None] + self.program_ns)

    @property
    def between_ns(self) -> Floats:
        """What of a call's own two hits lies between its time stamps, by the kind of its exit; shape (kinds,)."""
        halves = self.trap_ns / 2 + self.own_ns
        return np.asarray(halves[wire.HIT_ENTRY] + halves)

    def into(self, config: Any) -> None:
        """For the programs: into a ``wire.CONFIG``."""
        config["price_ns"] = np.rint(self.hit_ns)
        config["own_ns"] = np.rint(self.between_ns)
        config["clock_ns"] = round(self.clock_ns)


def stepped_kinds(plan: SitePlan) -> set[int]:
    """Kinds of hits of which the kernel single-steps the instruction."""
    return {kind for role, kind in _KINDS.items() if not all(site.emulated for site in plan.usual(role))}


def prices(samples: np.ndarray[Any, Any], before: Prices, stepped: Collection[int] = ()) -> Prices:
    """What these samples say; where they say nothing, as it was before.

    Args:
        samples: ``wire.TIMES``, all sets.
        stepped: kinds of hits of which the kernel single-steps the instruction.
    """
    clock_ns = _usual(samples[wire.CLOCK_SET], before.clock_ns)
    trap_ns = _traps(samples, before, stepped, clock_ns)
    program_ns, own_ns = before.program_ns.copy(), before.own_ns.copy()
    for kind in range(wire.HIT_KINDS):
        for counts in (0, 1):
            each = samples[wire.PROGRAM_SETS + 2 * kind + counts]
            program_ns[kind, counts] = _usual(each, program_ns[kind, counts] + clock_ns) - clock_ns
        own_ns[kind] = _usual(samples[wire.OWN_SETS + kind], own_ns[kind] + clock_ns / 2) - clock_ns / 2
    # Before one of a kind was measured, it is taken for another way out.
    unknown = [kind for kind in range(wire.HIT_RAISE, wire.HIT_KINDS) if not program_ns[kind].any()]
    program_ns[unknown], own_ns[unknown] = program_ns[wire.HIT_EXIT], own_ns[wire.HIT_EXIT]
    return Prices(trap_ns, np.maximum(program_ns, 0.0), np.maximum(own_ns, 0.0), clock_ns)


def _traps(samples: np.ndarray[Any, Any], before: Prices, stepped: Collection[int], clock_ns: float) -> Floats:
    """Of each kind.

    A gap is half of the trap before it, half of the one behind it, and what the interpreter does in between. So no two
    traps are more than twice the gap between them, and a kind takes as much as all of its gaps leave room for.
    """
    gaps: dict[tuple[int, int], float] = {}
    for first in range(wire.HIT_KINDS):
        for then in range(wire.HIT_KINDS):
            taken = _taken(samples[wire.GAP_SETS + first * wire.HIT_KINDS + then])
            if len(taken) >= _FEW:
                gaps[first, then] = max(0.0, _near(taken, _NEAR_GAP) - clock_ns)
    if not gaps:
        return before.trap_ns
    emulated = [each for kinds, each in gaps.items() if not set(kinds) & set(stepped)]
    if not emulated:  # each call passes one of either kind: their sum is what counts
        emulated, stepped = list(gaps.values()), ()
    least_ns = min(emulated)
    trap_ns = np.full(wire.HIT_KINDS, least_ns)
    for kind in sorted({kind for kinds in gaps for kind in kinds}, key=lambda kind: kind in stepped):
        room_ns = min(
            gap_ns if kinds == (kind, kind) else 2 * gap_ns - trap_ns[sum(kinds) - kind]
            for kinds, gap_ns in gaps.items()
            if kind in kinds
        )
        # Where calls are left by exceptions, say, no gap is without work of the interpreter.
        trap_ns[kind] = max(least_ns, room_ns if kind in stepped else min(room_ns, _MOST_TRAPS * least_ns))
    return trap_ns


def _taken(one: np.void) -> np.ndarray[Any, Any]:
    times: np.ndarray[Any, Any] = one["ns"][: min(int(one["count"]), wire.SAMPLES)]
    return times


def _near(times: np.ndarray[Any, Any], factor: float) -> float:
    """The mean of those that are not much longer than the shortest."""
    return float(times[times <= factor * np.quantile(times, _SHORTEST)].mean())


def _usual(one: np.void, otherwise_ns: float) -> float:
    taken = _taken(one)
    return _near(taken, _NEAR) if len(taken) >= _FEW else otherwise_ns
