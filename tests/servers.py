"""Servers of metrics for tests: Prometheus and VictoriaMetrics, and a page for the one to scrape."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

from tests.lab import cache_directory, servers
from tests.requirements import require

T = TypeVar("T")
PROMETHEUSES = ("own", servers.SUITE)
"""That of the machine's suite, which ``script/setup --tests`` unpacks, and that of the lab."""
_OWN = Path(__file__).resolve().parents[1] / ".venv" / "servers"
PATIENCE_S = 300  # until something is taken for broken, not until it should have come


def command(name: str, suite: str) -> list[str]:
    """What runs a server; skips, or fails in CI, where it is not there."""
    if suite == "own":
        require((_OWN / name).exists(), f"{name}, which script/setup --tests unpacks")
        return [str(_OWN / name)]
    found = servers.command(cache_directory(), name, suite)
    require(found, f"{name} of Debian {suite}, which script/lab unpacks")
    assert found
    return found


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def until(ask: Callable[[], T | None], what: str, process: subprocess.Popen[bytes] | None = None) -> T:
    """What ``ask`` returns as soon as that is something."""
    end = time.monotonic() + PATIENCE_S
    while (answer := ask()) is None:
        assert process is None or process.poll() is None, f"{what}: the server ended with {process.returncode}"
        assert time.monotonic() < end, what
        time.sleep(0.05)
    return answer


@contextmanager
def serving(pages: Mapping[str, tuple[str, bytes]]) -> Iterator[int]:
    """Pages by their paths, each a content type and a body; gives the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, body = pages[self.path]
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Prometheus:
    """A server that answers as Prometheus does."""

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self._url, self._process = url, process

    def api(self, path: str, **parameters: str) -> Any:
        """The data of an answer."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self._url}/api/v1/{path}?{query}", timeout=PATIENCE_S) as answer:
            return json.load(answer)["data"]

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor."""
        major, minor = self.api("status/buildinfo")["version"].split(".")[:2]
        return int(major), int(minor)

    def query(self, text: str, **parameters: str) -> list[dict[str, Any]]:
        """The series of an instant query."""
        found: list[dict[str, Any]] = self.api("query", query=text, **parameters)["result"]
        return found

    def number(self, text: str, **parameters: str) -> float:
        """Of a query for one number, once it has an answer."""

        def ask() -> float | None:
            found = self.query(text, **parameters)
            return float(found[0]["value"][1]) if found else None

        return until(ask, f"no answer to {text}", self._process)


@contextmanager
def prometheus(
    suite: str, folder: Path, jobs: Mapping[str, tuple[int, list[str]]], features: str
) -> Iterator[Prometheus]:
    """Prometheus with jobs by their names, each a port and the paths on it; ready, and each target scraped once."""
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [
            {
                "job_name": f"{job}{number}",
                "metrics_path": path,
                "scrape_timeout": "1s",
                "static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": {"group": job}}],
            }
            for job, (port, paths) in jobs.items()
            for number, path in enumerate(paths)
        ],
    }
    file = folder / "prometheus.json"
    file.write_text(json.dumps(config))  # JSON is YAML
    port = free_port()
    words = [*command("prometheus", suite), f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}"]
    words += [f"--web.listen-address=127.0.0.1:{port}", f"--enable-feature={features}"]
    with (folder / "log").open("wb") as log, subprocess.Popen(words, stdout=log, stderr=log) as process:
        server = Prometheus(f"http://127.0.0.1:{port}", process)
        try:
            until(lambda: _ready(server, sum(len(paths) for _, paths in jobs.values())), "Prometheus scrapes", process)
            yield server
        finally:
            process.terminate()


def _ready(server: Prometheus, targets: int) -> bool | None:
    try:
        scraped = server.query("up")
    except (urllib.error.URLError, ConnectionError):
        return None
    return True if len(scraped) == targets else None


@contextmanager
def victoria_metrics(folder: Path) -> Iterator[tuple[Prometheus, str]]:
    """VictoriaMetrics, ready; and where it takes OpenTelemetry's protocol."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    words = [*command("victoria-metrics", servers.SUITE), f"-httpListenAddr=127.0.0.1:{port}", "-retentionPeriod=100y"]
    words += [f"-storageDataPath={folder / 'data'}", "-search.latencyOffset=0s", "-opentelemetry.usePrometheusNaming"]
    with (folder / "log").open("wb") as log, subprocess.Popen(words, stdout=log, stderr=log) as process:
        try:
            until(lambda: _healthy(url), "VictoriaMetrics is ready", process)
            yield Prometheus(url, process), f"{url}/opentelemetry/v1/metrics"
        finally:
            process.terminate()


def _healthy(url: str) -> bool | None:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=PATIENCE_S):
            return True
    except (urllib.error.URLError, ConnectionError):
        return None


def post(url: str, kind: str, body: bytes) -> int:
    """The status of the answer."""
    request = urllib.request.Request(url, body, {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return int(answer.status)
