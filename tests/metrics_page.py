"""Writes the tables of ``docs/metrics.md`` from the lists of metrics: ``python -m tests.metrics_page``."""

from __future__ import annotations

import re
from pathlib import Path

from latency.agent import metrics as agent
from latency.export import metrics as export
from latency.export.metrics import Metric

PAGE = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"
_TABLES = {"metrics": export.METRICS, "metrics of the agent": agent.METRICS}
_HEAD = "| metric | type | unit | labels | meaning | OpenTelemetry |\n|---|---|---|---|---|---|"


def row(metric: Metric) -> str:
    """Of one metric."""
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    otel = "" if metric.type == "info" else f"`{metric.otel}`, `{metric.ucum}`"
    return f"| `{metric.sample}` | {metric.type} | {metric.unit} | {labels} | {metric.meaning} | {otel} |"


def listed(page: str) -> set[tuple[str, str]]:
    """The name and the type of each metric of a page."""
    return set(re.findall(r"^\| `(pylat_\w+)` \| (\w+) \|", page, re.MULTILINE))


def written(page: str) -> str:
    """The page with its tables anew."""
    for name, metrics in _TABLES.items():
        table = "\n".join([_HEAD, *map(row, metrics)])
        pattern = rf"(?s)(?<=<!-- {name} -->\n\n).*?(?=\n\n<!-- end -->)"
        page, times = re.subn(pattern, lambda _, table=table: table, page)
        assert times == 1, f"the page has the table {name} {times} times"
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
