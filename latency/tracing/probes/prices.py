"""What each kind of hit takes from the target: prices, made of what the programs measure now and then.

``bpf/account.h`` adds them up for each thread. A price is the trap and the program: the program's own time is measured
in it, the trap is the time from the end of one hit's program to the next hit of the thread, where nearly no Python
lies between the two. What little there is stands for how much slower Python goes on behind a trap.

The shortest gaps are those of the fastest moments. Where a neighbour of the processor is at work, the same instructions
take a fifth longer in one hit and not in the next. How far the shortest are from the mean is told by the programs of
hits that are rejected, whose work is always the same.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

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
_ENOUGH = 64
"""So many of the newest are looked at, at least: more only if they have come since the last look, so that a price is
that of the moment."""
_SHORT = np.array([0.05, 0.075, 0.1, 0.125, 0.15])
"""The quantiles at which gaps are compared with programs. Several: where the machine has a slow and a fast state, and
the share of one is about such a quantile, that one says nothing."""
_MOST = 0.8
"""Of samples: what most are like."""
_INTERRUPTED = 4
"""What is so many times the median was interrupted, or lost the processor. That is not what a hit takes: of a program
without pylat it takes as much in the same time."""
_MOST_TRAPS = 2
"""So many times the cheapest trap takes another one at most whose instruction is emulated, too."""

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
        spread: how far most hits are from that, as a share of it.
    """

    trap_ns: Floats = field(default_factory=lambda: _nothing(wire.HIT_KINDS))
    program_ns: Floats = field(default_factory=lambda: _nothing(wire.HIT_KINDS, 2))
    own_ns: Floats = field(default_factory=lambda: _nothing(wire.HIT_KINDS))
    clock_ns: float = 0.0
    spread: float = 0.0

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


def prices(
    samples: np.ndarray[Any, Any],
    before: Prices,
    stepped: Collection[int] = (),
    since: np.ndarray[Any, Any] | None = None,
) -> Prices:
    """What these samples say; where they say nothing, as it was before.

    Args:
        samples: ``wire.TIMES``, all sets.
        stepped: kinds of hits of which the kernel single-steps the instruction.
        since: how many of each set there were at the last look, shape (sets,); None for the first one.
    """
    since = np.zeros(wire.SAMPLE_SETS) if since is None else since
    taken = [newest(one, int(seen)) for one, seen in zip(samples, since, strict=True)]
    clock_ns = _usual(taken[wire.CLOCK_SET], before.clock_ns)
    now = _unrest(samples, taken)
    trap_ns = _traps(taken, before, stepped, clock_ns, now)
    program_ns, own_ns = before.program_ns.copy(), before.own_ns.copy()
    for kind in range(wire.HIT_KINDS):
        for counts in (0, 1):
            each = taken[wire.PROGRAM_SETS + 2 * kind + counts]
            program_ns[kind, counts] = _usual(each, program_ns[kind, counts] + clock_ns) - clock_ns
        own_ns[kind] = _usual(taken[wire.OWN_SETS + kind], own_ns[kind] + clock_ns / 2) - clock_ns / 2
    # Before one of a kind was measured, it is taken for another way out.
    unknown = [kind for kind in range(wire.HIT_RAISE, wire.HIT_KINDS) if not program_ns[kind].any()]
    program_ns[unknown], own_ns[unknown] = program_ns[wire.HIT_EXIT], own_ns[wire.HIT_EXIT]
    return Prices(trap_ns, np.maximum(program_ns, 0.0), np.maximum(own_ns, 0.0), clock_ns, now.spread)


