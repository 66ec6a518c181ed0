"""What a short-lived child opens and closes in place of pylat."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from latency.tracing.kernel import apart

ROOT = Path(__file__).resolve().parents[2]


def pipe_ends(count: int) -> Iterator[int]:
    for number in range(count):
        reading, writing = os.pipe()
        os.write(writing, str(number).encode())
        os.close(writing)
        yield reading


@pytest.mark.parametrize("count", [0, 1, 150])
def test_descriptors_come_over_in_their_order_however_many(count: int) -> None:
    descriptors = apart.opened(lambda: pipe_ends(count))
    assert [os.read(each, 16) for each in descriptors] == [str(number).encode() for number in range(count)]
    assert not any(os.get_inheritable(each) for each in descriptors)
    apart.close(descriptors)
    assert descriptors == []


def test_an_error_keeps_its_number_and_its_text_and_leaves_nothing_open() -> None:
    reading, writing = os.pipe()

    def make() -> Iterator[int]:
        yield os.dup(writing)
        raise OSError(errno.ENOSPC, "the marker app:request__start: no room – für ihn")

    with pytest.raises(OSError, match="the marker app:request__start: no room – für ihn") as caught:
        apart.opened(make)
    assert caught.value.errno == errno.ENOSPC
    os.close(writing)
    assert os.read(reading, 1) == b""  # nobody holds the other end
    os.close(reading)


def test_an_error_without_a_number_is_an_error() -> None:
    def make() -> Iterator[int]:
        yield from ()
        raise OSError("just a text")

    with pytest.raises(OSError, match="just a text"):
        apart.opened(make)


AT_ONCE = """
import os
from concurrent.futures import ThreadPoolExecutor
from latency.tracing.kernel import apart
from tests.unit.test_apart import pipe_ends

def there_and_back(number):
    descriptors = apart.opened(lambda: pipe_ends(number))
    read = [os.read(each, 16) for each in descriptors]
    apart.close(descriptors)
    assert read == [str(it).encode() for it in range(number)]

with ThreadPoolExecutor(8) as pool:
    list(pool.map(there_and_back, [number % 5 for number in range(80)]))
"""


def test_many_threads_may_do_it_at_once() -> None:
    # A process group of their own, since who waits for each other for ever is to fail, and not to hang.
    process = subprocess.Popen([sys.executable, "-c", AT_ONCE], cwd=ROOT, start_new_session=True)
    try:
        assert process.wait(timeout=60) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_where_there_can_be_no_child_it_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_child() -> int:
        raise OSError(errno.EAGAIN, "no process can be made")

    monkeypatch.setattr(os, "fork", no_child)
    descriptors = apart.opened(lambda: pipe_ends(3))
    assert [os.read(each, 16) for each in descriptors] == [b"0", b"1", b"2"]
    apart.close(descriptors)
    assert descriptors == []
