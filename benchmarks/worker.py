"""The running target of a benchmark, and what may be placed on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.keeping import TARGETS
from latency.cpython.interpreter import Target
from latency.cpython.sites import Role, Site
from latency.tracing.kernel import calls as kernel
from tests.lab import Interpreter

EMPTY_PROGRAM = bytes.fromhex("b7000000000000009500000000000000")  # r0 = 0; exit
CALL_ROLES = (Role.ENTRY, Role.EXIT, Role.RETURN, Role.RAISE)
"""What every call passes."""


class Worker:
    """A program of ``benchmarks/targets`` under some interpreter, on a processor of its own; a context manager.

    Its text comes in by ``-c``, so that it runs in any root. Commands and answers are lines of JSON.
    """

    def __init__(self, command: Sequence[str], script: str, *arguments: object) -> None:
        text = (TARGETS / script).read_text()
        self.process = subprocess.Popen(
            [*command, "-c", text, *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=alone,
        )  # fmt: skip
        self.pid = self.process.pid
        if self._answer() != "ready":
            raise RuntimeError(f"{command[0]} does not run {script}")

    def ask(self, *command: Any) -> Any:
        """One command, and its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the target ended with status {self.process.wait()}")
        return json.loads(line)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()


def alone() -> None:
    """In the target: keep to the last processor; who measures and who traces takes the others."""
    allowed = os.sched_getaffinity(0)
    if len(allowed) > 1:
        os.sched_setaffinity(0, {max(allowed)})


def apart() -> None:
    """In the benchmark: leave the last processor to the target."""
    allowed = os.sched_getaffinity(0)
    if len(allowed) > 1:
        os.sched_setaffinity(0, allowed - {max(allowed)})


def plain(interpreter: Interpreter) -> list[str] | None:
    """The command that runs it without changing the root, so that other tools see its file by its own path.

    One from a newer distribution runs by the loader and libraries of its own root. None where neither works.
    """
    commands = [[interpreter.path]]
    if root := interpreter.root:
        libraries = [f"{root}/lib/x86_64-linux-gnu", f"{root}/usr/lib/x86_64-linux-gnu"]
        loader = f"{libraries[0]}/ld-linux-x86-64.so.2"
        commands.append([loader, "--library-path", ":".join(libraries), interpreter.path])
    for command in commands:
        if not os.path.exists(command[0]):
            continue
        tried = subprocess.run([*command, "-c", "import json, mmap"], capture_output=True, check=False)
        if tried.returncode == 0:
            return command
    return None


def own_command() -> list[str]:
    """pylat, as its user types it."""
    return [str(Path(sys.executable).with_name("pylat"))]


def call_sites(target: Target) -> list[Site]:
    """pylat's own sites that every call passes."""
    return [site for site in target.plan.sites if site.role in CALL_ROLES]


@contextmanager
def placed(target: Target, programs: dict[Role, int], *, pid: int | None = None) -> Iterator[None]:
    """Programs at pylat's sites, as pylat places its own: one uprobe-multi link for each role, exits first.

    Args:
        programs: loaded for uprobe-multi links; of each role that every call passes.
        pid: 0 for all processes; otherwise the target.
    """
    path = f"/proc/self/fd/{target.build.fd}"
    links: list[int] = []
    try:
        for role in dict.fromkeys(site.role for site in call_sites(target)):
            sites = list(target.plan.of(role))
            places, semaphores = [site.offset for site in sites], [site.semaphore_offset for site in sites]
            whom = target.process.pid if pid is None else pid
            links.append(kernel.attach_uprobes(programs[role], path, places, semaphores, whom))
        yield
    finally:
        for link in reversed(links):
            os.close(link)


@contextmanager
def empty_program(kind: int = kernel.PROG_TYPE_KPROBE) -> Iterator[int]:
    """A loaded program that does nothing, for uprobe-multi links or perf events."""
    attach_type = kernel.TRACE_UPROBE_MULTI if kind == kernel.PROG_TYPE_KPROBE else 0
    program = kernel.load_program("floor", kind, EMPTY_PROGRAM, attach_type)
    try:
        yield program
    finally:
        os.close(program)
