"""``pylat agent`` on a real gunicorn, whose workers write down themselves what they do."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from latency.tracing.kernel.multi import PROCESSES, links
from tests import metrics_page
from tests.agents import RunningAgent, agent
from tests.prometheus_messages import families
from tests.requirements import require
from tests.servers import PATIENCE_S, Prometheus, command, free_port, prometheus, until, victoria_metrics
from tests.target_program import TARGETS

pytestmark = pytest.mark.xdist_group("breakpoints")

METRIC = "pylat_function_duration_seconds"
WORKERS, CLIENTS, REQUESTS = 4, 6, 60
NATIVE = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"


@dataclass
class Gunicorn:
    """A server that runs, and what it wrote down."""

    master: subprocess.Popen[bytes]
    port: int
    logs: Path

    def load(self, requests: int = REQUESTS) -> None:
        """So many requests by each client, all answered."""
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(self._client, range(CLIENTS), [requests] * CLIENTS))

    def _client(self, client: int, requests: int) -> None:
        for number in range(client * requests, (client + 1) * requests):
            assert until(lambda number=number: self._ask(number), "an answer", self.master) == 200

    def _ask(self, number: int) -> int | None:
        """None where the worker had its last request before: it was not taken."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request("GET", f"/{number}")
            return connection.getresponse().status
        except (OSError, HTTPException):
            return None
        finally:
            connection.close()

    @property
    def calls(self) -> list[tuple[str, int]]:
        """How each call of ``handle`` ended, and how long it took, nanoseconds."""
        lines = [line.split() for log in self.logs.glob("*.log") for line in log.read_text().splitlines()]
        return [(how, int(took_ns)) for how, took_ns in lines]

    @property
    def workers(self) -> int:
        """How many there have been that answered."""
        return len(list(self.logs.glob("*.log")))


@contextmanager
def gunicorn(folder: Path, *options: str) -> Iterator[Gunicorn]:
    """gunicorn with sync workers; it answers."""
    require(importlib.util.find_spec("gunicorn"), "gunicorn is not installed (script/setup --tests)")
    logs = folder / "logs"
    logs.mkdir(parents=True)
    shutil.copy(TARGETS / "logging_workers.py", folder)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)
        command = [sys.executable, "-m", "gunicorn", "-w", str(WORKERS), "-b", f"fd://{listener.fileno()}", *options]
        command += ["--log-level", "error", "--chdir", str(folder), "logging_workers:application"]
        environ = {**os.environ, "PYLAT_LOGS": str(logs)}
        with subprocess.Popen(command, cwd=folder, env=environ, pass_fds=[listener.fileno()]) as master:
            server = Gunicorn(master, listener.getsockname()[1], logs)
            try:
                server.load(1)
                for log in logs.glob("*.log"):
                    log.unlink()
                yield server
            finally:
                master.terminate()


def write_rules(folder: Path, port: int, *, functions: str = "logging_workers:handle", more: str = "") -> Path:
    """A file of one rule, for the gunicorns that run in the folder or below; it may cost what it costs."""
    path = folder / "rules.yaml"
    path.write_text(
        f"listen: 127.0.0.1:{port}\nbudget: {{process: none}}\nslow_log: {folder}/slow.jsonl\n{more}\n"
        "rules:\n"
        "  - name: shop\n"
        f'    processes: {{command: "*gunicorn*{folder}*"}}\n'
        f'    functions: ["{functions}"]\n'
        "    slower: 20ms\n"
    )
    return path


