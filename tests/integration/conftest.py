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

from latency.cpython.interpreter import Target
from latency.errors import UnsupportedBuild
from tests import lab
from tests.lab import Interpreter
from tests.requirements import require
from tests.target_program import TargetProgram
from tests.watch import Watch

_found = cache(lab.interpreters)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with the argument ``interpreter`` runs on each one that its mark ``cpython`` lets in."""
    if "interpreter" not in metafunc.fixturenames:
        return
    mark = metafunc.definition.get_closest_marker("cpython")
    bounds = mark.kwargs if mark else {}
    wanted = [it for it in _found() if bounds.get("min", lab.KNOWN[0]) <= it.minor <= bounds.get("max", lab.KNOWN[-1])]
    if each := bounds.get("each"):
        # musllinux has no package of glibc's, and is in every run beside these
        plain = [it for it in wanted if it.in_every_run and not it.free_threaded and "musl" not in it.id]
        wanted = [found for minor in each for found in [it for it in plain if it.minor == minor][:1]]
    if bounds.get("markers"):
        wanted = [it for it in wanted if it.has_markers]
    if gil := metafunc.definition.get_closest_marker("gil"):
        wanted = [it for it in wanted if it.free_threaded != gil.kwargs.get("on", True)]
    metafunc.parametrize("interpreter", wanted, ids=[it.id for it in wanted])


@pytest.fixture(scope="session", autouse=True)
def _machine() -> None:
    """Real BPF, and roots to change into."""
    require(os.geteuid() == 0, "the integration tests run as root")
    require(importlib.util.find_spec("bcc"), "the distribution's bcc (python3-bpfcc) is not importable")
    require(Path("/sys/bus/event_source/devices/uprobe").is_dir(), "the kernel has no uprobes here (/sys not mounted?)")


@cache
def _refusal(interpreter: Interpreter) -> str:
    """pylat's words about a build that it refuses; ``""`` for another one."""
    with TargetProgram(interpreter, "recursion.py") as program:
        try:
            Target(program.pid)
        except UnsupportedBuild as error:
            return str(error)
    return ""


@pytest.fixture(autouse=True)
def _refused_where_all_are_tried(request: pytest.FixtureRequest) -> None:
    """Of builds that are not part of every run, what pylat refuses is not known before."""
    interpreter = _tried(request.node)
    if interpreter is not None and not interpreter.in_every_run and (words := _refusal(interpreter)):
        pytest.skip(f"refused: {words}")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """The same of an engine that refuses such a build, where another one measures it."""
    try:
        return (yield)
    except UnsupportedBuild as error:
        interpreter = _tried(pyfuncitem)
        if interpreter is None or interpreter.in_every_run:
            raise
        pytest.skip(f"refused: {error}")


def _tried(item: pytest.Item) -> Interpreter | None:
    """The interpreter that a test runs on."""
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("interpreter") if callspec is not None else None


@pytest.fixture(scope="session")
def interpreters() -> list[Interpreter]:
    """Every CPython of the lab that pylat measures."""
    return [it for it in _found() if it.in_every_run or not _refusal(it)]


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
    """Notes that an interpreter is really tried, for the summary of ``tests/conftest.py``."""
    if interpreter := _tried(item):
        item.user_properties.append(("interpreter", interpreter.id))
