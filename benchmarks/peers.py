"""The other tools that time calls of a live Python process: ``ucalls`` of bcc, and a bpftrace script.

Both stand on USDT markers. They run as their user runs them, on a target whose file they can see.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.keeping import names_only
from latency import resources
from latency.cpython.interpreter import Target

_LIMIT_S = 20
_BANNER = "Tracing"
_MORE_TYPES = """
typedef __u64 uint64_t;
typedef __s64 int64_t;
typedef __u32 uint32_t;
typedef __s32 int32_t;
typedef __u16 uint16_t;
typedef __s16 int16_t;
typedef __u8 uint8_t;
typedef __s8 int8_t;
"""
_BPFTRACE = """
BEGIN { printf("Tracing\\n"); }
usdt:FILE:python:function__entry { @start[tid, str(arg1)] = nsecs; }
usdt:FILE:python:function__return /@start[tid, str(arg1)]/ {
    @ns[str(arg1)] = hist(nsecs - @start[tid, str(arg1)]);
    delete(@start[tid, str(arg1)]);
}
END { clear(@start); }
"""
_MARKERS = ("function__entry", "function__return")
_SEMAPHORE_BYTES = 2  # sys/sdt.h: unsigned short


class CannotRun(Exception):
    """Why a peer does not run here, in one line."""


@dataclass
class Run:
    """One peer at work.

    Attributes:
        process: the tool's.
        ready_s: from the start of its command to its first line.
        semaphores: of the target's two markers while it traced: it is these that make CPython pass them.
        seen: calls of the function that was asked for, known when it has ended.
    """

    process: subprocess.Popen[str]
    ready_s: float
    semaphores: tuple[int, ...]
    seen: int = 0


@dataclass(frozen=True)
class Peer:
    """One tool.

    Attributes:
        name: for tables.
        commands: what it may be called, by distribution.
        package: of Debian and Ubuntu.
    """

    name: str
    commands: tuple[str, ...]
    package: str

    def command(self, target: Target) -> list[str]:
        """As its user types it. Raises CannotRun."""
        missing = set(_MARKERS) - {marker.name for marker in target.build.markers}
        if missing:
            raise CannotRun("no USDT markers for calls in this build")
        places = (shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin") for name in self.commands)
        program = next(filter(None, places), None)
        if program is None:
            raise CannotRun(f"not installed ({self.package})")
        if self.name == "bpftrace":
            text = _BPFTRACE.replace("FILE", target.build.file)
            return [program, "-p", str(target.process.pid), "-e", text]
        return [program, "-l", "python", "-L", str(target.process.pid)]

    @contextmanager
    def tracing(self, target: Target, function: str, environ: Mapping[str, str]) -> Iterator[Run]:
        """From its first line to its end. Raises CannotRun."""
        command = self.command(target)
        begin = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **environ}
        )
        said: list[str] = []
        assert process.stdout is not None
        try:
            for line in process.stdout:
                said.append(line.rstrip("\n"))
                if line.startswith(_BANNER):
                    break
            else:
                raise CannotRun(_reason(said))
            run = Run(process, time.perf_counter() - begin, _semaphores(target))
            yield run
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):  # it does not end: then it has seen nothing
                out, _ = process.communicate(timeout=_LIMIT_S)
                run.seen = _bpftrace_calls(out, function) if self.name == "bpftrace" else _ucalls_calls(out, function)
        finally:
            # By SIGTERM first: one that is killed while it takes its probes away leaves them in the target.
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=_LIMIT_S)
            process.kill()
            process.communicate()
            _lower_semaphores(target)


PEERS = (
    Peer("ucalls -L", ("ucalls-bpfcc", "ucalls"), "bpfcc-tools"),
    Peer("bpftrace", ("bpftrace",), "bpftrace"),
)


@contextmanager
def environment() -> Iterator[dict[str, str]]:
    """What the tools need beside what their user has: kernel headers for bcc, where the machine has none.

    pylat's own handful does, with the names of <stdint.h> that bcc's code for markers uses.
    """
    environ = {"PYTHONUNBUFFERED": "1"}
    if Path(f"/lib/modules/{os.uname().release}/build").exists():
        yield environ
        return
    with tempfile.TemporaryDirectory(prefix="pylat-headers-") as folder:
        headers = Path(folder) / "include"
        shutil.copytree(resources.directory("bpf") / "include", headers)
        with (headers / "include/linux/types.h").open("a") as file:
            file.write(_MORE_TYPES)
        yield {**environ, "BCC_KERNEL_SOURCE": str(headers)}


def _semaphores(target: Target) -> tuple[int, ...]:
    """What CPython reads to know whether anybody listens, of the first site of each marker."""
    found = []
    for name in _MARKERS:
        marker = next(marker for marker in target.build.markers if marker.name == name)
        value = target.process.read(marker.semaphore + target.build.bias, _SEMAPHORE_BYTES)
        found.append(int.from_bytes(value, "little"))
    return tuple(found)


def _lower_semaphores(target: Target) -> None:
    """As they were: a tool that is killed leaves those raised that it raised itself, and the target goes on slower."""
    if not any(_semaphores(target)):
        return
    with open(f"/proc/{target.process.pid}/mem", "r+b", buffering=0) as memory:
        for marker in target.build.markers:
            if marker.name in _MARKERS:
                memory.seek(marker.semaphore + target.build.bias)
                memory.write(bytes(_SEMAPHORE_BYTES))


def _reason(said: list[str]) -> str:
    """The last line that says something; of a file on this machine only its name."""
    lines = [names_only(line.strip()) for line in said if line.strip()]
    return lines[-1] if lines else "it ended at once, and said nothing"


def _ucalls_calls(out: str, function: str) -> int:
    """Rows ``FILE.FUNCTION  CALLS  TIME``; one function may have several."""
    rows = re.findall(rf"^\S+\.{function}\s+(\d+)\s+[\d.]+$", out, re.MULTILINE)
    return sum(map(int, rows))


def _bpftrace_calls(out: str, function: str) -> int:
    """The bars of ``@ns[FUNCTION]``."""
    found = re.search(rf"^@ns\[{function}\]: *\n((?:[\[(].*\n?)*)", out, re.MULTILINE)
    return sum(map(int, re.findall(r"[\])]\s+(\d+)\s*\|", found[1]))) if found else 0