@dataclass
class Scenario:
    """What was seen of a load on workers that were replaced meanwhile, by everybody."""

    calls: list[tuple[str, int]]
    workers: int
    agent: RunningAgent
    prometheus: Prometheus
    victoria: Prometheus
    slow_log: Path


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenario]:
    folder = tmp_path_factory.mktemp("agent")
    port = free_port()
    places = [folder / name for name in ("prometheus", "victoria")]
    for place in places:
        place.mkdir()
    with (
        victoria_metrics(places[1]) as (victoria, endpoint),
        gunicorn(folder, "--max-requests", "40") as server,
        agent(write_rules(folder, port, more=f"otlp: {{endpoint: {endpoint}, interval_s: 1}}"), port) as running,
        prometheus("own", places[0], {"agent": (port, ["/metrics"])}, "native-histograms,exemplar-storage") as scraping,
    ):
        until(lambda: scraping.query(METRIC) or None, "the empty histogram is scraped")
        server.load()
        calls = server.calls
        running.wait(f"{METRIC}_count", len(calls))
        until(lambda: scraping.query(f"histogram_count({METRIC}) == {len(calls)}") or None, "it is scraped")
        until(lambda: victoria.query(f"sum({METRIC}_count) == {len(calls)}", nocache="1") or None, "it is pushed")
        yield Scenario(calls, server.workers, running, scraping, victoria, folder / "slow.jsonl")


def test_each_call_of_workers_that_are_replaced_is_counted(scenario: Scenario) -> None:
    assert scenario.workers > WORKERS
    assert len(scenario.calls) == CLIENTS * REQUESTS
    assert scenario.agent.value(f"{METRIC}_count", function="handle", service="shop") == len(scenario.calls)
    raised = sum(how == "raised" for how, _ in scenario.calls)
    assert scenario.agent.value("pylat_function_raised_total", function="handle") == raised
    assert scenario.agent.value("pylat_lost_events_total") == 0
    assert scenario.agent.value("pylat_began_before_total") == 0


def test_a_pre_forking_server_is_one_measurement(scenario: Scenario) -> None:
    assert scenario.agent.value("pylat_agent_targets", state="measured") == 1
    assert scenario.agent.value("pylat_agent_targets") == 1


@pytest.mark.parametrize("q", [0.5, 0.9, 0.99])
def test_the_quantile_of_a_rate_is_that_of_the_agents_calls_within_a_bucket(scenario: Scenario, q: float) -> None:
    """Between two calls far apart a server may interpolate as it likes: figures, and how near they come to the workers'
    own logs, are those of script/fleet."""
    native = families(scenario.agent.page(NATIVE))[METRIC].metric[0].histogram
    buckets = [first + number for first, span in placed(native) for number in range(span.length)]
    cumulated = np.cumsum(np.cumsum(list(native.positive_delta)))
    rank = q * cumulated[-1]
    least, most = (buckets[int(np.searchsorted(cumulated, rank + more))] for more in (-1, 1))
    allowed = 2 ** ((least - 2) / 2**native.schema), 2 ** ((most + 1) / 2**native.schema)
    scraped = scenario.prometheus.number(f"histogram_quantile({q}, sum(rate({METRIC}[1h])))")
    pushed = scenario.victoria.number(f"histogram_quantile({q}, sum by (vmrange) ({METRIC}_bucket))", nocache="1")
    assert allowed[0] <= scraped <= allowed[1]
    assert allowed[0] <= pushed <= allowed[1]


def placed(native: Any) -> Iterator[tuple[int, Any]]:
    """Each span of a native histogram with the number of its first bucket: a span's offset is from the last one's end
    (io.prometheus.client.BucketSpan)."""
    at = 0
    for span in native.positive_span:
        at += span.offset
        yield at, span
        at += span.length


def test_all_formats_say_the_same(scenario: Scenario) -> None:
    native = families(scenario.agent.page(NATIVE))[METRIC].metric[0].histogram
    assert native.sample_count == len(scenario.calls)
    assert sum(span.length for span in native.positive_span) > 0
    assert scenario.agent.page("application/openmetrics-text").endswith(b"# EOF\n")


