"""What is sent to a collector, whatever the collector does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from latency.agent.config import Push
from latency.agent.push import Pusher, Resources
from latency.export.families import Source, families
from tests.exported import measured, recording
from tests.servers import free_port

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def collector(*answers: Answer) -> Iterator[tuple[str, list[bytes]]]:
    """Answers so, one after the other, and then always as at last; gives its URL and what it was sent."""
    got: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.headers["Content-Type"] == "application/x-protobuf"
            answers[min(len(got), len(answers)) - 1](self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/metrics", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def status(code: int, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()

    return answer


def garbage(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"\x00\xff" * 100)


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b"x" * (1 << 20))


def nothing(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


class Calls:
    """A function with so many calls."""

    def __init__(self) -> None:
        self.count = 1

    def resources(self) -> Resources:
        found = families([Source(recording(measured(values_ns=[5000] * self.count)))], version="1")
        return [({"service.name": "shop"}, found)]


@contextmanager
def pusher(url: str, calls: Calls, said: list[str] | None = None, **more: object) -> Iterator[Pusher]:
    """One that sends only when it is told to."""
    push = Push(url, interval_s=1e6, **more)  # type: ignore[arg-type]
    found = Pusher(push, "1", calls.resources, lambda reason, text: (said if said is not None else []).append(text))
    yield found
    found.close()


def counts(bodies: list[bytes]) -> list[int]:
    found = []
    for body in bodies:
        (resource,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
        metrics = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
        found.append(metrics["pylat.function.duration"].exponential_histogram.data_points[0].count)
    return found


def test_what_is_sent_is_always_the_newest_and_holds_all() -> None:
    calls = Calls()
    with collector(status(503), status(200)) as (url, got), pusher(url, calls) as sends:
        assert not sends.once()
        calls.count = 5
        assert sends.once()
        assert counts(got) == [1, 5]
        assert sends.outcomes == {"failed": 1, "accepted": 1}


def test_a_difference_is_to_what_the_receiver_has_accepted() -> None:
    calls = Calls()
    receives = collector(status(200), status(500), status(503), status(200))
    with receives as (url, got), pusher(url, calls, delta=True) as sends:
        for calls.count in (1, 3, 4, 9):
            sends.once()
    assert counts(got) == [1, 2, 3, 8]


@pytest.mark.parametrize(
    ("answer", "outcome", "done"),
    [
        (status(200), "accepted", True),
        (status(202), "accepted", True),
        (status(400), "refused", True),
        (status(404), "refused", True),
        (status(500), "refused", True),
        (status(429), "failed", False),
        (status(503), "failed", False),
        (status(302, Location="http://127.0.0.1:1/"), "refused", True),
        (garbage, "failed", False),
        (nothing, "failed", False),
        (endless, "accepted", True),
    ],
)
def test_whatever_a_receiver_answers_is_an_outcome(answer: Answer, outcome: str, done: bool) -> None:
    said: list[str] = []
    with collector(answer) as (url, _), pusher(url, Calls(), said) as sends:
        assert sends.once() is done
        assert sends.outcomes == {outcome: 1}
        assert bool(said) is (outcome != "accepted")


def test_a_receiver_that_is_not_there_is_told() -> None:
    said: list[str] = []
    with pusher(f"http://127.0.0.1:{free_port()}/", Calls(), said) as sends:
        assert not sends.once()
    assert "cannot be reached: " in said[0]


def test_a_receiver_that_says_nothing_is_left_after_the_time_that_was_set() -> None:
    over = threading.Event()
    with collector(lambda _: over.wait(60) and None) as (url, _), pusher(url, Calls(), timeout_s=0.2) as sends:
        assert not sends.once()
        assert sends.outcomes == {"failed": 1}
        over.set()


@pytest.mark.parametrize(
    "line", [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"]
)
def test_a_receiver_that_sends_a_byte_now_and_then_is_left_as_well(line: bytes) -> None:
    over = threading.Event()

    def drips(handler: BaseHTTPRequestHandler) -> None:
        with suppress(OSError):
            while not over.wait(0.01):
                handler.wfile.write(line or b"x")
                if line.startswith(b"HTTP/1.1 200"):
                    over.wait(0.01)
                    while not over.wait(0.01):
                        handler.wfile.write(b"x")

    with collector(drips) as (url, _), pusher(url, Calls(), timeout_s=0.5) as sends:
        sends.once()  # it ends; and with an answer that had begun in time, if there was one
        assert sum(sends.outcomes.values()) == 1
        over.set()


def test_who_is_closed_is_not_waited_for_while_it_waits_itself() -> None:
    waits, goes_on = threading.Event(), threading.Event()

    def resources() -> None:
        waits.set()
        goes_on.wait()

    sends = Pusher(Push("http://127.0.0.1:1/", interval_s=0.001), "1", resources, lambda *_: None)
    assert waits.wait(60)
    sends.close()
    goes_on.set()
    sends._thread.join()


def test_headers_go_along() -> None:
    seen: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.headers["Authorization"])
        status(200)(handler)

    with collector(answer) as (url, _), pusher(url, Calls(), headers={"Authorization": "Bearer x"}) as sends:
        sends.once()
    assert seen == ["Bearer x"]


def test_at_the_end_it_sends_once_more() -> None:
    calls = Calls()
    with collector(status(200)) as (url, got):
        sends = Pusher(Push(url, interval_s=1e6), "1", calls.resources, lambda *_: None)
        sends.close(last=True)
        assert counts(got) == [1]


def test_moments_are_of_the_request() -> None:
    with collector(status(200)) as (url, got), pusher(url, Calls()) as sends:
        sends.once()
    (resource,) = ExportMetricsServiceRequest.FromString(got[0]).resource_metrics
    at_ns = resource.scope_metrics[0].metrics[0].exponential_histogram.data_points[0].time_unix_nano
    assert datetime.fromtimestamp(at_ns / 1e9, timezone.utc) - datetime.now(timezone.utc) < timedelta(hours=1)
