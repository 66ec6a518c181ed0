"""The metrics that pylat exports: what each is called, what it says, in which unit, by which labels.

``docs/metrics.md`` says the same to people, and a test compares the two with what is written.
"""

from __future__ import annotations

from dataclasses import dataclass

COUNTER, GAUGE, HISTOGRAM, INFO = "counter", "gauge", "histogram", "info"

_SUFFIXES = {COUNTER: "_total", INFO: "_info"}
_UCUM = {"seconds": "s", "bytes": "By"}


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: as OpenMetrics calls the family: without the ``_total`` or ``_info`` of its samples.
        otel: as OpenTelemetry calls it.
        type: ``COUNTER``, ``GAUGE``, ``HISTOGRAM`` or ``INFO``.
        meaning: a sentence, without a full stop.
        labels: their names.
        unit: ``"seconds"`` or ``"bytes"``, with which the name ends; or ``""``.
        counted: what one without a unit counts, in the singular.
        greatest: of several values the greatest is taken, and not their sum.
    """

    name: str
    otel: str
    type: str
    meaning: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    counted: str = "1"
    greatest: bool = False

    @property
    def sample(self) -> str:
        """As a query calls it."""
        return self.name + _SUFFIXES.get(self.type, "")

    @property
    def ucum(self) -> str:
        """The unit, as OpenTelemetry writes it."""
        return _UCUM.get(self.unit) or (self.counted if self.counted == "1" else f"{{{self.counted}}}")


_FUNCTION = ("function", "file", "line", "kind")

DURATION = Metric(
    "pylat_function_duration_seconds",
    "pylat.function.duration",
    HISTOGRAM,
    "Time from the entry to the end of each call, without what the probes took",
    _FUNCTION,
    "seconds",
)
ACTIVE = Metric(
    "pylat_function_active_seconds",
    "pylat.function.active",
    HISTOGRAM,
    "Of each call of a generator or coroutine, the time in which it ran",
    _FUNCTION,
    "seconds",
)
SELF = Metric(
    "pylat_function_self_seconds",
    "pylat.function.self",
    HISTOGRAM,
    "Of each call, the time outside of the other measured calls of its thread",
    _FUNCTION,
    "seconds",
)
RAISED = Metric(
    "pylat_function_raised",
    "pylat.function.raised",
    COUNTER,
    "Calls that ended by an exception; they are among those of the durations",
    _FUNCTION,
    counted="call",
)
ABANDONED = Metric(
    "pylat_function_abandoned",
    "pylat.function.abandoned",
    COUNTER,
    "Generators and coroutines that were closed or collected while suspended: no latency",
    _FUNCTION,
    counted="call",
)
SUSPENSIONS = Metric(
    "pylat_function_suspensions",
    "pylat.function.suspensions",
    COUNTER,
    "How often generators and coroutines yielded or awaited",
    _FUNCTION,
    counted="suspension",
)
CUT = Metric(
    "pylat_function_cut",
    "pylat.function.cut",
    COUNTER,
    "Calls that ran when the probes were taken away for a time: no latency",
    _FUNCTION,
    counted="call",
)
PART = Metric(
    "pylat_function_part_seconds",
    "pylat.function.part",
    COUNTER,
    "Where the time of the calls went: running, waiting, runnable, gc, suspended",
    (*_FUNCTION, "part"),
    "seconds",
)
PROBES = Metric(
    "pylat_function_probe_seconds",
    "pylat.function.probe",
    COUNTER,
    "What the probes took while the calls ran: it is taken off their durations",
    _FUNCTION,
    "seconds",
)
OPEN = Metric(
    "pylat_function_open", "pylat.function.open", GAUGE, "Calls that have not ended", _FUNCTION, counted="call"
)
OLDEST_OPEN = Metric(
    "pylat_function_oldest_open_seconds",
    "pylat.function.oldest_open",
    GAUGE,
    "How long the oldest of the calls that have not ended had been running",
    _FUNCTION,
    "seconds",
    greatest=True,
)
EVENTS = Metric(
    "pylat_events",
    "pylat.events",
    COUNTER,
    "Hits of single USDT markers",
    ("event", "file", "line"),
    counted="event",
)
LOST = Metric(
    "pylat_lost_events",
    "pylat.lost_events",
    COUNTER,
    "Events that were seen and could not be measured",
    ("reason",),
    counted="event",
)
BEGAN_BEFORE = Metric(
    "pylat_began_before",
    "pylat.began_before",
    COUNTER,
    "Calls that ran already when pylat came, and were seen to end: no latency",
    counted="call",
)
SLOW = Metric(
    "pylat_slow_calls", "pylat.slow_calls", COUNTER, "Calls that were slower than was asked for", counted="call"
)
SLOW_LOST = Metric(
    "pylat_slow_calls_lost",
    "pylat.slow_calls.lost",
    COUNTER,
    "Those of them that could not be told one by one",
    counted="call",
)
MEASURED = Metric(
    "pylat_measured_seconds", "pylat.measured", COUNTER, "How long was measured, all targets together", unit="seconds"
)
WATCHED = Metric(
    "pylat_watched_seconds",
    "pylat.watched",
    COUNTER,
    "For how long of that the probes were in place",
    unit="seconds",
)
HITS = Metric("pylat_probe_hits", "pylat.probe.hits", COUNTER, "How often a probe fired", counted="hit")
COST = Metric(
    "pylat_probe_time_seconds",
    "pylat.probe.time",
    COUNTER,
    "What the probes took of the targets' CPU time",
    unit="seconds",
)
MEMORY = Metric(
    "pylat_memory_bytes", "pylat.memory", GAUGE, "Resident memory of pylat itself", unit="bytes", greatest=True
)
MAPS = Metric("pylat_map_memory_bytes", "pylat.map_memory", GAUGE, "Memory of pylat's BPF maps", unit="bytes")
TARGET = Metric(
    "pylat_target",
    "pylat.target",
    INFO,
    "What was measured, and how",
    ("python", "build_id", "executable", "engine", "kernel", "machine"),
)
BUILD = Metric("pylat_build", "pylat.build", INFO, "The pylat that says this", ("version",))

METRICS = (
    *(DURATION, ACTIVE, SELF, RAISED, ABANDONED, SUSPENSIONS, CUT, PART, PROBES, OPEN, OLDEST_OPEN, EVENTS),
    *(LOST, BEGAN_BEFORE, SLOW, SLOW_LOST, MEASURED, WATCHED, HITS, COST, MEMORY, MAPS, TARGET, BUILD),
)
"""All that a recording becomes, in the order in which they are written."""

_ATTRIBUTES = {
    "function": "code.function.name",
    "file": "code.file.path",
    "line": "code.line.number",
    "pid": "process.pid",
    "tid": "thread.id",
    "container": "container.id",
    "service": "service.name",
}


def attribute(label: str) -> str:
    """What OpenTelemetry calls a label."""
    return _ATTRIBUTES.get(label, f"pylat.{label}")
