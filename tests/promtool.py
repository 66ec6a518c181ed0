"""What metrics become in a Prometheus in which they grow for a while: for the tests of rules that promtool runs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from latency.export.families import Family, Point
from latency.export.grid import classic, exponential
from latency.export.metrics import COUNTER, HISTOGRAM
from latency.histogram import Histogram
from tests.servers import command

Series = list[dict[str, str]]
"""As promtool's test files have them."""


def promtool(suite: str, *words: object, text: str = "") -> str:
    """What it says; raises AssertionError with that where it is not content."""
    done = subprocess.run(
        [*command("promtool", suite), *map(str, words)], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def growing(
    families: Sequence[Family], labels: Mapping[str, str], minutes: int, quiet: str, quiet_minutes: int
) -> Series:
    """Each series with what it says added once a minute; of gauges always the same.

    Args:
        labels: of all of them.
        minutes: so long.
        quiet: a function that has no calls in the last of these minutes.
        quiet_minutes: so many.
    """
    found: Series = []
    for family in families:
        for point in family.points:
            own = {**labels, **dict(point.labels)}
            busy = minutes - quiet_minutes if own.get("function") == quiet else minutes
            for name, more, values in _samples(family, point, busy, minutes - busy):
                found.append({"series": name + _text({**own, **more}), "values": values})
    return found


def _samples(family: Family, point: Point, busy: int, quiet: int) -> Iterator[tuple[str, Mapping[str, str], str]]:
    name = family.metric.sample
    if family.metric.type == HISTOGRAM:
        assert isinstance(point.value, Histogram)
        yield name, {}, _native(point.value, busy, quiet)
        for bucket in classic(point.value):
            le = f"{bucket.bound_s:g}".replace("inf", "+Inf")
            yield f"{name}_bucket", {"le": le}, _counter(bucket.reached, busy, quiet)
        yield f"{name}_count", {}, _counter(point.value.count, busy, quiet)
        yield f"{name}_sum", {}, _counter(point.value.sum_ns / 1e9, busy, quiet)
    elif family.metric.type == COUNTER:
        yield name, {}, _counter(family.number(point), busy, quiet)
    else:
        yield name, {}, f"{_number(family.number(point))}x{busy + quiet}"


def _counter(step: int | float, busy: int, quiet: int) -> str:
    return f"0+{step!r}x{busy} {step * busy!r}x{quiet}" if quiet else f"0+{step!r}x{busy}"


def _native(histogram: Histogram, busy: int, quiet: int) -> str:
    none = "{{schema:4 count:0 sum:0}}"
    if not quiet:
        return f"{none}+{_histogram(histogram, 1)}x{busy}"
    # promtool takes nothing behind a histogram that grows
    return " ".join([none, *(_histogram(histogram, min(number, busy)) for number in range(1, busy + quiet + 1))])


def _histogram(histogram: Histogram, times: int) -> str:
    found = exponential(histogram)
    counts = " ".join(str(count * times) for count in found.counts.tolist())
    zero = f"z_bucket:{found.zero_count * times} " if found.zero_count else ""
    return (
        f"{{{{schema:{found.scale} count:{histogram.count * times} sum:{histogram.sum_ns / 1e9 * times!r} {zero}"
        f"offset:{found.offset} buckets:[{counts}]}}}}"
    )


def _number(value: int | float) -> str:
    return repr(value).replace("inf", "Inf")


def _text(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items()) + "}"


def evaluated(folder: Path, suite: str, series: Series, minutes: int, expressions: Sequence[str]) -> None:
    """Asks all of them at the end of that time; each has to have an answer that is more than NaN.

    Raises:
        AssertionError: promtool's complaint; it names the expressions that have none.
    """
    asked: list[dict[str, Any]] = [
        {
            "expr": f"count(({each}\n) > -Inf) > bool 0",
            "eval_time": f"{minutes}m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for each in expressions
    ]
    tests = [{"interval": "1m", "input_series": series, "promql_expr_test": asked}]
    path = folder / "queries.yml"
    path.write_text(json.dumps({"rule_files": [], "evaluation_interval": "1m", "tests": tests}))  # JSON is YAML
    promtool(suite, "test", "rules", path)


def accepted(folder: Path, suite: str, expressions: Sequence[str]) -> None:
    """Has it read all of them. Raises AssertionError: promtool's complaint."""
    rules = [{"record": f"question{number}", "expr": each} for number, each in enumerate(expressions)]
    path = folder / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "questions", "rules": rules}]}))
    promtool(suite, "check", "rules", path)
