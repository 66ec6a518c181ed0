"""Grafana's dashboard of what ``pylat agent`` says, from the few lines of which each panel is made.

As a program it writes it anew: python -m tests.dashboard
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[1] / "share" / "pylat" / "dashboard.json"

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH, _HEIGHT = 24, 8  # of the whole, and of a panel, in Grafana's cells
_AGENT = 'instance=~"$instance"'
_RULE = f'{_AGENT}, service=~"$service"'
_FUNCTION = f'{_RULE}, function=~"$function"'
_BY = "service, function"
_DURATION = "pylat_function_duration_seconds"


@dataclass(frozen=True)
class Query:
    """A query of a panel: PromQL, and what each of its series is called."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """A panel: what it shows over time, or, with ``latest``, only the newest value.

    Attributes:
        unit: as Grafana calls it.
        about: what one should know of it.
        width: in cells.
    """

    title: str
    queries: Sequence[Query]
    unit: str = "short"
    about: str = ""
    width: int = 8
    latest: bool = False


def _rate(metric: str, where: str) -> str:
    return f"rate({metric}{{{where}}}[$__rate_interval])"


def _both(native: str, classic: str) -> list[Query]:
    """The same by native histograms, and by classic ones where a server has those alone."""
    return [Query(expression, "{{service}} {{function}}") for expression in (native, classic)]


def _quantile(q: float, metric: str = _DURATION) -> list[Query]:
    return _both(
        f"histogram_quantile({q}, sum by ({_BY}) ({_rate(metric, _FUNCTION)}))",
        f"histogram_quantile({q}, sum by (le, {_BY}) ({_rate(f'{metric}_bucket', _FUNCTION)}))",
    )


_RAISED = f"sum by ({_BY}) ({_rate('pylat_function_raised_total', _FUNCTION)})"
_NATIVE_CALLS = f"histogram_count(sum by ({_BY}) ({_rate(_DURATION, _FUNCTION)}))"
_CLASSIC_CALLS = f"sum by ({_BY}) ({_rate(f'{_DURATION}_count', _FUNCTION)})"

ROWS: dict[str, Sequence[Panel]] = {
    "Functions": (
        Panel("p50", _quantile(0.5), "s"),
        Panel("p90", _quantile(0.9), "s"),
        Panel("p99", _quantile(0.99), "s"),
        Panel("Calls", _both(_NATIVE_CALLS, _CLASSIC_CALLS), "cps"),
        Panel(
            "Share that ended by an exception",
            _both(f"{_RAISED} / {_NATIVE_CALLS}", f"{_RAISED} / {_CLASSIC_CALLS}"),
            "percentunit",
        ),
        Panel(
            "Time in calls",
            _both(
                f"histogram_sum(sum by ({_BY}) ({_rate(_DURATION, _FUNCTION)}))",
                f"sum by ({_BY}) ({_rate(f'{_DURATION}_sum', _FUNCTION)})",
            ),
            about="Seconds of calls in each second: so many calls run at once, on the average.",
        ),
        Panel(
            "Where the time goes",
            [
                Query(
                    f"sum by (service, part) ({_rate('pylat_function_part_seconds_total', _FUNCTION)})",
                    "{{service}} {{part}}",
                )
            ],
            about="Of rules with offcpu: true.",
        ),
        Panel("p99 of what generators and coroutines ran", _quantile(0.99, "pylat_function_active_seconds"), "s"),
        Panel(
            "No call has ended for five minutes",
            _both(
                f"histogram_count(sum by ({_BY}) (increase({_DURATION}{{{_FUNCTION}}}[1h]))) > 0 "
                f"unless histogram_count(sum by ({_BY}) (increase({_DURATION}{{{_FUNCTION}}}[5m]))) > 0",
                f"sum by ({_BY}) (increase({_DURATION}_count{{{_FUNCTION}}}[1h])) > 0 "
                f"unless sum by ({_BY}) (increase({_DURATION}_count{{{_FUNCTION}}}[5m])) > 0",
            ),
            about="How many did in the hour: the function is not called any more, or its calls hang.",
        ),
    ),
    "The agents": (
        Panel(
            "Processes by state",
            [Query(f"sum by (service, state) (pylat_agent_targets{{{_RULE}}})", "{{service}} {{state}}")],
        ),
        Panel(
            "Processes that cannot be measured",
            [
                Query(
                    f"sum by (instance, service, reason) (pylat_agent_unmeasured{{{_RULE}}})",
                    "{{instance}} {{service}}: {{reason}}",
                )
            ],
        ),
        Panel(
            "Measurements that failed",
            [
                Query(
                    f"sum by (service, reason) (increase(pylat_agent_failures_total{{{_RULE}}}[$__rate_interval]))",
                    "{{service}}: {{reason}}",
                )
            ],
        ),
        Panel(
            "What the probes cost the services",
            [
                Query(f"sum by (service) ({_rate('pylat_probe_time_seconds_total', _RULE)})", "{{service}}"),
                Query(f"sum by (service) (pylat_agent_limit_cpus{{{_RULE}}}) < Inf", "{{service}}, limit"),
            ],
            "percentunit",
            about="Of one CPU.",
        ),
        Panel(
            "What the agents take",
            [Query(_rate("pylat_agent_cpu_seconds_total", _AGENT), "{{instance}}")],
            "percentunit",
            about="Of one CPU.",
        ),
        Panel(
            "Share of the time that is watched",
            [
                Query(
                    f"sum by (service) ({_rate('pylat_watched_seconds_total', _RULE)}) "
                    f"/ sum by (service) ({_rate('pylat_measured_seconds_total', _RULE)})",
                    "{{service}}",
                )
            ],
            "percentunit",
            about="Below 1 the limit of the cost is kept by watching in slices.",
        ),
        Panel(
            "Lost events",
            [
                Query(
                    f"sum by (service, reason) ({_rate('pylat_lost_events_total', _RULE)})",
                    "{{service}}: {{reason}}",
                )
            ],
            "cps",
        ),
        Panel(
            "Reads that were not answered, connections refused, slow calls unwritten",
            [
                Query(
                    f"sum by (instance) (increase(pylat_agent_{name}_total{{{_AGENT}}}[$__rate_interval]))",
                    f"{{{{instance}}}}: {name.replace('_', ' ')}",
                )
                for name in ("reads_unanswered", "connections_refused", "slow_calls_unwritten")
            ],
        ),
        Panel(
            "OTLP requests by outcome",
            [
                Query(
                    f"sum by (instance, outcome) (increase(pylat_agent_pushes_total{{{_AGENT}}}[$__rate_interval]))",
                    "{{instance}}: {{outcome}}",
                )
            ],
        ),
        Panel("Memory of the agents", [Query(f"pylat_agent_memory_bytes{{{_AGENT}}}", "{{instance}}")], "bytes"),
        Panel(
            "Functions that are counted as others",
            [Query(f"sum by (service) (pylat_agent_functions_beyond_limit{{{_RULE}}})", "{{service}}")],
            about="A rule may have so many series as its max_functions says.",
        ),
        Panel(
            "Whose file is right",
            [Query(f"pylat_agent_config_ok{{{_AGENT}}}", "{{instance}}")],
            "bool_yes_no",
            width=4,
            latest=True,
        ),
        Panel("Versions", [Query(f"pylat_build_info{{{_AGENT}}}", "{{instance}}: {{version}}")], width=4, latest=True),
    ),
}


def dashboard() -> dict[str, Any]:
    """As Grafana imports it."""
    return {
        "title": "pylat",
        "uid": "pylat",
        "description": "Latency of Python functions, measured by pylat agent",
        "tags": ["pylat", "python"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": list(_variables())},
        "panels": list(_panels()),
    }


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    asked = (
        ("instance", "Agent", "pylat_build_info"),
        ("service", "Service", f"pylat_agent_targets{{{_AGENT}}}"),
        ("function", "Function", f"pylat_function_raised_total{{{_RULE}}}"),
    )
    for name, label, series in asked:
        yield {
            "name": name,
            "label": label,
            "type": "query",
            "datasource": _SOURCE,
            "query": {"query": f"label_values({series}, {name})", "refId": name},
            "refresh": 2,  # when the time range changes
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".+",
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        }


def _panels() -> Iterator[dict[str, Any]]:
    number, below = 0, 0
    for row, panels in ROWS.items():
        number += 1
        yield {"id": number, "type": "row", "title": row, "gridPos": _place(0, below, _WIDTH, 1), "panels": []}
        left, below = 0, below + 1
        for panel in panels:
            if left + panel.width > _WIDTH:
                left, below = 0, below + _HEIGHT
            number += 1
            yield {"id": number, "gridPos": _place(left, below, panel.width, _HEIGHT), **_panel(panel)}
            left += panel.width
        below += _HEIGHT


def _place(left: int, below: int, width: int, height: int) -> dict[str, int]:
    return {"x": left, "y": below, "w": width, "h": height}


def _panel(panel: Panel) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "stat" if panel.latest else "timeseries",
        "title": panel.title,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": _SOURCE,
                "expr": each.expression,
                "legendFormat": each.legend,
                **({"instant": True} if panel.latest else {}),
            }
            for number, each in enumerate(panel.queries)
        ],
    }
    if panel.about:
        found["description"] = panel.about
    if panel.latest and panel.title == "Versions":
        found["options"] = {"textMode": "name"}
    return found


def text() -> str:
    """What is in the file."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(text(), encoding="utf-8")
