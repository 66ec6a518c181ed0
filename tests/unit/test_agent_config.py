"""The agent's file: what is wrong in it is told with its line and its key."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from latency.agent.config import Config, read
from latency.cli import main
from latency.errors import ConfigError

LEAST = """
rules:
  - name: shop
    processes: {executable: "*/python3*"}
    functions: [handle_request]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rules.yaml"


def config(file: Path, text: str, **environ: str) -> Config:
    file.write_text(text)
    return read(file, environ)


def test_what_is_not_said_has_a_careful_default(file: Path) -> None:
    found = config(file, LEAST)
    assert (found.host, found.port) == ("127.0.0.1", 9464)
    assert (found.process_pct, found.machine_pct) == (5.0, inf)
    assert found.push is None
    assert found.slow_log == ""
    (rule,) = found.rules
    assert (rule.name, rule.processes.executable, rule.options.func) == ("shop", "*/python3*", ("handle_request",))
    assert rule.options.children
    assert rule.options.engine == "auto"
    assert not rule.options.show_secrets
    assert rule.labels == ()


def test_everything_can_be_said(file: Path) -> None:
    found = config(
        file,
        """
listen: "[::1]:9999"
budget: {process: none, machine: 20}
slow_log: "-"
ended_s: 60
scale: 2
otlp:
  endpoint: https://collector:4318/v1/metrics
  interval_s: 15
  timeout_s: 2.5
  temporality: delta
  scale: 3
  headers: {Authorization: Bearer x}
rules:
  - name: shop
    processes: {executable: a*, command: b*, user: www-data, cgroup: "*/shop.service", parent: 42}
    functions: [get, "Api.*"]
    regex: yes
    engine: handlers
    max_overhead: 2.5
    labels: [pid, unit, container, pod]
    max_functions: 10
    slower: p99
    slowest: 3
    values: false
    offcpu: true
    self: true
""",
    )
    assert (found.host, found.port, found.process_pct, found.machine_pct) == ("::1", 9999, inf, 20.0)
    assert found.push
    assert (found.push.interval_s, found.push.timeout_s, found.push.delta, found.push.scale) == (15.0, 2.5, True, 3)
    assert found.push.headers == {"Authorization": "Bearer x"}
    (rule,) = found.rules
    assert (rule.max_overhead_pct, rule.max_functions, rule.labels) == (2.5, 10, ("pid", "unit", "container", "pod"))
    options = rule.options
    assert (options.regex, options.engine, options.slower, options.slowest) == (True, "handlers", "p99", 3)
    assert (options.values, options.offcpu, options.self_time) == (False, True, True)
    assert (rule.processes.user, rule.processes.cgroup, rule.processes.parent) == ("www-data", "*/shop.service", 42)


def test_the_environment_stands_above_the_file(file: Path) -> None:
    found = config(
        file,
        "listen: 0.0.0.0:1\n" + LEAST,
        PYLAT_AGENT_LISTEN="127.0.0.1:2",
        PYLAT_AGENT_OTLP_ENDPOINT="http://collector/v1/metrics",
        PYLAT_AGENT_OTLP_HEADERS="Authorization=Bearer%20x=y, X-Scope=shop",
        PYLAT_AGENT_BUDGET_PROCESS="1",
        PYLAT_AGENT_BUDGET_MACHINE="7",
    )
    assert (found.host, found.port) == ("127.0.0.1", 2)
    assert found.push
    assert found.push.endpoint == "http://collector/v1/metrics"
    assert found.push.headers == {"Authorization": "Bearer x=y", "X-Scope": "shop"}
    assert (found.process_pct, found.machine_pct) == (1.0, 7.0)


