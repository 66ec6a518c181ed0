"""Answers scrapes: ``/metrics`` in the format that is asked for, ``/healthz`` and ``/readyz``.

Nothing is taken in but a request's head. So many connections are served at once, each for so long: a client that sends
a byte now and then would else hold one for hours, and sixteen of them all.
"""

from __future__ import annotations

import gzip
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Thread, Timer
from typing import Any, Protocol

from latency.errors import HostError
from latency.export.families import Family
from latency.export.formats import OPENMETRICS, PROMETHEUS, PROTOBUF, writer

MOST_CONNECTIONS = 16
TIMEOUT_S = 10.0
"""Of each wait for a client."""
MOST_S = 30.0
"""Of a connection as a whole, whatever its client does."""
_MOST_WAITING = 128
"""Connections that were not accepted yet. One beyond these tries again after a second: socketserver's own 5 are too few
where several ask at once."""
_WORTH_PACKING = 1400  # bytes: one packet

_KINDS = {
    "application/vnd.google.protobuf": PROTOBUF,
    "application/openmetrics-text": OPENMETRICS,
    "text/plain": PROMETHEUS,
    "text/*": PROMETHEUS,
    "*/*": PROMETHEUS,
}


class Answers(Protocol):
    """What the pages are made of."""

    def families(self) -> list[Family] | None:
        """The metrics of this moment; None where they are not to be had in time."""

    def healthy(self) -> bool:
        """Whether the agent goes on."""

    def ready(self) -> bool:
        """Whether each process that is there was tried once."""

    @property
    def scale(self) -> int:
        """Of native histograms."""


def chosen(accept: str) -> str:
    """The format that a client wants most: ``Accept`` by its weights, the text where it names nothing that is there."""
    found = []
    for number, part in enumerate(accept.split(",")):
        kind, *parameters = (word.strip() for word in part.split(";"))
        given = dict(word.split("=", 1) for word in parameters if "=" in word)
        try:
            weight = float(given.get("q", "1"))
        except ValueError:
            continue
        to = _KINDS.get(kind.lower())
        if to == PROTOBUF and (
            given.get("proto") != "io.prometheus.client.MetricFamily" or given.get("encoding") != "delimited"
        ):
            continue
        if to and weight > 0:
            found.append((-weight, number, to))
    return min(found)[2] if found else PROMETHEUS


def page(families: list[Family], to: str, scale: int) -> tuple[str, bytes]:
    """The content type and the body."""
    if to == PROTOBUF:
        protobuf = writer("protobuf")
        return protobuf.CONTENT_TYPE, protobuf.protobuf(families, scale=scale)
    text = writer("text")
    kind = text.OPENMETRICS_TYPE if to == OPENMETRICS else text.PROMETHEUS_TYPE
    return kind, getattr(text, to)(families)


class Server:
    """Listens from the beginning on.

    Args:
        refused: is called for each connection that is one too many.
        most_s: see ``MOST_S``.

    Raises:
        HostError: the address cannot be had.
    """

    def __init__(
        self, host: str, port: int, answers: Answers, refused: Callable[[], None], *, most_s: float = MOST_S
    ) -> None:
        free = BoundedSemaphore(MOST_CONNECTIONS)

        class Handler(_Handler):
            ask = answers

        class Listening(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = _MOST_WAITING
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

            def process_request(self, request: Any, client_address: Any) -> None:
                if free.acquire(blocking=False):
                    super().process_request(request, client_address)
                    return
                refused()
                self.shutdown_request(request)

            def process_request_thread(self, request: Any, client_address: Any) -> None:
                try:
                    with _broken_off_after(most_s, request):
                        super().process_request_thread(request, client_address)
                finally:
                    free.release()

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that has gone is none of the agent's troubles; all else is."""
                if not isinstance(sys.exc_info()[1], OSError):
                    super().handle_error(request, client_address)

        try:
            self._server = Listening((host, port), Handler)
        except OSError as error:
            raise HostError(
                f"cannot listen on {host}:{port}: {error.strerror or error}", "give listen another address"
            ) from None
        self.port = int(self._server.server_address[1])
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """No more is answered."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def _broken_off_after(most_s: float, connected: socket.socket) -> Iterator[None]:
    """Whoever waits for the other side after that is told that it has gone."""

    def break_off() -> None:
        with suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)

    timer = Timer(most_s, break_off)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _Handler(BaseHTTPRequestHandler):
    timeout = TIMEOUT_S
    server_version = "pylat"
    sys_version = ""
    ask: Answers

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._metrics()
        elif path == "/healthz":
            self._say(self.ask.healthy())
        elif path == "/readyz":
            self._say(self.ask.ready())
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _metrics(self) -> None:
        families = self.ask.families()
        if families is None:
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        kind, body = page(families, chosen(self.headers.get("Accept", "")), self.ask.scale)
        packed = len(body) > _WORTH_PACKING and "gzip" in self.headers.get("Accept-Encoding", "")
        self._send(HTTPStatus.OK, kind, gzip.compress(body, 1) if packed else body, packed=packed)

    def _say(self, well: bool) -> None:
        status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
        self._send(status, "text/plain; charset=utf-8", b"ok\n" if well else b"not yet\n")

    def _send(self, status: HTTPStatus, kind: str, body: bytes, *, packed: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if packed:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Scrapes are no news."""
