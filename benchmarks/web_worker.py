"""What ``pylat -p PID --func handle_request`` costs a web worker: requests per second with it, over those without.

A WSGI application on the loopback interface, single-threaded, whose handler makes 5,000 Python calls and takes some
milliseconds. ``auto`` chooses its engine under that load; then a quarter of a second with its probes in place and one
without alternate, and each ratio is of two neighbours, as that of the server's CPU time for one request.
As root: ``.venv/bin/python benchmarks/web_worker.py [--python PATH] [--pairs N] [--engine handlers]``.
"""

from __future__ import annotations

import argparse
import http.client
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from latency.cpython.interpreter import Target
from latency.recording import Options
from latency.tracing.auto import Auto
from latency.tracing.session import Session
from latency.tracing.watch import WatchSession

_WARM_S = 0.1
_WORKER = """
import sys
from wsgiref.simple_server import WSGIRequestHandler, make_server

def step(number):
    return number + sum(range(150))

def handle_request(calls):
    number = 0
    for _ in range(calls):
        number = step(number)
    return number

def app(environ, start_response):
    body = b"%d" % handle_request(CALLS)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *arguments):
        pass

CALLS = int(sys.argv[1])
server = make_server("127.0.0.1", 0, app, handler_class=Quiet)
print(server.server_port, flush=True)
server.serve_forever()
"""


def requests(port: int, seconds: float) -> int:
    """How many were answered, one after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    until, number = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        connection.request("GET", "/")
        connection.getresponse().read()
        number += 1
        connection.close()
    return number


def cpu_s(pid: int) -> float:
    """Seconds of CPU that the process's one thread has had."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def measured(pid: int, port: int, seconds: float) -> tuple[float, float]:
    """(requests a second, the server's CPU seconds for one)."""
    requests(port, _WARM_S)  # whoever switched the probes has slept or worked, and the scheduler knows it
    before, begin = cpu_s(pid), time.monotonic()
    number = requests(port, seconds)
    return number / (time.monotonic() - begin), (cpu_s(pid) - before) / number


def begun(pid: int, port: int, engine: str) -> Session | WatchSession:
    """A measurement that was started under load."""
    options = Options(func=("handle_request",), engine=engine)
    if engine != "auto":
        session = Session(Target(pid, engine=engine), options)
        session.start()
        return session
    auto = Auto(Target(pid), options)
    starting = threading.Thread(target=auto.start)
    starting.start()
    while starting.is_alive():
        requests(port, 0.1)
    return auto.session


def switches(session: Session | WatchSession) -> tuple[Callable[[], None], Callable[[], None]]:
    """What takes the probes away, and what places them again."""
    if isinstance(session, WatchSession):
        return session.limit.pause, session.limit.resume
    return session.pause, session.resume


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", default="/usr/bin/python3", help="what runs the worker")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=0.25, help="of each half of a pair")
    parser.add_argument("--calls", type=int, default=5000, help="Python calls of one request")
    parser.add_argument("--engine", default="auto")
    options = parser.parse_args()
    command = [options.python, "-c", _WORKER, str(options.calls)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        try:
            assert worker.stdout
            port = int(worker.stdout.readline())
            requests(port, 0.5)
            with begun(worker.pid, port, options.engine) as session:
                away, back = switches(session)
                pairs = []
                for number in range(options.pairs):
                    if number % 2:  # each order as often as the other
                        traced = measured(worker.pid, port, options.seconds)
                        away()
                        plain = measured(worker.pid, port, options.seconds)
                        back()
                    else:
                        away()
                        plain = measured(worker.pid, port, options.seconds)
                        back()
                        traced = measured(worker.pid, port, options.seconds)
                    pairs.append((*plain, *traced))
                recording = session.stop()
            if not recording.calls:
                raise AssertionError("no call was seen")
            print(recording.target.choice or recording.target.engine)
            found = np.array(pairs)
            rate, cpu = np.median(found[:, 0]), 1e3 * np.median(found[:, 1])
            print(f"without: {rate:.0f} requests/s, {cpu:.2f} ms of CPU each; {recording.calls} calls were measured")
            for name, ratios in (
                ("requests/s", found[:, 2] / found[:, 0]),
                ("CPU per request", found[:, 3] / found[:, 1]),
            ):
                low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
                print(f"{name}, with / without: median {middle:.3f}, quartiles {low:.3f} and {high:.3f}")
        finally:
            worker.kill()


if __name__ == "__main__":
    main()
