"""The integration tests: real BPF on every CPython of the lab."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from tests import lab
from tests.lab import Interpreter
from tests.requirements import require
from tests.target_program import TargetProgram
from tests.watch import Watch

_tried = pytest.StashKey[set[tuple[int, int]]]()
_found = cache(lab.interpreters)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with the argument ``interpreter`` runs on each one that its mark ``cpython`` lets in."""
    if "interpreter" not in metafunc.fixturenames:
        return
    mark = metafunc.definition.get_closest_marker("cpython")
    bounds = mark.kwargs if mark else {}
    wanted = [it for it in _found() if bounds.get("min", lab.KNOWN[0]) <= it.minor <= bounds.get("max", lab.KNOWN[-1])]
    if bounds.get("markers"):  # Debian builds with them; from source nobody does without being told
        wanted = [it for it in wanted if it.origin.startswith("debian")]
    metafunc.parametrize("interpreter", wanted, ids=[it.id for it in wanted])


@pytest.fixture(scope="session", autouse=True)
def _machine() -> None:
    """Real BPF, and roots to change into."""
    require(os.geteuid() == 0, "the integration tests run as root")
    require(importlib.util.find_spec("bcc"), "the distribution's bcc (python3-bpfcc) is not importable")
    require(Path("/sys/bus/event_source/devices/uprobe").is_dir(), "the kernel has no uprobes here (/sys not mounted?)")


@pytest.fixture(scope="session")
def interpreters() -> list[Interpreter]:
    """Every CPython of the lab."""
    return _found()


@pytest.fixture(scope="session")
def own_interpreter(interpreters: list[Interpreter]) -> Interpreter:
    """The machine's own CPython, for what needs to be shown on one only."""
    own = Path("/usr/bin/python3").resolve()
    return next(it for it in interpreters if Path(it.path).resolve() == own)


@pytest.fixture(scope="session")
def environment_interpreter() -> Interpreter:
    """What runs the tests, and so has the packages of the development environment."""
    return Interpreter(platform.python_version(), sys.executable, None, "environment")


@pytest.fixture
def start_target() -> Iterator[Callable[..., TargetProgram]]:
    """``start_target(interpreter, script, *arguments, **options)``: a ready program, killed after the test."""
    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(TargetProgram(*arguments, **options))


@pytest.fixture
def watch() -> Iterator[Callable[..., Watch]]:
    """``watch(pid, patterns, **options)``: a measurement that has begun, taken away after the test."""
    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(Watch(*arguments, **options))


def pytest_runtest_call(item: pytest.Item) -> None:
    """Notes that a version is really tried."""
    callspec = getattr(item, "callspec", None)
    if callspec is not None and "interpreter" in callspec.params:
        item.config.stash.setdefault(_tried, set()).add(callspec.params["interpreter"].minor)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says which versions were not tried, so that a green run does not promise more than it shows."""
    tried = config.stash.get(_tried, set())
    there = {it.minor for it in _found()}
    untried = [f"{'.'.join(map(str, it))}{'' if it in there else ' (not here)'}" for it in lab.KNOWN if it not in tried]
    terminalreporter.section("interpreters")
    terminalreporter.line(f"tried: {', '.join(it.id for it in _found() if it.minor in tried) or 'none'}")
    terminalreporter.line(f"CPython 3.6 to 3.15 not tried: {', '.join(untried) or 'none'}")
