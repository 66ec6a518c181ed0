"""A pre-forking server: one command on the master's PID measures all of its workers."""

from __future__ import annotations

import importlib.util
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import pytest

from latency.cpython.interpreter import Target
from latency.errors import NoFunctionMatches
from latency.recording import Options
from latency.tracing.watch.session import WatchSession
from tests.requirements import require
from tests.target_program import TARGETS
from tests.watch import Watch

pytestmark = pytest.mark.xdist_group("breakpoints")

WORKERS, CLIENTS, REQUESTS = 4, 8, 50


@pytest.fixture
def server() -> Iterator[tuple[int, int]]:
    """gunicorn with sync workers: the master's PID, and the port."""
    require(importlib.util.find_spec("gunicorn"), "gunicorn is not installed (script/setup --tests)")
    with tempfile.TemporaryDirectory(prefix="pylat-") as directory, socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)
        Path(directory, "preforked.py").write_text((TARGETS / "preforked.py").read_text())
        command = [sys.executable, "-m", "gunicorn", "-w", str(WORKERS), "-b", f"fd://{listener.fileno()}"]
        command += ["--log-level", "error", "preforked:application"]
        with subprocess.Popen(command, cwd=directory, pass_fds=[listener.fileno()]) as master:
            try:
                yield master.pid, listener.getsockname()[1]
            finally:
                master.terminate()


def load(port: int) -> None:
    """Requests one after the other, each on a connection of its own, as sync workers want it."""
    for number in range(REQUESTS):
        connection = HTTPConnection("127.0.0.1", port, timeout=500)
        connection.request("GET", f"/{number}")
        connection.getresponse().read()
        connection.close()


def workers_of(pid: int) -> set[int]:
    return {int(it) for it in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def test_every_worker_is_measured(server: tuple[int, int]) -> None:
    master, port = server
    load(port)  # answered: the workers are there, or on their way
    until = time.monotonic() + 300
    while len(workers_of(master)) < WORKERS:
        assert time.monotonic() < until, "the workers do not come up"
        time.sleep(0.01)
    with Watch(master, ["application", "answer"], children=True) as watch:
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(load, [port] * CLIENTS))
        recording = watch.stop()
    calls = {each.function.qualname: (each.returned, each.raised) for each in recording.functions}
    assert calls == {
        "application": (CLIENTS * REQUESTS, 0),
        "answer": (CLIENTS * REQUESTS * 9 // 10, CLIENTS * REQUESTS // 10),
    }
    assert recording.losses.total == 0
    busy = {each.pid: each.returned + each.raised for each in recording.processes if each.pid != master}
    assert set(busy) == workers_of(master)
    assert sum(busy.values()) == 2 * CLIENTS * REQUESTS


def test_workers_that_alone_have_the_function_are_named_to_who_would_watch(server: tuple[int, int]) -> None:
    master, port = server
    load(port)
    target = Target(master, engine="watch")
    with pytest.raises(NoFunctionMatches, match="exist in children of this process alone") as refused:
        WatchSession(target, Options(func=("answer",), engine="watch", children=True))
    named = {int(pid) for pid in re.findall(r"-p (\d+)", refused.value.hint)}
    assert named
    assert named <= workers_of(master)
