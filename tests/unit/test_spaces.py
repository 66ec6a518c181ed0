"""What is known of a process's code objects is known of its forks, too."""

from __future__ import annotations

import os

import pytest

from latency.cpython.functions import LiveFunction
from latency.recording import Function
from latency.target.process import Process
from latency.tracing.counted.spaces import Space, Spaces

LIVE = LiveFunction(0x1000, Function("f", "/srv/app.py", 1), "app")


def spaces(*parents: int) -> Spaces:
    """Spaces numbered as given, each the parent of the next; the first knows one code object."""
    process = Process(os.getpid())
    found = Spaces()
    for number, parent in zip(parents, (0, *parents), strict=False):
        found[number] = Space(number, process.pid, process, parent)
    found[parents[0]].lives = {LIVE.address: LIVE}
    return found


@pytest.mark.parametrize("numbers", [(0,), (1,), (1, 7 << 22, 9 << 22)])
def test_a_code_object_is_known_in_the_first_process_and_in_its_forks(numbers: tuple[int, ...]) -> None:
    assert spaces(*numbers).known_code(numbers[-1], LIVE.address) is LIVE


@pytest.mark.timeout(60)
@pytest.mark.parametrize("numbers", [(0,), (1,), (1, 7 << 22, 9 << 22)])
def test_the_search_for_an_unknown_code_object_ends(numbers: tuple[int, ...]) -> None:
    assert spaces(*numbers).known_code(numbers[-1], 0x2000) is None
