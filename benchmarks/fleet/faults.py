"""What goes wrong around an agent, while its targets go on: the collector is gone, hangs, answers 500, sends garbage or
drips; scrapers hang, break off and send garbage; at last the agent itself is killed.

Through all of that the memory has to stay as it is, and in the end Prometheus and VictoriaMetrics have to know every
call. After ``kill -9`` nothing may be left in the target, and an agent that is started then has to measure again.
"""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.fleet.machines import METRIC, agent, memory_mb, rules, whole
from benchmarks.fleet.many import Target, targets
from benchmarks.keeping import Goal, Part, Settings, Values, table
from latency.target.process import Process
from tests.agents import RunningAgent
from tests.lab import servers
from tests.servers import free_port, post, prometheus, until, victoria_metrics
from tests.soak_kill import Holding, code, code_of_files, descriptors, existing

_FAULT_S = 30.0
_CALLS = 10  # of each function, twice a second
_GROWTH_MB = 8.0
_GONE_S = 30.0
_HANGING = 40  # connections


class Collector:
    """Takes OTLP and gives it on to a real one; or fails as it is told."""

    def __init__(self, to: str, port: int) -> None:
        self.to, self.port, self.how = to, port, "forwards"
        self._server: ThreadingHTTPServer | None = None
        self._over = threading.Event()

    def start(self) -> None:
        """Listen."""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with suppress(OSError):
                    getattr(collector, f"_{collector.how.replace(' ', '_')}")(self, body)

            def log_message(self, *_: object) -> None:
                pass

        ThreadingHTTPServer.allow_reuse_address = True
        self._over.clear()
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Nobody listens any more; who waits is let go."""
        self._over.set()
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _forwards(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.send_response(post(self.to, "application/x-protobuf", body))
        handler.end_headers()

    def _hangs(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        self._over.wait()

    def _drips(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not self._over.wait(0.2):
            handler.wfile.write(b"X-Drop: x\r\n"[:1])

    def _answers_500(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.send_error(500)

    def _answers_503(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.send_error(503)

    def _sends_garbage(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.wfile.write(b"\x00\xff\r\n" * (1 << 20))


def _scrape(port: int, how: str) -> None:
    """A client that is none of the good ones."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        if how == "breaks off":
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            client.recv(1)
        else:
            client.sendall(b"\x00\xff GET nonsense\r\n\r\n" * 1000)
            client.recv(100)


@contextmanager
def _hanging(port: int) -> Iterator[None]:
    """Clients that connect and say nothing, more than are answered at once."""
    with ExitStack() as stack:
        for _ in range(_HANGING):
            with suppress(OSError):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
                client.sendall(b"GET /metrics HTTP/1.1\r\n")
        yield


class _Calling:
    """A target that calls twice a second, and knows how often."""

    def __init__(self, target: Target) -> None:
        self.calls = 0
        self._target, self._over = target, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.5):
            self._target.send(f"call {_CALLS}")
            self.calls += int(self._target.answer())

    def end(self) -> int:
        """How many calls there were."""
        self._over.set()
        self._thread.join()
        return self.calls


def measure(settings: Settings) -> Values:
    """One fault after the other, and at the end all of it is asked."""
    seconds = _FAULT_S / (5 if settings.small else 1)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pylat-fleet-")))
        for name in ("victoria", "prometheus"):
            (folder / name).mkdir()
        (target,) = stack.enter_context(targets(1))
        process = Process(target.process.pid)
        open_files = descriptors(target.process.pid)
        victoria, endpoint = stack.enter_context(victoria_metrics(folder / "victoria"))
        port = free_port()
        collector = Collector(endpoint, free_port())
        collector.start()
        stack.callback(collector.stop)
        otlp = {"endpoint": f"http://127.0.0.1:{collector.port}/", "interval_s": 1, "timeout_s": 2}
        path = rules(folder / "faults.yaml", port, "faults", "*fleet_many.py*", ["many:*"], otlp=otlp)
        values: Values = {"memory_mb": {}, "pushes": {}, "seconds": seconds}
        with agent(path, port) as running:
            running.wait("pylat_agent_targets", 1, state="measured")
            calling = _Calling(target)
            _undergo(settings, running, collector, seconds, values)
            values["made"] = calling.end()
            made = float(values["made"])
            values["agent"] = whole(lambda: running.value(f"{METRIC}_count"), made, "all calls are counted")
            values["victoria"] = whole(
                lambda: victoria.number(f"sum({METRIC}_count)", nocache="1"), made, "it is pushed"
            )
            jobs = {"agent": (port, ["/metrics"])}
            with prometheus(servers.SUITE, folder / "prometheus", jobs, "native-histograms") as scraping:
                values["prometheus"] = whole(
                    lambda: scraping.number(f"sum(histogram_count({METRIC}))"), made, "it is scraped"
                )
            values["refused"] = running.value("pylat_agent_connections_refused_total")
            values["said"] = len(running.said.splitlines())
            values["killed"] = _killed(running, process, target, open_files)
        values["again"] = _again(path, port, target)
        return values


