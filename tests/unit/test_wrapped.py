"""A PID of a program around the Python: the Pythons below it, and how they are named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from latency.cpython.wrapped import python_children, target_of, with_children
from latency.errors import NotCPython
from latency.target.process import Process

WAITS = "import sys; print('ready', flush=True); sys.stdin.read()"


@pytest.fixture
def shell() -> Iterator[Process]:
    """Of a Python that has a Python of its own."""
    own = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WAITS!r}])"
    words = ["sh", "-c", '"$0" -c "$1"; exit $?', sys.executable, own]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield Process(process.pid)
        assert process.stdin is not None
        process.stdin.close()


def test_the_nearest_pythons_are_found_and_not_those_below_them(shell: Process) -> None:
    found = python_children(shell)
    assert [child.pid for child in found] == shell.children()
    assert len(shell.children(recursive=True)) == 2


def test_a_process_without_pythons_below_it_is_refused_as_before() -> None:
    with subprocess.Popen(["sleep", "60"]) as sleep:
        try:
            for children in (False, True):
                with pytest.raises(NotCPython, match=r"\(sleep\) is not a CPython process$"):
                    target_of(sleep.pid, children=children)
        finally:
            sleep.kill()


def test_many_children_are_not_all_named(shell: Process) -> None:
    one = python_children(shell)[0]
    error = with_children(NotCPython("it is none"), 1, [one] * 9)
    assert str(error).startswith("it is none, but its children ")
    assert str(error).endswith(", … are")
    assert error.hint == f"give -p {one.pid}; or --children with -p 1, for all that it has and will have"