class Unrest(NamedTuple):
    """How the same work varies on this machine at this moment.

    Attributes:
        below: by how much the quantiles ``_SHORT`` are less than the mean (or more: below 0), as a share of it; shape
            (quantiles,).
        clock_ns: the same of reading the clock, which may be coarse; nanoseconds. It is in all that is measured, and
            not in ``below``.
        spread: how far most are from the mean, as a share of it.
    """

    below: Floats
    clock_ns: Floats
    spread: float = 0.0

    def mean_ns(self, shortest_ns: Floats) -> Floats:
        """Of times of which some are longer since there is more in them: the mean of the others, by each quantile."""
        mean_ns = shortest_ns
        for _ in range(8):  # the mean is in what it is less by; each round a tenth of the error stays
            below_ns = mean_ns * self.below
            mean_ns = shortest_ns + np.where(below_ns > 0, np.hypot(below_ns, self.clock_ns), below_ns + self.clock_ns)
        return mean_ns


def steady(samples: np.ndarray[Any, Any]) -> list[int]:
    """The sets of programs whose work is the same each time: rejected hits; where all count, those that count."""
    for counts in (0, 1):
        sets = [wire.PROGRAM_SETS + 2 * kind + counts for kind in range(wire.HIT_KINDS)]
        if found := [one for one in sets if samples[one]["count"] >= _FEW]:
            return found
    return []


def _unrest(samples: np.ndarray[Any, Any], taken: Sequence[Floats]) -> Unrest:
    clock_ns = undisturbed(taken[wire.CLOCK_SET])
    read_ns, off_ns, most_off_ns = 0.0, np.zeros(len(_SHORT)), 0.0
    if len(clock_ns):
        read_ns = float(clock_ns.mean())
        off_ns = np.maximum(0.0, clock_ns.mean() - np.quantile(clock_ns, _SHORT))
        most_off_ns = float(np.quantile(np.abs(clock_ns - clock_ns.mean()), _MOST))
    sets = [undisturbed(taken[one]) - read_ns for one in steady(samples)]
    if not sets:
        return Unrest(np.zeros(len(_SHORT)), off_ns)
    mean_ns = float(np.concatenate(sets).mean())
    same = np.concatenate([times / times.mean() for times in sets])
    return Unrest(
        _without(1.0 - np.quantile(same, _SHORT), off_ns / mean_ns),
        off_ns,
        float(_without(np.quantile(np.abs(same - 1.0), _MOST), most_off_ns / mean_ns)),
    )


def _without(off: Any, clock: Any) -> Any:
    """Deviations, without what the clock adds to them."""
    return np.sign(off) * np.sqrt(np.maximum(0.0, np.square(off) - np.square(clock)))


def _traps(taken: Sequence[Floats], before: Prices, stepped: Collection[int], clock_ns: float, now: Unrest) -> Floats:
    """Of each kind.

    A gap is half of the trap before it, half of the one behind it, and what the interpreter does in between. So no two
    traps are more than twice the gap between them, and a kind takes as much as all of its gaps leave room for.
    """
    gaps: dict[tuple[int, int], float] = {}
    for first in range(wire.HIT_KINDS):
        for then in range(wire.HIT_KINDS):
            times = taken[wire.GAP_SETS + first * wire.HIT_KINDS + then]
            if len(times) >= _FEW:
                means_ns = now.mean_ns(np.quantile(times, _SHORT) - clock_ns)
                gaps[first, then] = max(0.0, float(np.median(means_ns)))
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


def newest(one: np.void, since: int = 0) -> Floats:
    """The newest samples of a set, in their order: those after the first ``since``, and ``_ENOUGH`` if there are."""
    count = int(one["count"])
    size = min(count, wire.SAMPLES, max(count - since, _ENOUGH))
    return np.asarray(one["ns"][np.arange(count - size, count) % wire.SAMPLES], float)


def undisturbed(times_ns: Floats) -> Floats:
    """Those in which there was no interrupt."""
    return times_ns[times_ns <= _INTERRUPTED * np.median(times_ns)] if len(times_ns) else times_ns


def _usual(times_ns: Floats, otherwise_ns: float) -> float:
    return float(undisturbed(times_ns).mean()) if len(times_ns) >= _FEW else otherwise_ns
