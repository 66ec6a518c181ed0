"""Every query that is shipped or documented is one that Prometheus takes, and has an answer in what pylat says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml

from latency.agent import metrics as of_agent
from latency.agent.agent import Agent
from latency.agent.candidates import Candidate
from latency.agent.processes import Seen
from latency.export import metrics as of_recording
from latency.export.families import Family, Source, Table, families
from latency.recording import Function
from tests import dashboard
from tests.exported import everything, measured
from tests.lab import servers
from tests.promtool import accepted, evaluated, growing, promtool
from tests.servers import PROMETHEUSES

pytestmark = pytest.mark.xdist_group("promtool")

SHARED = Path(__file__).resolve().parents[2] / "share" / "pylat"
DOCS = SHARED.parents[1] / "docs"
ALERTS = SHARED / "alerts.yml"
HOURS, DAY = 2, 26
"""For so many hours there are series; for the second of them where a query compares with the day before."""
QUIET_MINUTES = 10
STUCK = Function("stuck", "/srv/app.py", 50)
UNKNOWN_TO_THE_AGENT = (of_recording.OPEN, of_recording.OLDEST_OPEN)
RULES = """
listen: 127.0.0.1:0
otlp: {endpoint: "http://127.0.0.1:1/"}
rules:
  - {name: shop, processes: {command: "*nothing*"}, functions: [handle]}
"""


def panels() -> Iterator[Mapping[str, Any]]:
    yield from json.loads((SHARED / "dashboard.json").read_text(encoding="utf-8"))["panels"]


def on_the_dashboard() -> list[str]:
    """The queries of all panels, with the words for which Grafana puts what is chosen."""
    chosen = {"$__rate_interval": "5m", '"$instance"': '".+"', '"$service"': '".+"', '"$function"': '".+"'}
    queries = [target["expr"] for panel in panels() for target in panel.get("targets", ())]
    for word, text in chosen.items():
        queries = [each.replace(word, text) for each in queries]
    return queries


def in_the_alerts() -> list[str]:
    rules = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    return [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


def in_the_docs() -> list[str]:
    """Those of all blocks that say they are PromQL; an empty line stands between two."""
    pages = [path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))]
    blocks = [block for page in pages for block in re.findall(r"(?ms)^```promql\n(.*?)^```", page)]
    return [each for block in blocks for each in block.split("\n\n")]


EVERYWHERE = {"dashboard": on_the_dashboard, "alerts": in_the_alerts, "docs": in_the_docs}


def own(folder: Path) -> list[Family]:
    """What an agent says of itself that measures one process of a rule, and cannot measure another."""
    path = folder / "agent.yaml"
    path.write_text(RULES)
    agent = Agent(path, {}, lambda _: None, StringIO())
    try:
        (rule,) = agent._config.rules
        for pid, state, reason in ((7, "measured", ""), (8, "refused", "unsupported_build")):
            seen = Seen(pid, pid, 1, "/usr/bin/python3", "nothing", 0, ())
            agent._fleet._candidates[rule.name, pid] = Candidate(rule, seen, state, reason)
        agent._fleet.failures[rule.name, "unsupported_build"] = 1
        table = Table()
        agent._own()(table)
        return table.families()
    finally:
        agent._fleet._candidates.clear()
        agent.end()
        agent.run()


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[Family]:
    """All that an agent can say."""
    run = everything()
    run = replace(run, functions=(*run.functions, measured(STUCK, [2_000_000] * 3)))
    found = families([Source(run, {"service": "shop"})], version="1")
    found = [each for each in found if each.metric not in (*UNKNOWN_TO_THE_AGENT, of_recording.BUILD)]
    return found + own(tmp_path_factory.mktemp("agent"))


def test_the_dashboard_is_the_one_that_its_program_writes() -> None:
    assert (SHARED / "dashboard.json").read_text(encoding="utf-8") == dashboard.text(), "python -m tests.dashboard"


def test_no_two_panels_of_the_dashboard_lie_upon_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        across, down = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        cells = {(x, y) for x in across for y in down}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(list(panels()))


@pytest.mark.parametrize("where", EVERYWHERE)
def test_each_metric_that_a_query_names_is_one_of_pylats(where: str) -> None:
    samples = [metric.sample for metric in (*of_recording.METRICS, *of_agent.METRICS)]
    histograms = [metric.sample for metric in of_recording.METRICS if metric.type == of_recording.HISTOGRAM]
    known = {*samples, *(f"{each}{end}" for each in histograms for end in ("_bucket", "_count", "_sum"))}
    named = {name for each in EVERYWHERE[where]() for name in re.findall(r"(?<![\w:])pylat_\w+", each)}
    assert named
    assert named <= known


@pytest.mark.parametrize("suite", PROMETHEUSES)
def test_each_query_is_accepted(suite: str, tmp_path: Path) -> None:
    accepted(tmp_path, suite, [each for queries in EVERYWHERE.values() for each in queries()])


@pytest.mark.parametrize(("where", "hours"), [("dashboard", HOURS), ("docs", HOURS), ("docs", DAY)])
def test_each_query_has_an_answer(where: str, hours: int, said: list[Family], tmp_path: Path) -> None:
    queries = [each for each in EVERYWHERE[where]() if (DAY if "offset 1d" in each else HOURS) == hours]
    assert queries
    names = {name for each in queries for name in re.findall(r"pylat_\w+", each)}
    there = [each for each in said if any(name.startswith(each.metric.sample) for name in names)]
    labels = {"job": "pylat", "instance": "10.0.0.1:9464"}
    series = growing(there, labels, hours * 60, STUCK.qualname, QUIET_MINUTES)
    wanted = [each for each in series if each["series"].partition("{")[0] in names]
    evaluated(tmp_path, servers.SUITE, wanted, hours * 60, queries)


@pytest.mark.parametrize("suite", PROMETHEUSES)
def test_the_alerts_are_rules_without_a_fault(suite: str) -> None:
    assert "SUCCESS" in promtool(suite, "check", "rules", ALERTS)


def test_each_alert_is_raised_when_it_should_be_and_else_is_not() -> None:
    assert "SUCCESS" in promtool(servers.SUITE, "test", "rules", Path(__file__).parents[1] / "alerts.yml")


def test_each_alert_has_a_test() -> None:
    rules = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    tested = yaml.safe_load((Path(__file__).parents[1] / "alerts.yml").read_text(encoding="utf-8"))["tests"]
    cases = [case for test in tested for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == alerts
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == alerts
