"""The workload of ``pylat demo``: a small HTTP server on the loopback interface, and the clients that keep it busy.

A program of its own, run by the system's Python (3.6 or newer) with its standard library alone; nothing imports it.

Of every hundred requests 90 take 1 ms, 9 take 4 ms and one takes 30 ms, and two of the fast ones fail. ``--slow-ms MS``
adds to every tenth request: a regression to find.

Says ``ready PORT`` on standard output when the first request was answered, and ends with status 0 when its standard
input ends (so it never outlives who started it) or by SIGTERM.
"""

import argparse
import contextlib
import http.client
import itertools
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import Callable

CLIENTS = 4


def handle_request(number: int, slow_s: float) -> bytes:
    """What the demo measures: answers request ``number`` (any non-negative int), or raises LookupError."""
    place = number % 100
    if place == 99:
        time.sleep(0.030)
    elif place % 11 == 10:
        time.sleep(0.004)
    else:
        time.sleep(0.001)
    if slow_s and number % 10 == 0:
        time.sleep(slow_s)
    if place in (25, 75):
        raise LookupError(f"no page has the number {number}")
    return b"page %d\n" % number


class Handler(BaseHTTPRequestHandler):
    """Serves ``/NUMBER`` by ``handle_request``."""

    protocol_version = "HTTP/1.1"  # the clients keep their connections
    slow_s = 0.0

    def do_GET(self) -> None:
        try:
            status, body = 200, handle_request(int(self.path[1:]), self.slow_s)
        except LookupError as error:
            status, body = 404, str(error).encode()
        # one write each, else delayed acknowledgements add 40 ms
        self.wfile.write(b"HTTP/1.1 %d -\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))


class Server(ThreadingMixIn, HTTPServer):
    """One thread for each connection, as ``http.server.ThreadingHTTPServer``, which is 3.7's."""

    daemon_threads = True


def request(connection: http.client.HTTPConnection, number: int) -> None:
    connection.request("GET", f"/{number}")
    connection.getresponse().read()


def client(port: int, numbers: "itertools.count[int]", pause_s: float) -> None:
    """Sends one request after the other until the process ends; ``next`` of a count is atomic: none comes twice."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    while True:
        request(connection, next(numbers))
        time.sleep(pause_s)


def start_daemon(function: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=function, args=arguments, daemon=True).start()


def main() -> int:
    parser = argparse.ArgumentParser(description="The workload of pylat demo.")
    parser.add_argument("--slow-ms", type=float, default=0.0, metavar="MS", help="slow every tenth request down by MS")
    parser.add_argument("--rate", type=float, default=400.0, metavar="N", help="requests a second, at most")
    options = parser.parse_args()
    Handler.slow_s = options.slow_ms / 1e3

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = Server(("127.0.0.1", 0), Handler)
    port = server.server_address[1]
    numbers = itertools.count()
    start_daemon(server.serve_forever)
    request(http.client.HTTPConnection("127.0.0.1", port), next(numbers))
    for _ in range(CLIENTS):
        start_daemon(client, port, numbers, CLIENTS / options.rate)
    print(f"ready {port}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
