"""How scrapes are answered: in the format that is asked for, and no more of them at once than is good."""

from __future__ import annotations

import gzip
import select
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from threading import Event

import pytest

from latency.agent.server import MOST_CONNECTIONS, Server, chosen
from latency.errors import HostError
from latency.export.families import Family, Source, families
from tests.exported import everything
from tests.prometheus_messages import families as read_messages

PROMETHEUS_2_42 = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,"
    "application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "to"),
    [
        (PROMETHEUS_2_42, "protobuf"),
        (PROMETHEUS_2_42.partition(",")[2], "openmetrics"),
        ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", "prometheus"),
        ("*/*", "prometheus"),
        ("", "prometheus"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "prometheus"),
        ("application/openmetrics-text;q=0.1, text/plain;q=0.9", "prometheus"),
        ("application/openmetrics-text;q=0", "prometheus"),
        ("application/openmetrics-text;q=much", "prometheus"),
        ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text", "prometheus"),
        ("application/vnd.google.protobuf", "prometheus"),
        (",;=,;q", "prometheus"),
    ],
)
def test_the_format_is_the_one_that_a_client_wants_most(accept: str, to: str) -> None:
    assert chosen(accept) == to


class Answers:
    scale = 4

    def __init__(self) -> None:
        self.well = True

    def families(self) -> list[Family] | None:
        return families([Source(everything())], version="1") if self.well else None

    def healthy(self) -> bool:
        return self.well

    def ready(self) -> bool:
        return self.well


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def refused() -> list[None]:
    return []


@pytest.fixture
def server(answers: Answers, refused: list[None]) -> Iterator[Server]:
    found = Server("127.0.0.1", 0, answers, lambda: refused.append(None))
    yield found
    found.close()


def ask(server: Server, path: str, **headers: str) -> tuple[int, str, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read()


def test_each_format_comes_with_its_type(server: Server) -> None:
    status, kind, body = ask(server, "/metrics", Accept=PROMETHEUS_2_42)
    assert status == 200
    assert kind.endswith("encoding=delimited")
    assert "pylat_build_info" in read_messages(body)
    assert ask(server, "/metrics", Accept="application/openmetrics-text")[1].startswith("application/openmetrics-text")
    assert ask(server, "/metrics?x=y")[1] == "text/plain; version=0.0.4; charset=utf-8"


def test_a_page_is_packed_for_who_takes_that(server: Server) -> None:
    packed = ask(server, "/metrics", **{"Accept-Encoding": "gzip"})[2]
    assert gzip.decompress(packed) == ask(server, "/metrics")[2]


def test_health_and_readiness_are_pages_of_their_own(server: Server, answers: Answers) -> None:
    assert [ask(server, path)[0] for path in ("/healthz", "/readyz", "/metrics", "/")] == [200, 200, 200, 404]
    answers.well = False
    assert [ask(server, path)[0] for path in ("/healthz", "/readyz", "/metrics")] == [503, 503, 503]


def test_what_is_no_question_for_a_page_is_refused_and_harms_nobody(server: Server) -> None:
    for garbage in (b"\x00" * 100 + b"\r\n\r\n", b"POST /metrics HTTP/1.0\r\nContent-Length: 999999999\r\n\r\n", b""):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
            client.sendall(garbage)
            client.shutdown(socket.SHUT_WR)
            answer = client.makefile("rb").read()
        assert b" 200 " not in answer.partition(b"\r\n")[0]
    assert ask(server, "/metrics")[0] == 200


def test_so_many_connections_are_served_at_once_and_no_more(server: Server, refused: list[None]) -> None:
    with ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
            for _ in range(MOST_CONNECTIONS)
        ]
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as one_more:
            assert one_more.recv(1) == b""
        assert len(refused) == 1
        silent[0].sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert b" 200 " in silent[0].makefile("rb").readline()


def test_many_may_wait_to_be_accepted(answers: Answers) -> None:
    """Else a connection is tried again after a second. Here nobody accepts any until all wait."""
    accept = Event()
    server = Server("127.0.0.1", 0, answers, accept.wait)
    with closing(server), ExitStack() as stack:
        stack.callback(accept.set)
        for _ in range(MOST_CONNECTIONS + 1 + 2 * MOST_CONNECTIONS):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))


def test_a_client_that_sends_a_byte_now_and_then_is_broken_off(answers: Answers) -> None:
    """Whatever it does, a connection has its time as a whole: sixteen of these would else be all that are served."""
    dripped_on = Server("127.0.0.1", 0, answers, lambda: None, most_s=0.3)
    with closing(dripped_on), socket.create_connection(("127.0.0.1", dripped_on.port), timeout=60) as client:
        client.sendall(b"GET /healthz HTTP/1.0\r\nX: ")
        with suppress(OSError):
            while not select.select([client], (), (), 0.02)[0]:
                client.sendall(b"x")
            assert client.recv(100) == b""
        assert ask(dripped_on, "/healthz")[0] == 200


def test_an_address_that_is_taken_is_told(server: Server, answers: Answers) -> None:
    with pytest.raises(HostError, match=f"cannot listen on 127.0.0.1:{server.port}: Address already in use"):
        Server("127.0.0.1", server.port, answers, lambda: None)
