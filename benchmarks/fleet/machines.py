"""What the parts share: machines that see only their own processes, agents on them, and loads of known latencies."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.worker import own_command
from tests.agents import RunningAgent
from tests.servers import until

NATIVE = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
METRIC = "pylat_function_duration_seconds"
QUANTILES = (0.5, 0.9, 0.99)
_TICKS = os.sysconf("SC_CLK_TCK")


class Machine:
    """Namespaces of PIDs, mounts and names, with a /proc of their own: who runs in it sees nobody else.

    The network is the real machine's.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        words = ["unshare", "--pid", "--mount", "--uts", "--fork", "--kill-child", "--mount-proc"]
        words += ["sh", "-c", 'hostname "$1" && echo ready && exec sleep infinity', "sh", name]
        self._init = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert self._init.stdout is not None
        if self._init.stdout.readline() != b"ready\n":
            raise RuntimeError(f"no namespaces could be made for {name}")
        (self._pid,) = children(self._init.pid)

    def command(self, words: Sequence[str]) -> list[str]:
        """What runs a command on it."""
        return ["nsenter", f"--target={self._pid}", "--pid", "--mount", "--uts", *words]

    def close(self) -> None:
        """Everybody on it is killed."""
        self._init.kill()
        self._init.wait()


@contextmanager
def machines(*names: str) -> Iterator[list[Machine]]:
    """So many."""
    found: list[Machine] = []
    try:
        for name in names:
            found.append(Machine(name))
        yield found
    finally:
        for machine in found:
            machine.close()


def children(pid: int) -> list[int]:
    """The PIDs of a process's children."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def rules(path: Path, port: int, service: str, command: str, functions: Sequence[str], **more: Any) -> Path:
    """An agent's file of one rule."""
    import yaml

    own = {name: more.pop(name) for name in ("otlp", "budget") if name in more}
    rule = {"name": service, "processes": {"command": command}, "functions": list(functions), **more}
    path.write_text(
        yaml.safe_dump({"listen": f"127.0.0.1:{port}", "budget": {"process": "none"}, **own, "rules": [rule]})
    )
    return path


def own_interpreter(folder: Path, name: str) -> tuple[str, dict[str, str]]:
    """A copy of the interpreter, which nobody else runs, and what it needs in its environment for the same packages."""
    python = folder / name
    shutil.copy2(Path(sys.executable).resolve(), python)
    return str(python), {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@contextmanager
def agent(path: Path, port: int, machine: Machine | None = None) -> Iterator[RunningAgent]:
    """One that has tried all processes once. Its ``process`` is that which was started: on a machine not itself."""
    # one that is left behind would measure what the next run starts, too
    words = ["setpriv", "--pdeathsig", "KILL", *own_command(), "agent", "--config", str(path)]
    log = path.with_suffix(".log")
    with (
        log.open("ab") as out,
        subprocess.Popen(machine.command(words) if machine else words, stdout=out, stderr=out) as process,
    ):
        running = RunningAgent(process, port, log)
        try:
            until(lambda: True if running.status("/readyz") == 200 else None, "the agent is ready", process)
            yield running
        except BaseException:
            print(running.said, file=sys.stderr)
            raise
        finally:
            for pid in children(process.pid) if machine and process.poll() is None else ():
                os.kill(pid, 9)
            process.kill()


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mb(pid: int) -> dict[str, float]:
    """Of a process, as the kernel counts them: ``all`` of it that is resident, and of that ``own`` and BPF ``maps``."""
    sizes = {"VmRSS": "all", "RssAnon": "own", "RssFile": "files", "RssShmem": "shared"}
    found = dict.fromkeys(sizes.values(), 0.0)
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in sizes:
            found[sizes[name]] = int(rest.split()[0]) / 1000
    return found


@contextmanager
def gunicorn(folder: Path, workers: int, machine: Machine, *options: str) -> Iterator[tuple[int, Path]]:
    """gunicorn with sync workers of ``fleet_wsgi.py``: (port, the folder of their logs)."""
    import socket

    if importlib.util.find_spec("gunicorn") is None:
        raise RuntimeError("gunicorn is not installed: script/setup --tests")
    logs = folder / "gunicorn"
    logs.mkdir(parents=True)
    shutil.copy(Path(__file__).parents[1] / "targets" / "fleet_wsgi.py", folder)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)
        words = [sys.executable, "-m", "gunicorn", "-w", str(workers), "-b", f"fd://{listener.fileno()}", *options]
        words += ["--log-level", "error", "--chdir", str(folder), "fleet_wsgi:application"]
        with subprocess.Popen(
            machine.command(words), env={**os.environ, "PYLAT_LOGS": str(logs)}, pass_fds=[listener.fileno()]
        ) as master:
            try:
                yield listener.getsockname()[1], logs
            finally:
                master.kill()


def logged_ns(*folders: Path) -> np.ndarray[Any, Any]:
    """All that the servers wrote down: how long each call took, nanoseconds."""
    lines = [line for folder in folders for log in folder.glob("*.log") for line in log.read_text().split()]
    return np.array(lines, np.int64)


def buckets_off(found_s: float, exact_s: float) -> float:
    """How many buckets of the grid lie between two times."""
    return abs(float(np.log2(found_s / exact_s))) * 16


def whole(ask: Callable[[], float | None], expected: float, what: str) -> float:
    """What it says as soon as that is what was expected; or, after a while, what it says instead."""
    last: list[float] = [0.0]

    def once() -> float | None:
        last[0] = ask() or 0.0
        return last[0] if last[0] == expected else None

    try:
        return until(once, what)
    except AssertionError:
        return last[0]


def shares(values: Mapping[str, float]) -> str:
    """Numbers as one line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
