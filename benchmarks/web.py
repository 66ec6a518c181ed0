"""What a web worker loses while its handler is measured: requests a second, by turns with and without.

One aiohttp server on the loopback interface; its handler makes 5,000 Python calls in about 5 ms, and two clients keep
it busy. Each slice is a fixed number of requests, so pylat must see just as many calls. Of all rounds those are taken
whose slices without pylat were the fastest: the machine was least disturbed then. Beside the requests a second
stands how long the fastest tenth of the requests took: what the host does to the machine only ever adds to that.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.keeping import TARGETS, Goal, Part, Settings, Spread, Values, fastest, table
from benchmarks.worker import alone, own_command

_ROUNDS = 10
_TRIES_A_ROUND = 2  # the least disturbed half is taken
_REQUESTS, _CLIENTS = 240, 2
_START_S = 30
_WITHOUT = "without"
_VARIANTS = {"auto": (), "watch": ("--engine", "watch"), "handlers": ("--engine", "handlers")}


@contextmanager
def served() -> Iterator[tuple[int, int]]:
    """(port, PID of the server)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(TARGETS / "web_app.py"), str(port)], preexec_fn=alone)
    try:
        _wait_for_answer(port, process)
        yield port, process.pid
    finally:
        process.kill()
        process.wait()


def _wait_for_answer(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            request(http.client.HTTPConnection("127.0.0.1", port))
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the server did not start") from None
            time.sleep(0.05)


def request(connection: http.client.HTTPConnection) -> None:
    """One request, and its answer."""
    connection.request("GET", "/")
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise RuntimeError(f"the server answered {answer.status}")


class Slice(NamedTuple):
    """Requests a second of ``_REQUESTS``, the server's CPU time for each, and what the fastest tenth of them took."""

    rate: float
    cpu_ms: float
    fast_ms: float


def slice_of(port: int, pid: int) -> Slice:
    """One more."""
    left = iter(range(_REQUESTS))
    lock = threading.Lock()
    took_ns: list[int] = []

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while True:
            with lock:
                if next(left, None) is None:
                    connection.close()
                    return
            begin_ns = time.perf_counter_ns()
            request(connection)
            took_ns.append(time.perf_counter_ns() - begin_ns)

    cpu_before, begin = _cpu_ns(pid), time.perf_counter()
    with ThreadPoolExecutor(_CLIENTS) as pool:
        for each in [pool.submit(client) for _ in range(_CLIENTS)]:
            each.result()
    took_s = time.perf_counter() - begin
    return Slice(_REQUESTS / took_s, (_cpu_ns(pid) - cpu_before) / 1e6 / _REQUESTS, fastest(took_ns) / 1e6)


def _cpu_ns(pid: int) -> int:
    """Linux Documentation/scheduler/sched-stats.rst: time on the CPU, of all threads."""
    return sum(int(Path(task, "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())


@contextmanager
def busy(port: int) -> Iterator[None]:
    """One client goes on meanwhile: ``auto`` chooses by what the server does when it looks."""
    enough = threading.Event()

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while not enough.is_set():
            request(connection)
        connection.close()

    with ThreadPoolExecutor(1) as pool:
        going_on = pool.submit(client)
        try:
            yield
        finally:
            enough.set()
        going_on.result()


@contextmanager
def traced(port: int, pid: int, arguments: Sequence[str], seen: list[Any]) -> Iterator[None]:
    """``pylat -p PID --func handle_request``; its recording goes to ``seen``."""
    command = [*own_command(), "-p", str(pid), "--func", "handle_request", "-j", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said = []
    try:
        assert process.stderr is not None
        # The others' calls must be just those of the slice.
        with nullcontext() if arguments else busy(port):
            for line in process.stderr:
                said.append(line.strip())
                if line.startswith("Tracing "):
                    break
            else:
                raise RuntimeError(f"pylat ended: {' '.join(said)}")
        yield
        os.kill(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        seen.append(json.loads(out)["runs"][0])
    finally:
        process.kill()
        process.communicate()


def measure(settings: Settings) -> Values:
    """All rounds: between the slices with pylat are slices without."""
    rounds = settings.rounds_or(_ROUNDS)
    found: Values = {
        name: {"bare": [], "rate": [], "cpu_ms": [], "fast": [], "calls": [], "engines": []} for name in _VARIANTS
    }
    bare: list[Slice] = []
    with served() as (port, pid):
        slice_of(port, pid)  # warm
        bare.append(slice_of(port, pid))
        for number in range(_TRIES_A_ROUND * rounds):
            settings.progress(f"web: round {number + 1} of {_TRIES_A_ROUND * rounds}")
            turn = number % len(_VARIANTS)
            for name in [*_VARIANTS][turn:] + [*_VARIANTS][:turn]:
                seen: list[Any] = []
                before = bare[-1]
                with traced(port, pid, _VARIANTS[name], seen):
                    looked_at = slice_of(port, pid)
                after = slice_of(port, pid)
                bare.append(after)
                it = found[name]
                it["bare"].append(min(before.rate, after.rate))
                it["rate"].append(looked_at.rate / ((before.rate + after.rate) / 2))
                it["cpu_ms"].append(looked_at.cpu_ms - (before.cpu_ms + after.cpu_ms) / 2)
                it["fast"].append(looked_at.fast_ms / ((before.fast_ms + after.fast_ms) / 2))
                it["calls"].append(sum(function["calls"] for function in seen[0]["functions"]))
                it["engines"].append(seen[0]["target"]["engine"])
    for it in found.values():
        order = sorted(range(len(it["bare"])), key=lambda at: -it["bare"][at])[:rounds]
        for name in ("rate", "cpu_ms", "fast"):
            it[name] = [it[name][at] for at in order]
    rates, cpu_ms, _ = zip(*bare, strict=True)
    return {"requests": _REQUESTS, "rate": list(rates), "cpu_ms": list(cpu_ms), "variants": found}


def tables(values: Values) -> str:
    """One row for each way to look."""
    rows = []
    for name, it in values["variants"].items():
        made, seen = values["requests"] * len(it["calls"]), sum(it["calls"])
        rows.append(
            [
                f"`pylat -p PID --func handle_request{' ' * bool(_VARIANTS[name])}{' '.join(_VARIANTS[name])}`",
                ", ".join(dict.fromkeys(it["engines"])),
                f"{Spread.of(it['rate']):.3f}",
                f"{Spread.of(it['cpu_ms']):+.2f} ms",
                f"{Spread.of(it['fast']):.3f}",
                f"{seen:,} of {made:,}",
            ]
        )
    times = ("requests a second / without", "CPU time of a request", "the fastest tenth / without")
    heads = ("", "engine", *times, "calls seen")
    rate, cpu_ms = Spread.of(values["rate"]), Spread.of(values["cpu_ms"])
    return (
        f"aiohttp, one process, CPython {sys.version.split()[0]}. Without pylat: {rate:.0f} requests a second, "
        f"{cpu_ms:.2f} ms of CPU time for each request, of which the handler's 5,000 calls are about 5.\n\n"
        + table(heads, rows)
    )


def plots(values: Values) -> dict[str, Any]:
    """Bars of the ratios."""
    from benchmarks import drawing

    names = list(values["variants"])
    spreads = [Spread.of(values["variants"][name]["rate"]) for name in names]
    return {"web": drawing.bars(names, {"": spreads}, "requests a second / without pylat", limit=0.98)}


def goals(values: Values) -> list[Goal]:
    """Of ``auto``, as its user would run it."""
    spread = Spread.of(values["variants"]["auto"]["rate"])
    wrong = [
        f"{name}: {sum(it['calls']):,} of {values['requests'] * len(it['calls']):,}"
        for name, it in values["variants"].items()
        if name != "auto" and any(calls != values["requests"] for calls in it["calls"])
    ]
    return [
        Goal(
            "web worker, requests a second with pylat / without",
            "at least 0.98",
            f"{spread:.3f}",
            spread.middle >= 0.98,
        ),
        Goal("calls of the web worker's handler", "exact", "; ".join(wrong) or "all", not wrong),
    ]


PART = Part("web", "What a web worker loses", measure, tables, plots, goals)
