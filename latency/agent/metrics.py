"""What the agent says of itself, beside what it measured."""

from __future__ import annotations

from latency.export.metrics import COUNTER, GAUGE, Metric

TARGETS = Metric(
    "pylat_agent_targets",
    "pylat.agent.targets",
    GAUGE,
    "Processes that match a rule, without those that are measured as children of others",
    ("state",),
    counted="process",
)
UNMEASURED = Metric(
    "pylat_agent_unmeasured",
    "pylat.agent.unmeasured",
    GAUGE,
    "Those of them that cannot be measured, by the reason; they are tried again",
    ("reason",),
    counted="process",
)
FAILURES = Metric(
    "pylat_agent_failures",
    "pylat.agent.failures",
    COUNTER,
    "Measurements that could not begin, or broke off, by the reason",
    ("reason",),
    counted="failure",
)
MEASUREMENTS = Metric(
    "pylat_agent_measurements",
    "pylat.agent.measurements",
    COUNTER,
    "Processes whose measurement has begun, without those that are measured as children of others",
    counted="measurement",
)
LIMIT = Metric(
    "pylat_agent_limit_cpus",
    "pylat.agent.limit",
    GAUGE,
    "What measuring may cost now, of one CPU: the limits of all measurements together, infinite where one has none",
    counted="cpu",
)
BEYOND = Metric(
    "pylat_agent_functions_beyond_limit",
    "pylat.agent.functions_beyond_limit",
    GAUGE,
    "Functions that are counted as <others>, since the rule may have no more series",
    counted="function",
)
CONFIG_OK = Metric(
    "pylat_agent_config_ok",
    "pylat.agent.config_ok",
    GAUGE,
    "1, or 0 where the file was wrong when it was read last, and an older one holds",
)
SLOW_UNWRITTEN = Metric(
    "pylat_agent_slow_calls_unwritten",
    "pylat.agent.slow_calls_unwritten",
    COUNTER,
    "Slow calls that could not be written to the file for them",
    counted="call",
)
PUSHES = Metric(
    "pylat_agent_pushes",
    "pylat.agent.pushes",
    COUNTER,
    "Requests to the OTLP endpoint, by their outcome: accepted, refused, failed",
    ("outcome",),
    counted="request",
)
REFUSED_CONNECTIONS = Metric(
    "pylat_agent_connections_refused",
    "pylat.agent.connections_refused",
    COUNTER,
    "Connections that were more than are answered at once",
    counted="connection",
)
UNANSWERED = Metric(
    "pylat_agent_reads_unanswered",
    "pylat.agent.reads_unanswered",
    COUNTER,
    "Scrapes and pushes for which the measurements could not be read in time: a scrape was answered by status 503",
    counted="read",
)
CPU = Metric(
    "pylat_agent_cpu_seconds",
    "pylat.agent.cpu",
    COUNTER,
    "CPU time of the agent itself, without what the probes take in the targets",
    unit="seconds",
)
RESIDENT = Metric(
    "pylat_agent_memory_bytes",
    "pylat.agent.memory",
    GAUGE,
    "Resident memory of the agent",
    unit="bytes",
)

METRICS = (
    TARGETS,
    UNMEASURED,
    FAILURES,
    MEASUREMENTS,
    LIMIT,
    BEYOND,
    CONFIG_OK,
    SLOW_UNWRITTEN,
    PUSHES,
    REFUSED_CONNECTIONS,
    UNANSWERED,
    CPU,
    RESIDENT,
)
"""All of them."""
