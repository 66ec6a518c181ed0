"""What is known of a process's code objects is known of its forks, too."""

from __future__ import annotations

import os

import pytest

from latency.cpython.functions import LiveFunction
from latency.recording import Function
from latency.target.process import Process
from latency.tracing.counted.parameters import GENERATIONS
from latency.tracing.counted.spaces import Space, Spaces
from latency.tracing.probes.following import Following

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


def followed(links: int) -> Following:
    """The target, and a chain of spaces that were forked from it, of which the last alone is there."""
    following = Following(None, children=True)  # type: ignore[arg-type]
    following.spaces.update(spaces(*range(1, links + 2)))
    for number in range(2, links + 1):
        following.spaces[number].ended = "exited"
    return following


def test_nothing_is_asked_of_spaces_that_are_further_away_than_knowledge_is_inherited() -> None:
    following = followed(20)
    asked = set(range(21 - GENERATIONS, 21))
    assert following.finished(following.over, 1) == set(range(2, 21)) - asked
    assert following.finished(following.over, 50) == set()
    assert following.finished([], 1) == set()  # they may have forked somebody since


def test_the_functions_of_the_first_process_are_known_over_spaces_that_are_forgotten() -> None:
    following = followed(20)
    following.forget(following.finished(following.over, 1))
    assert sorted(following.spaces) == [1, *range(21 - GENERATIONS, 22)]
    assert following.spaces.ancestors(21) == [*range(20, 20 - GENERATIONS, -1), 1]
    assert following.spaces.known_code(21, LIVE.address) is LIVE
