"""The vocabulary of the waist: what was asked, what was looked at, what was seen, and what was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from uuid import uuid4

import numpy as np

from latency.histogram import Floats, Histogram
from latency.recording import censored
from latency.recording.function import Function, Owners
from latency.recording.parts import intervals_ns
from latency.recording.probes import Probes
from latency.recording.slow import SlowCalls
from latency.recording.split import Split

PERCENTILES = (0.5, 0.9, 0.95, 0.99, 0.999)
"""The quantiles that a recording and a report state."""


def percentile_name(q: float) -> str:
    """``0.999`` -> ``"p99.9"``."""
    return f"p{q * 100:g}"


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class Losses:
    """How many events were seen, but could not be measured, by reason.

    Attributes:
        unmatched_return, unmatched_entry, too_deep, table_full, read_fault, negative, unnamed, bad_frame, event_lost,
            thread_ended, not_run, unwatched: ``REMEDY`` says what each means.
        other: reasons that a newer pylat wrote and this one does not know.
    """

    unmatched_return: int = 0
    unmatched_entry: int = 0
    too_deep: int = 0
    table_full: int = 0
    read_fault: int = 0
    negative: int = 0
    unnamed: int = 0
    bad_frame: int = 0
    event_lost: int = 0
    thread_ended: int = 0
    not_run: int = 0
    unwatched: int = 0
    other: Mapping[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, int]:
        """Every reason, the zero ones included."""
        known = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "other"}
        return {**known, **self.other}

    @classmethod
    def from_dict(cls, counts: Mapping[str, int]) -> Losses:
        """The inverse of :meth:`as_dict`; absent reasons are zero."""
        known = {name: count for name, count in counts.items() if name in REMEDY}
        return cls(**known, other={name: count for name, count in counts.items() if name not in REMEDY})

    @property
    def total(self) -> int:
        """All losses together."""
        return sum(self.as_dict().values())

    def __add__(self, other: Losses) -> Losses:
        mine, theirs = self.as_dict(), other.as_dict()
        return Losses.from_dict({name: mine.get(name, 0) + theirs.get(name, 0) for name in mine | theirs})


REMEDY: dict[str, str] = {
    "unmatched_return": "a return whose entry was not seen; see what this engine cannot see with pylat check -p PID",
    "unmatched_entry": "an entry whose return was not seen; see what this engine cannot see with pylat check -p PID",
    "too_deep": "calls were nested deeper than pylat keeps them open; narrow --func to a function nearer the leaves",
    "table_full": "more functions, threads or open calls than the tables hold; narrow --func",
    "read_fault": "the target's memory was not readable at that moment, paged out perhaps; measure again",
    "negative": "a call ended before it began by the clock, so was not counted; report it if it is more than a few",
    "unnamed": "a function whose code object was gone before pylat could read its name; name it with --func",
    "bad_frame": "the register held no frame of this interpreter; run pylat check -p PID and report its output",
    "event_lost": "events came faster than pylat could read them; narrow --func or lower the rate",
    "thread_ended": "a thread ended while calls were open in it; they have no latency, and nothing need be done",
    "not_run": "the kernel was in the midst of other BPF work, and did not run pylat's program; measure again",
    "unwatched": "functions that match, and were defined while pylat watched others: take --engine handlers or eval",
}
"""For each reason of loss: what it means, and what to do about it; one line."""


@dataclass(frozen=True)
class TargetInfo:
    """Whom pylat looked at, on which machine, and by what means.

    Attributes:
        pids: the processes that were asked for.
        command: the command line of the first of them, joined by spaces.
        python: CPython's version, ``"3.11.2"``.
        build_id: of the interpreter's file, in hexadecimal; or ``""``.
        executable: the path of that file, as the target sees it.
        engine: how calls were seen: ``"handlers"``, ``"eval"``, ``"usdt"`` or ``"watch"``.
        offsets: where the struct offsets came from: ``"table 3.11"``.
        kernel, machine: the kernel's release and the processor's architecture.
        cpus: how many the machine has.
        choice: why this engine; ``""`` where there was no choice.
    """

    pids: tuple[int, ...]
    command: str
    python: str
    build_id: str
    executable: str
    engine: str
    offsets: str
    kernel: str
    machine: str
    cpus: int
    choice: str = ""


@dataclass(frozen=True)
class Options:
    """What was asked for. Durations in seconds; None is until interrupted, or never.

    Attributes:
        func: the patterns; () for every function.
        regex: whether these are regular expressions.
        duration_s, interval_s: how long, and how often a report.
        engine: what was asked for; ``TargetInfo.engine`` is what was taken.
        children: child processes too.
        markers: USDT markers instead of functions, as ``--usdt`` takes them, or ``"gc"`` and such; () for functions.
        offcpu, self_time: see ``FunctionLatency.split`` and ``FunctionLatency.self_time``.
        max_overhead_pct: of one CPU; beyond it the probes are away for part of the time. None is without a limit.
        slower: tell calls beyond this one by one, as ``slow.Slower.parse`` reads it; ``""`` for none.
        slowest: how many of them are kept.
        show_secrets: with the values whose names say that they are secret.
        values: with the values of arguments.
    """

    func: tuple[str, ...] = ()
    regex: bool = False
    duration_s: float | None = None
    interval_s: float | None = None
    engine: str = "auto"
    children: bool = False
    max_overhead_pct: float | None = None
    markers: tuple[str, ...] = ()
    offcpu: bool = False
    self_time: bool = False
    slower: str = ""
    slowest: int = 10
    show_secrets: bool = False
    values: bool = True


@dataclass(frozen=True, slots=True)
class FunctionLatency:
    """What was seen of one function.

    Attributes:
        function: which.
        returned, raised: calls that began and ended while pylat watched, by how they ended.
        open: calls that began while pylat watched and had not ended when it stopped.
        abandoned: generators and coroutines closed or collected while suspended. They have no latency.
        suspensions: how often generators and coroutines yielded or awaited.
        wall: from entry to end; of a generator or coroutine, from its first start to its end. As all latencies, without
            what pylat's own probes took meanwhile (``probes``).
        active: of a generator or coroutine, the time that it really ran; of a marker, the time outside of those of its
            kind that were nested in it, where that was asked for; otherwise None.
        slices: ``wall`` in equal, consecutive parts of the measurement, for error bars (``Parts``); or ().
        oldest_open_ns: how long the oldest open call had been running, as all times without what the probes took; 0
            without one.
        split: where ``wall`` went; None where it was not asked for.
        self_time: of each call the active time outside of the other measured calls of its thread; fewer than ``calls``
            where that is not known of all (greenlets, recursion beyond the table). None where it was not asked for.
        cut: calls that were running when the probes were taken away for a time. They have no latency.
        ages: in a measurement in slices, how long the cut calls had run, and the open ones; else None.
        probes: what was taken off; None where that is not known, and nothing was.
        code: a digest of its code, without its names, file and lines, by which a comparison knows it again: the minor
            version of Python and hexadecimal digits. ``""`` where that is not known, or it has several.
        owners: the functions that share its code object, where these have different names; else None.
        watched: how much of the time, where that is not the same for all functions of a run; else None, and what the
            run says holds.
    """

    function: Function
    returned: int
    raised: int
    wall: Histogram
    active: Histogram | None = None
    open: int = 0
    abandoned: int = 0
    suspensions: int = 0
    slices: Sequence[Histogram] = ()
    oldest_open_ns: int = 0
    split: Split | None = None
    self_time: Histogram | None = None
    cut: int = 0
    ages: Histogram | None = None
    probes: Probes | None = None
    code: str = ""
    owners: Owners | None = None
    watched: Watched | None = None

    @property
    def calls(self) -> int:
        """Calls that began and ended while pylat watched."""
        return self.returned + self.raised

    @property
    def longest_ns(self) -> int:
        """The longest call, or what it took at least where that one was cut; 0 without calls."""
        return max(self.wall.max_ns, self.ages.max_ns if self.ages else 0)

    def percentiles_ns(self, qs: Sequence[float] = PERCENTILES) -> Floats:
        """Quantiles of the latency, nanoseconds; nan without calls, and where too many were cut to tell it."""
        return self.wall.quantiles(qs) if self.ages is None else censored.quantiles(self.wall, self.ages, qs)[0]

    def at_least_ns(self, qs: Sequence[float] = PERCENTILES) -> Floats:
        """Where ``percentiles_ns`` cannot tell a quantile for cut calls: what it is at least; else nan."""
        return np.full(len(qs), np.nan) if self.ages is None else censored.quantiles(self.wall, self.ages, qs)[1]

    def intervals_ns(self, qs: Sequence[float] = PERCENTILES) -> list[tuple[float, float] | None]:
        """The 95 % interval of each quantile, or None where it is not known; see ``recording.parts.intervals_ns``.

        In a measurement in slices they are not known. They hold what was taken off falsely (``probe_error_ns``), and
        reach down to ``undelayed_ns``, and by what may have to be taken off beside (``probe_unsure_ns``).
        """
        if self.ages is not None:
            return [None] * len(qs)
        found = intervals_ns(self.slices, self.wall, qs) or [None] * len(qs)
        error_ns = self.probe_error_ns
        return [
            None
            if each is None
            else (max(0.0, min(each[0], least_ns) - error_ns - self.probe_unsure_ns), each[1] + error_ns)
            for each, least_ns in zip(found, self.undelayed_ns(qs).tolist(), strict=True)
        ]

    def undelayed_ns(self, qs: Sequence[float] = PERCENTILES) -> Floats:
        """What ``percentiles_ns`` are at least if the delayed calls (``probes.delayed_share``) were like the others."""
        kept = max(0.0, 1.0 - self.probes.delayed_share) if self.probes else 1.0
        return self.percentiles_ns([q * kept for q in qs])

    @property
    def probe_share(self) -> float:
        """Of the elapsed time of the calls, what the probes took; 0 where that is not known."""
        return self.probes.share(self.wall.sum_ns) if self.probes else 0.0

    @property
    def probe_error_ns(self) -> float:
        """By which the latencies may be wrong since the probes' share is an estimate; 0 where nothing was taken off."""
        return self.probes.error_ns(self.calls) if self.probes else 0.0

    @property
    def probe_unsure_ns(self) -> float:
        """By which a call's latency may be less, on the average, for what the probes took while it was suspended."""
        return self.probes.unsure_ns / self.calls if self.probes and self.calls else 0.0