def _undergo(settings: Settings, running: RunningAgent, collector: Collector, seconds: float, values: Values) -> None:
    """Each fault for so long."""

    def known(name: str) -> None:
        values["memory_mb"][name] = memory_mb(running.process.pid)["all"]
        values["pushes"][name] = {
            outcome: running.value("pylat_agent_pushes_total", outcome=outcome)
            for outcome in ("accepted", "refused", "failed")
        }
        settings.progress(f"faults: {name}: {values['memory_mb'][name]:.1f} MB, {values['pushes'][name]}")

    time.sleep(seconds)
    known("nothing")
    for how in ("hangs", "drips", "answers 500", "answers 503", "sends garbage"):
        collector.how = how
        time.sleep(seconds)
        known(f"the collector {how}")
        collector.stop()
        collector.how = "forwards"
        collector.start()
    collector.stop()
    time.sleep(seconds)
    known("the collector is gone")
    collector.start()
    with _hanging(running.port):
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            with suppress(OSError), socket.create_connection(("127.0.0.1", running.port), timeout=5) as one_more:
                one_more.recv(1)
    until(lambda: True if running.status("/healthz") == 200 else None, "it answers again", running.process)
    known("scrapers hang")
    for how in ("breaks off", "sends garbage"):
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            _scrape(running.port, how)
        known(f"a scraper {how}")


def _killed(running: RunningAgent, process: Process, target: Target, open_files: dict[str, str]) -> Values:
    """``kill -9``: is anything left?"""
    holding = Holding()
    holding.look(running.process.pid)
    changed = code(process) != code_of_files(process)
    running.process.kill()
    running.process.wait()
    end_s, left = time.monotonic() + _GONE_S, ["?"]
    while left and time.monotonic() < end_s:
        left = [f"{kind} {number}" for kind, number in holding.objects & existing()]
        left += ["breakpoints"] if code(process) != code_of_files(process) else []
        left += ["descriptors"] if descriptors(process.pid) != open_files else []
        time.sleep(0.1)
    target.send(f"call {_CALLS}")
    return {"held": len(holding.objects), "probes_were_there": changed, "left": left, "goes_on": bool(target.answer())}


def _again(path: Path, port: int, target: Target) -> Values:
    """Another agent."""
    with agent(path, port) as running:
        running.wait("pylat_agent_targets", 1, state="measured")
        target.send(f"call {_CALLS}")
        made = float(target.answer())
        return {"made": made, "counted": whole(lambda: running.value(f"{METRIC}_count"), made, "it measures again")}


def tables(values: Values) -> str:
    """Memory and outcomes after each fault."""
    rows = [
        [
            name,
            f"{memory:.1f} MB",
            *(f"{values['pushes'][name][each] or 0:.0f}" for each in ("accepted", "refused", "failed")),
        ]
        for name, memory in values["memory_mb"].items()
    ]
    killed, again = values["killed"], values["again"]
    text = f"Each for {values['seconds']:.0f} s, with a push each second; outcomes as they add up.\n\n"
    text += table(("", "memory of the agent", "accepted", "refused", "failed"), rows)
    text += (
        f"\n{values['made']:,} calls were made meanwhile: {values['agent']:,.0f} counted by the agent, "
        f"{values['prometheus']:,.0f} in Prometheus, {values['victoria']:,.0f} in VictoriaMetrics. "
        f"{values['refused']:,.0f} connections were refused; the agent said {values['said']} lines.\n\n"
        f"`kill -9` of the agent, which held {killed['held']} BPF objects: "
        f"left {', '.join(killed['left']) or 'nothing'}; "
        f"started again, it counted {again['counted']:.0f} of {again['made']:.0f} calls.\n"
    )
    return text


def goals(values: Values) -> list[Goal]:
    """No growth, no loss, nothing left."""
    memory = list(values["memory_mb"].values())
    growth = max(memory) - memory[0]
    wrong = [
        f"{who} {values[who]:,.0f}" for who in ("agent", "prometheus", "victoria") if values[who] != values["made"]
    ]
    killed, again = values["killed"], values["again"]
    well = (
        not killed["left"] and killed["probes_were_there"] and killed["goes_on"] and again["counted"] == again["made"]
    )
    return [
        Goal("memory through all faults", "no growth", f"{growth:+.1f} MB", growth <= _GROWTH_MB),
        Goal("calls after all faults", "exact", "; ".join(wrong) or "all", not wrong),
        Goal("kill -9 of the agent", "nothing is left, and it goes on", ", ".join(killed["left"]) or "so it is", well),
    ]


PART = Part("fleet_faults", "Faults around an agent", measure, tables, goals=goals)