def test_slow_calls_are_written_line_by_line(scenario: Scenario) -> None:
    lines = [json.loads(line) for line in scenario.slow_log.read_text().splitlines()]
    assert lines
    assert {line["service"] for line in lines} == {"shop"}
    assert {line["qualname"] for line in lines} == {"handle"}
    assert min(line["duration_ns"] for line in lines) > 20_000_000


def test_slow_calls_reach_prometheus_as_exemplars(scenario: Scenario) -> None:
    """Of each classic bucket the longest, to 2.42; each is one of the calls that were written down."""
    slow = [json.loads(line) for line in scenario.slow_log.read_text().splitlines()]
    found = scenario.prometheus.api("query_exemplars", query=METRIC, start="0", end="9999999999")
    found += scenario.prometheus.api("query_exemplars", query=f"{METRIC}_bucket", start="0", end="9999999999")
    told = [each for series in found for each in series["exemplars"]]
    known = {(str(call["pid"]), str(call["tid"]), call["duration_ns"] / 1e9) for call in slow}
    assert told
    assert {(it["labels"]["pid"], it["labels"]["tid"], float(it["value"])) for it in told} <= known


def test_the_page_of_metrics_lists_what_the_agent_says_of_itself(scenario: Scenario, repository: Path) -> None:
    page = (repository / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = {(name, kind) for name, kind in metrics_page.listed(page) if name.startswith("pylat_agent_")}
    found = text_string_to_metric_families(scenario.agent.page().decode())
    said = {(sample.name, family.type) for family in found for sample in family.samples}
    troubles = {("pylat_agent_unmeasured", "gauge"), ("pylat_agent_failures_total", "counter")}
    assert {(name, kind) for name, kind in said if name.startswith("pylat_agent_")} | troubles == rows


def test_promtool_has_no_complaint_about_the_agents_page(scenario: Scenario) -> None:
    words = [*command("promtool", "own"), "check", "metrics"]
    done = subprocess.run(words, input=scenario.agent.page(), capture_output=True, check=False)
    assert (done.stdout + done.stderr).decode() == ""


def test_the_file_is_read_again_and_a_wrong_one_changes_nothing(tmp_path: Path) -> None:
    port = free_port()
    with gunicorn(tmp_path) as server, agent(path := write_rules(tmp_path, port), port) as running:
        server.load(5)
        running.wait(f"{METRIC}_count", 5 * CLIENTS, function="handle")
        began_s = created_s(running)
        right = path.read_text()
        path.write_text(right.replace("    slower: 20ms", "    slower: soon"))
        running.reload()
        running.wait("pylat_agent_config_ok", 0)
        assert f"{path}:9: rules[0].slower: 'soon' is no threshold" in running.said
        assert running.value(f"{METRIC}_count", function="handle") == 5 * CLIENTS
        path.write_text(right + '  - {name: other, processes: {command: "*nothing*"}, functions: [handle]}\n')
        running.reload()
        running.wait("pylat_agent_config_ok", 1)
        assert created_s(running) == began_s
        server.load(5)
        running.wait(f"{METRIC}_count", 10 * CLIENTS, function="handle")
        path.write_text(right.replace("slower: 20ms", "slower: 10ms"))
        running.reload()
        until(lambda: True if running.value(f"{METRIC}_count", function="handle") == 0 else None, "begun anew")
        assert created_s(running) > began_s
        path.write_text(right.replace("logging_workers:handle", "logging_workers:application"))
        running.reload()
        until(lambda: True if running.value(f"{METRIC}_count", function="handle") is None else None, "begun anew")
        running.wait("pylat_agent_targets", 1, state="measured")
        server.load(5)
        running.wait(f"{METRIC}_count", 5 * CLIENTS, function="application")
        assert running.end() == 0
        server.load(1)


def created_s(running: RunningAgent) -> float:
    """Since when the calls of ``handle`` are counted: a receiver knows by it that they began anew."""
    found = families(running.page(NATIVE))[METRIC].metric
    (stamp,) = [
        each.histogram.created_timestamp
        for each in found
        if ("function", "handle") in [(label.name, label.value) for label in each.label]
    ]
    return float(stamp.seconds + stamp.nanos / 1e9)


def test_where_it_listens_and_writes_can_be_changed_while_it_runs(tmp_path: Path) -> None:
    port, other_port = free_port(), free_port()
    with gunicorn(tmp_path) as server, agent(path := write_rules(tmp_path, port), port) as running:
        server.load(5)
        running.wait(f"{METRIC}_count", 5 * CLIENTS, function="handle")
        (tmp_path / "slow.jsonl").unlink()
        path.write_text(write_rules(tmp_path, other_port).read_text().replace("slow.jsonl", "slower.jsonl"))
        running.reload()
        running.port = other_port
        until(lambda: running.status("/readyz"), "the other address answers", running.process)
        server.load(20)
        running.wait(f"{METRIC}_count", 25 * CLIENTS, function="handle")
        assert running.end() == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
    assert any(took_ns > 21_000_000 for _, took_ns in server.calls)
    assert (tmp_path / "slower.jsonl").read_text().count("\n") > 0
    assert not (tmp_path / "slow.jsonl").exists()


def test_a_shell_that_becomes_a_python_is_measured(tmp_path: Path) -> None:
    port = free_port()
    path = tmp_path / "rules.yaml"
    path.write_text(
        f"listen: 127.0.0.1:{port}\nbudget: {{process: none}}\nrules:\n  - name: shop\n"
        f'    processes: {{command: "*{tmp_path}*"}}\n    functions: ["__main__:handled"]\n'
    )
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\ndef handled(): pass\n"
        "for line in sys.stdin:\n    for _ in range(int(line)): handled()\n    print(flush=True)\n"
    )
    command = ["sh", "-c", f"read go; exec {sys.executable} {program}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        with agent(path, port) as running:
            running.wait("pylat_agent_unmeasured", 1, reason="not_cpython")
            print(file=process.stdin, flush=True)
            running.wait("pylat_agent_targets", 1, state="measured")
            print(500, file=process.stdin, flush=True)
            process.stdout.readline()
            running.wait(f"{METRIC}_count", 500, function="handled")
            process.stdin.close()


def test_what_cannot_be_measured_is_a_metric_with_its_reason_and_is_measured_later(tmp_path: Path) -> None:
    port = free_port()
    path = write_rules(tmp_path, port, functions="logging_workers:nothing")
    path.write_text(path.read_text().replace("    slower: 20ms", "    engine: watch"))
    with gunicorn(tmp_path) as server, agent(path, port) as running:
        running.wait("pylat_agent_unmeasured", 1 + WORKERS, reason="no_function_matches")
        assert running.value("pylat_agent_failures_total", reason="no_function_matches") >= 1
        assert running.said.count("no function matches") == 1
        write_rules(tmp_path, port)
        running.reload()
        running.wait("pylat_agent_targets", 1, state="measured")
        server.load(5)
        running.wait(f"{METRIC}_count", 5 * CLIENTS, function="handle")


def test_slow_calls_of_workers_that_are_watched(tmp_path: Path) -> None:
    port = free_port()
    path = write_rules(tmp_path, port)
    path.write_text(path.read_text().replace("    slower: 20ms", "    slower: 20ms\n    engine: watch"))
    with gunicorn(tmp_path) as server, agent(path, port) as running:
        running.wait("pylat_agent_targets", WORKERS, state="measured")
        server.load(10)
        running.wait(f"{METRIC}_count", 10 * CLIENTS, function="handle")
        assert running.end() == 0
    lines = [json.loads(line) for line in (tmp_path / "slow.jsonl").read_text().splitlines()]
    assert {(line["qualname"], line["arguments_at"], line["arguments"][0]["name"]) for line in lines} == {
        ("handle", "entry", "number")
    }
    # of each number the program knows how long it waits, and whether it raises
    for line in lines:
        number = int(line["arguments"][0]["text"])
        assert line["duration_ns"] > 20_000_000
        assert line["outcome"] == ("raised" if number % 10 == 3 else "returned")
        assert line["exception"] in ("", "LookupError")
        assert line["stack"][0]["qualname"] == "application"


def test_a_server_that_comes_later_is_measured_and_one_that_ends_keeps_its_counts(tmp_path: Path) -> None:
    port = free_port()
    with agent(write_rules(tmp_path, port), port) as running:
        for round_ in range(2):
            with gunicorn(tmp_path / str(round_)) as server:
                running.wait("pylat_agent_targets", 1, state="measured")
                before = running.value(f"{METRIC}_count", function="handle") or 0.0
                server.load(5)
                running.wait(f"{METRIC}_count", before + 5 * CLIENTS, function="handle")
            running.wait("pylat_agent_targets", 0)
        assert running.value(f"{METRIC}_count", function="handle") >= 10 * CLIENTS
        assert running.value("pylat_lost_events_total") == 0


def test_servers_that_are_told_apart_have_series_of_their_own(tmp_path: Path) -> None:
    port = free_port()
    path = write_rules(tmp_path, port)
    path.write_text(path.read_text().replace("    slower: 20ms", "    labels: [pid]"))
    options = ("--max-requests", "20")
    with (
        gunicorn(tmp_path / "0", *options) as first,
        gunicorn(tmp_path / "1", *options) as second,
        agent(path, port) as running,
    ):
        running.wait("pylat_agent_targets", 2, state="measured")
        pids = [str(server.master.pid) for server in (first, second)]
        for server, pid, requests in zip((first, second), pids, (10, 20), strict=True):
            server.load(requests)
            running.wait(f"{METRIC}_count", requests * CLIENTS, function="handle", pid=pid)
            raised = sum(how == "raised" for how, _ in server.calls)
            assert running.value("pylat_function_raised_total", function="handle", pid=pid) == raised
        assert running.value("pylat_lost_events_total", pid="") == running.value("pylat_lost_events_total") == 0
        hits = running.samples("pylat_probe_hits_total")
        assert hits == [sample for sample in hits if sample.labels["pid"] == "" and sample.value > 0] != []
        first.master.terminate()
        first.master.wait()
        running.wait("pylat_agent_targets", 1)
        second.load(5)
        running.wait(f"{METRIC}_count", 25 * CLIENTS, function="handle", pid=pids[1])
        assert running.value(f"{METRIC}_count", function="handle", pid=pids[0]) == 10 * CLIENTS


def test_the_capabilities_of_its_unit_are_enough_for_another_users_processes(tmp_path: Path, repository: Path) -> None:
    require(shutil.which("setpriv"), "setpriv of util-linux")
    require(links() == PROCESSES, "without uprobe-multi links CAP_SYS_ADMIN is needed, too")
    unit = (repository / "share/systemd/pylat-agent.service").read_text()
    (listed,) = re.findall(r"^AmbientCapabilities=(.*)$", unit, re.MULTILINE)
    held = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in listed.split())])
    nobody = 65534
    before = ["env", f"XDG_CACHE_HOME={tmp_path / 'cache'}", "setpriv", f"--reuid={nobody}", f"--regid={nobody}"]
    before += ["--clear-groups", "--no-new-privs", *(f"--{kind}={held}" for kind in ("inh-caps", "ambient-caps"))]
    before += [f"--bounding-set={held}"]
    port = free_port()
    with gunicorn(tmp_path, "--max-requests", "10") as server:
        rules = write_rules(tmp_path, port)
        os.chown(tmp_path, nobody, nobody)  # where it writes down slow calls, and what was compiled
        with agent(rules, port, before=before) as running:
            server.load(10)
            running.wait(f"{METRIC}_count", 10 * CLIENTS, function="handle")
            assert running.value("pylat_lost_events_total") == 0
            assert running.end() == 0