@dataclass(frozen=True)
class Overhead:
    """What the measurement cost the target.

    Attributes:
        hits: how often a probe fired.
        ns_per_hit: measured cost of one, nanoseconds.
        share_of_cpu: of one CPU, over the measurement; 0.002 is 0.2 %.
        memory_bytes: resident memory of pylat itself; 0 where not known.
        map_bytes: memory of its BPF maps, in the kernel; 0 where not known.
    """

    hits: int
    ns_per_hit: float
    share_of_cpu: float
    memory_bytes: int = 0
    map_bytes: int = 0


@dataclass(frozen=True)
class Watched:
    """A measurement in slices: so as not to cost more than it may, or since not all functions can be watched at once.

    Attributes:
        share: of the time in which the probes were in place, 0 .. 1; of one function, those that see it.
        slices: how many; between them nothing was seen.
    """

    share: float
    slices: int


@dataclass(frozen=True)
class ProcessCalls:
    """The finished calls of one of several processes.

    Attributes:
        pid: which.
        returned, raised: by how they ended.
        ended: the process ended before the measurement did.
    """

    pid: int
    returned: int = 0
    raised: int = 0
    ended: bool = False

    @property
    def calls(self) -> int:
        """Calls that began and ended while pylat watched."""
        return self.returned + self.raised