@pytest.mark.parametrize(
    ("variable", "text", "what"),
    [
        ("PYLAT_AGENT_LISTEN", "garbage", "'garbage' is no address"),
        ("PYLAT_AGENT_OTLP_ENDPOINT", "collector:4318", "'collector:4318' is no URL"),
        ("PYLAT_AGENT_BUDGET_MACHINE", "much", "'much' is no number from 0 on"),
        ("PYLAT_AGENT_OTLP_HEADERS", "secret", "here should be key=value,key=value"),
    ],
)
def test_what_is_wrong_in_the_environment_is_not_said_of_the_file(
    file: Path, variable: str, text: str, what: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        config(file, LEAST, **{"PYLAT_AGENT_OTLP_ENDPOINT": "http://collector/", variable: text})
    assert str(raised.value) == f"{variable} in the environment: {what}"


RULE = 'rules:\n  - name: shop\n    processes: {executable: "*"}\n    functions: [f]\n'


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", "1", "here should be keys with values"),
        ("- a\n", "1", "here should be keys with values"),
        ("a: [\n", "2", "expected the node content"),
        ("a: \t- b: c: d\n", "1", ""),
        ("listen: 9464\n" + RULE, "1: listen", "'9464' is no address"),
        ("lissen: x\n" + RULE, "1: lissen", "there is no such key"),
        ("listen: a:1\nlisten: b:2\n" + RULE, "2: listen", "this key stands here twice"),
        ("budget: {process: 0}\n" + RULE, "1: budget.process", "0 leaves nothing to measure with"),
        ("budget: {process: much}\n" + RULE, "1: budget.process", "'much' is no number"),
        ("budget: [1]\n" + RULE, "1: budget", "here should be keys with values"),
        ("scale: 9\n" + RULE, "1: scale", "'9' is no whole number from 0 to 4"),
        ("otlp: {interval_s: 5}\n" + RULE, "1: otlp.endpoint", "this key is missing"),
        ("otlp: {endpoint: collector}\n" + RULE, "1: otlp.endpoint", "'collector' is no URL"),
        ("otlp:\n  endpoint: http://a\n  temporality: x\n" + RULE, "3: otlp.temporality", "'x' is none of these"),
        ("rules:\n", "1: rules", "there are no rules"),
        ("rules: {a: b}\n", "1: rules", "here should be a list"),
        ("rules:\n  - name: a\n", "2: rules[0].processes", "a rule says nothing of its processes"),
        ("rules:\n  - processes: {user: a}\n    functions: [f]\n", "2: rules[0].name", "this key is missing"),
        ("rules:\n  - name: a\n    processes: {user: b}\n", "2: rules[0].functions", "a rule has no functions"),
        (RULE + "    slower: soon\n", "5: rules[0].slower", "'soon' is no threshold"),
        (RULE + "    engine: fast\n", "5: rules[0].engine", "'fast' is none of these"),
        (RULE + "    regex: perhaps\n", "5: rules[0].regex", "'perhaps' is neither true nor false"),
        (RULE + "    labels: [pid, colour]\n", "5: rules[0].labels[1]", "'colour' is none of these"),
        (RULE + "    func: [f]\n", "5: rules[0].func", "there is no such key"),
        (RULE.replace("[f]", "['(']\n    regex: true"), "4: rules[0].functions", "is no regular expression"),
        (RULE.replace("[f]", "[[f]]"), "4: rules[0].functions[0]", "here should be one word"),
        (RULE + RULE.partition("\n")[2], "5: rules[1].name", "two rules are called 'shop'"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_its_key(file: Path, text: str, where: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(file, text)
    line, _, key = where.partition(": ")
    assert str(caught.value).startswith(f"{file}:{line}: {key}" if key else f"{file}:{line}:")
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_a_file_that_is_none_is_told(file: Path, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigError, match="cannot read"):
            read(path, {})
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read(file, {})
    file.write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        read(file, {})


def test_anchors_that_grow_without_end_are_never_unfolded(file: Path) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 64)]
    with pytest.raises(ConfigError, match="there is no such key"):
        config(file, "\n".join(lines) + "\n" + RULE)


def test_a_mapping_within_itself_is_told(file: Path) -> None:
    with pytest.raises(ConfigError):
        config(file, "budget: &a {process: *a}\n" + RULE)


def test_the_command_checks_a_file_and_attaches_nothing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(LEAST)
    assert main(["agent", "--config", str(file), "--check"]) == 0
    assert "shop: " in capsys.readouterr().out
    file.write_text(LEAST.replace("functions", "function"))
    assert main(["agent", "--config", str(file), "--check"]) == 2
    assert "rules[0].function: there is no such key" in capsys.readouterr().err
