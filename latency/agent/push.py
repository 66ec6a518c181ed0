"""Sends metrics to a collector by OTLP/HTTP, again and again.

There is no queue to overflow: what is sent is always the newest, and it holds all that came before. With delta
temporality it is what came since the last request that the receiver has accepted. One request is on its way at a time,
and it ends when its time is over, whatever the receiver does: one that sends a byte now and then would else hold it for
hours.
"""

from __future__ import annotations

import http.client
import socket
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from threading import Event, Lock, Thread, Timer
from typing import Any

from latency.agent.config import Push
from latency.export.families import Family, since
from latency.export.formats import writer

_FIRST_PAUSE_S = 1.0
_MOST_READ = 4096  # of an answer, which nobody looks at
_AGAIN = frozenset((429, 502, 503, 504))  # the statuses for which OTLP/HTTP asks to be tried again

Resources = Sequence[tuple[dict[str, str], list[Family]]]
"""Attributes of a resource, and its metrics."""


class _NotFollowed(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """What is sent, and the headers with it, go to the endpoint alone."""


class _Bounded(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Connections that are broken off so long after they were made."""

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_until(http.client.HTTPConnection), req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_until(http.client.HTTPSConnection), req)


def _until(kind: type[http.client.HTTPConnection]) -> Any:
    """The same kind of connection, whose ``timeout`` is that of all that happens on it together."""

    class Connection(kind):  # type: ignore[misc, valid-type]
        def connect(self) -> None:
            super().connect()
            timer = Timer(self.timeout, _break_off, [self.sock])
            timer.daemon = True
            timer.start()

    return Connection


def _break_off(connected: socket.socket) -> None:
    """Whoever waits for it is told that it has ended; nothing where it has been closed."""
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


class Pusher:
    """Sends in a thread of its own.

    Args:
        resources: gives what is to be sent; None where that is not to be had in time.
        say: is given a reason and a line that people should read.

    Attributes:
        outcomes: how many requests were ``accepted``, ``refused`` and ``failed``.
    """

    def __init__(
        self, push: Push, version: str, resources: Callable[[], Resources | None], say: Callable[[str, str], None]
    ) -> None:
        self.outcomes: Counter[str] = Counter()
        self._push, self._version = push, version
        self._resources, self._say = resources, say
        self._otlp = writer("otlp")
        self._open = urllib.request.build_opener(_NotFollowed, _Bounded).open
        self._before: dict[tuple[tuple[str, str], ...], list[Family]] = {}
        self._before_at = datetime.now(timezone.utc)
        self._over, self._sending = Event(), Lock()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self, *, last: bool = False) -> None:
        """Send no further; with ``last`` once more, when what is on its way has ended. Without it nobody is waited for:
        the thread may itself wait for whoever closes it."""
        self._over.set()
        if last:
            self._thread.join()
            self.once()

    def _run(self) -> None:
        while not self._over.wait(self._push.interval_s):
            pause_s = _FIRST_PAUSE_S
            while not self.once() and pause_s < self._push.interval_s:
                if self._over.wait(pause_s):
                    return
                pause_s *= 2

    def once(self) -> bool:
        """One request. False where it should be tried again soon."""
        resources = self._resources()
        if resources is None:
            return False
        with self._sending:
            return self._once(resources)

    def _once(self, resources: Resources) -> bool:
        at = datetime.now(timezone.utc)
        status = self._send(self._body(resources, at))
        if status is not None and 200 <= status < 300:
            self.outcomes["accepted"] += 1
            self._before = {tuple(sorted(attributes.items())): families for attributes, families in resources}
            self._before_at = at
            return True
        outcome = "failed" if status is None or status in _AGAIN else "refused"
        self.outcomes[outcome] += 1
        if status is not None:
            self._say(outcome, f"{self._push.endpoint} answers with {status}")
        return outcome == "refused"

    def _body(self, resources: Resources, at: datetime) -> bytes:
        made = []
        for attributes, families in resources:
            if self._push.delta:
                before = self._before.get(tuple(sorted(attributes.items())), [])
                families = since(families, before, self._before_at)
            made.append(self._otlp.Resource(attributes, families, at))
        body: bytes = self._otlp.request(made, version=self._version, scale=self._push.scale, delta=self._push.delta)
        return body

    def _send(self, body: bytes) -> int | None:
        """The status of the answer; None where there was none."""
        headers = {"Content-Type": self._otlp.CONTENT_TYPE, **self._push.headers}
        try:
            request = urllib.request.Request(self._push.endpoint, body, headers)
            with self._open(request, timeout=self._push.timeout_s) as answer:
                answer.read(_MOST_READ)
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return int(error.code)
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            self._say("failed", f"{self._push.endpoint} cannot be reached: {reason}")
            return None