@dataclass(frozen=True)
class Recording:
    """One run: everything that pylat saw, and everything that it knows it did not see.

    Attributes:
        target: whom pylat looked at.
        duration_s: how long it was.
        functions: what was seen of each; a function that was compiled twice can be there twice.
        options: what was asked for.
        losses: what was seen and not measured.
        blind_spots: what could not be seen, a sentence each.
        overhead: what it cost; None where that is not known.
        processes: of each process, where several were followed.
        began_before: calls that were already running when pylat attached, seen to end; they have no latency.
        events: further counters of the engine by name, for ``-v``.
        watched: how much of the time; None for all of it.
        slow_calls: calls that were told one by one; None if that was not asked for.
        id: tells it from all others.
        started_at: when it began; UTC.
    """

    target: TargetInfo
    duration_s: float
    functions: tuple[FunctionLatency, ...]
    options: Options = field(default_factory=Options)
    losses: Losses = field(default_factory=Losses)
    blind_spots: tuple[str, ...] = ()
    overhead: Overhead | None = None
    began_before: int = 0
    events: Mapping[str, int] = field(default_factory=dict)
    processes: tuple[ProcessCalls, ...] = ()
    watched: Watched | None = None
    slow_calls: SlowCalls | None = None
    id: str = field(default_factory=lambda: uuid4().hex)
    started_at: datetime = field(default_factory=_now)

    @property
    def calls(self) -> int:
        """Calls of all functions."""
        return sum(each.calls for each in self.functions)

    @property
    def loss_share(self) -> float:
        """Losses as a share of all that should have been measured, 0 .. 1; 1 where whole functions were not watched,
        since nobody knows how many calls these had."""
        lost = self.losses.total
        if self.losses.unwatched:
            return 1.0
        return lost / (self.calls + lost) if lost else 0.0
