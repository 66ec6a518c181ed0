"""What the view takes: 10,000 functions at 200,000 calls a second, looked at by ``pylat top`` and without a view."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.keeping import Goal, Part, Settings, Spread, Values, table
from benchmarks.worker import Worker, own_command
from latency.recording import load

_FUNCTIONS, _RATE = 10_000, 200_000
_ROUNDS, _SECONDS = 3, 20.0
_COLUMNS, _LINES = 100, 40
_PYTHON = ("/usr/bin/python3",)
_LIMIT_S = 120
_TICKS = os.sysconf("SC_CLK_TCK")
_KEYS = (("t", "since the start"), ("t", "the last"), *((">", f"{name}▼") for name in ("calls/s", "p50", "p99", "max")))
_BACK = (("<", "p99▼"), ("<", "p50▼"), ("<", "calls/s▼"), ("<", "total▼"))


class Terminal:
    """A command on a terminal of its own; what it draws is read all the time."""

    def __init__(self, command: list[str]) -> None:
        self.fd, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", _LINES, _COLUMNS, 0, 0))
        environ = {**os.environ, "TERM": "xterm-256color"}
        self.process = subprocess.Popen(
            command, stdin=inner, stdout=inner, stderr=inner, env=environ, start_new_session=True
        )
        os.close(inner)
        self._drawn, self._news = bytearray(), threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                some = os.read(self.fd, 1 << 16)
            except OSError:
                return
            if not some:
                return
            with self._news:
                self._drawn += some
                self._news.notify_all()

    def press(self, key: str, answer: str) -> float:
        """Seconds until it has drawn that answer to a key."""
        with self._news:
            self._drawn.clear()
            begin = time.perf_counter()
            os.write(self.fd, key.encode())
            if not self._news.wait_for(lambda: answer.encode() in self._drawn, _LIMIT_S):
                raise RuntimeError(f"{key!r} was not answered by {answer!r}")
            return time.perf_counter() - begin

    def wait_for(self, text: str) -> None:
        """Until it is drawn."""
        with self._news:
            if not self._news.wait_for(lambda: text.encode() in self._drawn, _LIMIT_S):
                raise RuntimeError(f"{text!r} was never drawn: {bytes(self._drawn[-2000:])!r}")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1000


@contextmanager
def _measuring(worker: Worker, file: Path, *, view: bool) -> Iterator[Any]:
    options = ["-p", str(worker.pid), "--max-overhead", "none", "-o", str(file)]
    if view:
        terminal = Terminal([*own_command(), "top", *options])
        try:
            terminal.wait_for("total▼")
            yield terminal
        finally:
            terminal.process.kill()
            terminal.process.wait()
        return
    with subprocess.Popen(
        [*own_command(), *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("Tracing"):
                break
        yield process
        process.kill()


def _run(settings: Settings, *, view: bool) -> Values:
    """One measurement: what it cost, and whether its counts are the target's own."""
    found: Values = {}
    with (
        tempfile.TemporaryDirectory(prefix="pylat-top-") as folder,
        Worker(_PYTHON, "many.py", _FUNCTIONS, _RATE) as worker,
    ):
        file = Path(folder) / "recording.json"
        with _measuring(worker, file, view=view) as measured:
            process = measured.process if view else measured
            worker.ask("begin")
            time.sleep(5)  # all functions have been met
            begin, used_s = time.perf_counter(), _cpu_s(process.pid)
            time.sleep(_SECONDS)
            found["share_of_cpu"] = (_cpu_s(process.pid) - used_s) / (time.perf_counter() - begin)
            if view:
                # Between two pictures and while one is drawn: at any moment.
                phases = np.random.default_rng(1).uniform(0, 0.3, 10_000)
                pressed = [
                    (time.sleep(pause), measured.press(key, answer))[1]
                    for pause, (key, answer) in zip(phases, [*_KEYS, *_BACK] * 6, strict=False)
                ]
                found["key_s"] = pressed
            calls, seconds = worker.ask("end")
            found["resident_mb"] = _resident_mb(process.pid)
            if view:
                os.write(measured.fd, b"q")
            else:
                process.send_signal(signal.SIGINT)
            process.wait(timeout=_LIMIT_S)
            found["rate"] = calls / seconds
        (recording,) = load(file)
        functions = [each for each in recording.functions if each.function.qualname.startswith("function_")]
        counts = [each.calls for each in functions]
        whole, more = divmod(calls, _FUNCTIONS)
        exact = sum(counts) == calls and counts.count(whole + 1) == more and len(counts) in (_FUNCTIONS, more)
        found["exact"] = exact and not recording.losses.total
        found["calls"], found["seen"], found["lost"] = calls, sum(counts), recording.losses.total
    settings.progress(f"top: view={view} {found['share_of_cpu']:.3f} of a CPU, {found['resident_mb']:.0f} MB")
    return found


def measure(settings: Settings) -> Values:
    """With and without a view, in turns."""
    rounds = settings.rounds_or(_ROUNDS)
    found: Values = {"without": [], "view": []}
    for _ in range(rounds):
        found["without"].append(_run(settings, view=False))
        found["view"].append(_run(settings, view=True))
    return found


def tables(values: Values) -> str:
    """One row for each way."""
    rows = []
    for name, title in (("without", "`pylat -p PID`, on a pipe"), ("view", "`pylat top -p PID`, 100 × 40")):
        runs = values[name]
        keys = [each for run in runs for each in run.get("key_s", [])]
        rows.append(
            [
                title,
                f"{Spread.of([100 * run['share_of_cpu'] for run in runs]):.1f} %",
                f"{Spread.of([run['resident_mb'] for run in runs]):.0f} MB",
                f"{1000 * np.median(keys):.0f} ms ({1000 * max(keys):.0f} ms)" if keys else "–",
                f"{sum(run['seen'] for run in runs):,} of {sum(run['calls'] for run in runs):,}",
            ]
        )
    rate = np.median([run["rate"] for name in ("without", "view") for run in values[name]])
    what = f"{_FUNCTIONS:,} functions, {rate:,.0f} calls/s, a picture each second, on Python {sys.version.split()[0]}."
    return f"{what}\n\n" + table(
        ("", "of a CPU", "resident, at most", "answers a key: median (longest)", "calls"), rows
    )


def goals(values: Values) -> list[Goal]:
    """Of the slowest key, and of the medians."""
    longest_s = max(each for run in values["view"] for each in run["key_s"])
    added = [
        view["share_of_cpu"] - bare["share_of_cpu"]
        for view, bare in zip(values["view"], values["without"], strict=True)
    ]
    resident = Spread.of([run["resident_mb"] for run in values["view"]])
    runs = [*values["view"], *values["without"]]
    inexact = [f"{run['seen']:,} of {run['calls']:,}, {run['lost']:,} lost" for run in runs if not run["exact"]]
    return [
        Goal("a key in the view of 10,000 functions", "at most 100 ms", f"{1000 * longest_s:.0f} ms", longest_s <= 0.1),
        Goal(
            "what the view adds",
            "below 10 % of a CPU",
            f"{100 * Spread.of(added).middle:.1f} %",
            Spread.of(added).middle < 0.1,
        ),
        Goal("its memory", "below 200 MB", f"{resident:.0f} MB", resident.middle < 200),
        Goal("calls with a view and without", "exact", "; ".join(inexact) or "all", not inexact),
    ]


PART = Part("top", "What the view takes", measure, tables, goals=goals)
