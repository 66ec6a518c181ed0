"""What a short measurement has seen, from which an engine is chosen (``tracing/choice.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latency.histogram import Histogram
from latency.tracing.counted.reading import Counted, Reading
from latency.tracing.probes.cost import HitCost

TRAPS_PER_CALL = 4
"""Of a watched function: 3, or 4 where a build reads an oparg twice."""
_SHORT_SHARE = 0.05  # of the calls that may be shorter than watch resolves
_BARE_CALL_NS = 50.0  # the least that a Python call takes without probes


@dataclass(frozen=True)
class Look:
    """What a short measurement with probes in the interpreter has seen.

    Attributes:
        seconds: how long it was.
        hits, wanted_hits: of the probes; those of calls of wanted functions.
        entries: calls of wanted functions that began.
        wall: latencies of those that ended.
        open_ns: ages of those that did not.
        functions: how many wanted functions are known by now.
        spent_ns: what all hits took, of all threads; None where their prices are not known.
        taken_ns: what the probes took of the calls that ended, which is not in ``wall``; None where it is not known,
            and is in it.
    """

    seconds: float
    hits: int
    wanted_hits: int
    entries: int
    wall: Histogram
    open_ns: tuple[int, ...] = ()
    functions: int = 0
    taken_ns: int | None = None
    spent_ns: int | None = None

    @classmethod
    def between(
        cls, first: Reading, last: Reading, starts_ns: Sequence[int], *, seconds: float, accounted: bool
    ) -> Look:
        """What was counted between two readings.

        Args:
            starts_ns: of the calls that are open at the second one, CLOCK_MONOTONIC.
            seconds: for how long the probes were in place in between.
            accounted: whether it is known what the probes took.
        """
        counters = {name: count - first.counters[name] for name, count in last.counters.items()}
        none = Counted()
        pairs = [(counted, first.functions.get(name, none)) for name, counted in last.functions.items()]
        return cls(
            seconds=seconds,
            hits=counters["hits"],
            entries=counters["entries"],
            wanted_hits=counters["entries"] + counters["matched"],
            wall=Histogram.empty().merge(*(counted.wall.subtract(before.wall) for counted, before in pairs)),
            open_ns=tuple(max(0, last.at_ns - start_ns) for start_ns in starts_ns),
            functions=len(pairs),
            taken_ns=sum(counted.taken_ns - before.taken_ns for counted, before in pairs) if accounted else None,
            spent_ns=counters["taken_ns"] if accounted else None,
        )

    @property
    def probe_share(self) -> float:
        """Of the time of wanted calls, what the probes took; 0 where it is not known."""
        return self.taken_ns / (self.taken_ns + self.wall.sum_ns) if self.taken_ns else 0.0

    @property
    def calls_per_s(self) -> float:
        """Python calls of the process, about: each passes two probes."""
        return self.hits / 2 / self.seconds

    @property
    def wanted_per_s(self) -> float:
        """Calls of wanted functions."""
        return self.entries / self.seconds

    def probes_share(self, hit: HitCost) -> float:
        """What the probes cost, as a share of one CPU: at the rate at which the target works with them."""
        spent_ns = hit.total_ns(self.hits, self.wanted_hits) if self.spent_ns is None else self.spent_ns
        return spent_ns / 1e9 / self.seconds

    def watch_share(self, trap_ns: float) -> float:
        """What watchpoints would cost at the same rate."""
        return self.entries * TRAPS_PER_CALL * trap_ns / 1e9 / self.seconds

    def shortest_ns(self, hit: HitCost) -> float:
        """What all but few of the wanted calls take at least, without probes; nan where none was seen.

        The probes that a call passed on its way may be in its latency. Then they are taken off as if all that were
        passed were passed within wanted calls, or as if these did nothing but call: both are more than is true.
        """
        if len(self.wall.counts) and self.taken_ns is not None:
            return self.wall.quantile(_SHORT_SHARE)
        if len(self.wall.counts):
            seen_ns, calls = self.wall.quantile(_SHORT_SHARE), self.wall.count
        elif self.open_ns:
            seen_ns, calls = float(min(self.open_ns)), len(self.open_ns)
        else:
            return float("nan")
        probes_ns = hit.total_ns(self.hits, self.wanted_hits) / calls
        only_calling = _BARE_CALL_NS / (_BARE_CALL_NS + 2 * max(hit.wanted_ns, hit.unwanted_ns))
        return max(seen_ns - probes_ns, seen_ns * only_calling)
