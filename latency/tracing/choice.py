"""Which engine is the truer one, and which costs the target less: probes in the interpreter, or watchpoints. Pure.

A probe is passed by every Python call of the process, wanted or not, twice: by those inside of a wanted call, too,
which they make longer. A watchpoint is hit by the calls of its own function alone, three or four times, and each hit
is dearer, in a virtual machine by far.
"""

from __future__ import annotations

from dataclasses import dataclass

from latency.tracing.probes.cost import HitCost
from latency.tracing.probes.look import Look

MOST_PROBES = 0.1
"""Of a wanted call's time: where the probes took more, watchpoints are truer, though they may cost more."""
RESOLVED_TRAPS = 1.4
"""Calls that are shorter than so many hits are not resolved: see ``WatchSession``."""


@dataclass(frozen=True)
class Choice:
    """``watch``: whether to take the watch engine. ``why``: one line. ``share``: about what it costs, of one CPU."""

    watch: bool
    why: str
    share: float


def choose(
    look: Look,
    hit: HitCost,
    trap_ns: float,
    probes: str,
    turns: int = 1,
    *,
    suspends: bool = False,
    limit_pct: float | None = None,
) -> Choice:
    """Between the watch engine and the one that ``probes`` names.

    Args:
        turns: in how many the functions would be watched. In one of several only a part of the calls is seen: that is
            not worth it but where the probes distort what they measure.
        suspends: some are generators or coroutines, of which watchpoints do not tell how long they run: that is worth
            what the probes cost, up to the limit.
        limit_pct: of one CPU; None for none.
    """
    choice = _cheaper(look, hit, trap_ns, probes, turns)
    if choice.watch and suspends and (limit_pct is None or 100 * look.probes_share(hit) <= limit_pct):
        unseen = "watch costs less, but does not see the time that generators and coroutines run"
        return Choice(False, f"{probes}: {unseen}", look.probes_share(hit))
    return choice


def _cheaper(look: Look, hit: HitCost, trap_ns: float, probes: str, turns: int) -> Choice:
    cost, watch_cost = look.probes_share(hit), look.watch_share(trap_ns) / turns
    rates = f"{_rate(look.wanted_per_s)} of {_rate(look.calls_per_s)} calls/s are wanted"
    costs = f"about {_percent(watch_cost)} of one CPU by watch, {_percent(cost)} by {probes}"
    if not look.hits:
        return Choice(False, f"{probes}: no call in {look.seconds:.2f} s, so it costs nothing now", cost)
    shortest_ns, resolved_ns = look.shortest_ns(hit), RESOLVED_TRAPS * trap_ns
    truer = look.probe_share > MOST_PROBES and shortest_ns >= resolved_ns
    if turns > 1 and not truer:
        return Choice(False, f"{probes}: watch would see the functions in turns only ({costs})", cost)
    if watch_cost >= cost and not truer:
        return Choice(False, f"{probes}: {rates}: {costs}", cost)
    if shortest_ns != shortest_ns:
        return Choice(False, f"{probes}: {rates}, and no call was seen that says how long they take", cost)
    if shortest_ns < resolved_ns:
        resolved = f"watch does not resolve calls below {resolved_ns / 1e3:.0f} µs, and some may be shorter"
        return Choice(False, f"{probes}: {resolved} ({costs})", cost)
    if truer:
        why = f"{_percent(look.probe_share)} of a wanted call's time was {probes}' probes"
        how = f"watch, in {turns} turns" if turns > 1 else "watch"
        return Choice(True, f"{how}: {why}; {rates}: {costs}", watch_cost)
    return Choice(True, f"watch: {rates}: {costs}", watch_cost)


def _rate(per_s: float) -> str:
    return f"{per_s:,.0f}" if per_s >= 10 or not per_s else f"{per_s:.1f}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %" if share < 1 else f"{100 * share:,.0f} %"
