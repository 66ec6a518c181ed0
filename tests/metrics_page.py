"""Writes the table of ``docs/metrics.md`` from ``latency.export.metrics``: ``python -m tests.metrics_page``."""

from __future__ import annotations

import re
from pathlib import Path

from latency.export.metrics import METRICS, Metric

PAGE = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"
_TABLE = re.compile(r"(?s)(?<=<!-- metrics -->\n\n).*?(?=\n\n<!-- end -->)")
_HEAD = "| metric | type | unit | labels | meaning | OpenTelemetry |\n|---|---|---|---|---|---|"


def row(metric: Metric) -> str:
    """Of one metric."""
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    otel = "" if metric.type == "info" else f"`{metric.otel}`, `{metric.ucum}`"
    return f"| `{metric.sample}` | {metric.type} | {metric.unit} | {labels} | {metric.meaning} | {otel} |"


def written(page: str) -> str:
    """The page with its table anew."""
    table = "\n".join([_HEAD, *map(row, METRICS)])
    return _TABLE.sub(lambda _: table, page)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
