"""What is known of a process's code objects is known of its forks, too."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

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


class Watched(Space):
    """A space that knows how often it was looked at."""

    looks = 0
    over = ""

    def look(self) -> str:
        self.looks += 1
        self.ended = self.ended or self.over
        return self.ended


def many(count: int) -> tuple[Following, list[Watched], Any, list[float]]:
    """So many that are followed: (they, as a ``Following``, as spaces, the programs' table of them, the time)."""
    now_s = [100.0]
    following = Following(None, children=True, clock=lambda: now_s[0])  # type: ignore[arg-type]
    process = Process(os.getpid())
    found = [Watched(number, process.pid, process) for number in range(1, count + 1)]
    following.spaces.update({space.number: space for space in found})
    followed = {space.number for space in found}
    return following, found, SimpleNamespace(followed_spaces=lambda: set(followed), followed=followed), now_s


def test_of_many_processes_only_those_are_looked_at_that_the_programs_follow_no_longer() -> None:
    following, found, maps, now_s = many(64)
    following.look(maps)
    assert [space.looks for space in found] == [1] * 64
    following.look(maps)
    assert [space.looks for space in found] == [1] * 64
    maps.followed -= {7, 9}
    found[6].over = "exited"  # the other one is still on its way out
    for looks in (2, 3):
        following.look(maps)
        assert [space.looks for space in found if space.number not in (7, 9)] == [1] * 62
        assert (found[6].ended, found[6].looks, found[8].looks) == ("exited", 2, looks)
    assert following.over == [7]
    assert following.ended() == ""
    now_s[0] += 60.0  # one whose end the programs did not see is found now and then
    found[3].over = "exited"
    following.look(maps)
    assert following.over == [4, 7]


def test_of_a_few_processes_each_is_looked_at_each_time() -> None:
    following, found, maps, _ = many(3)
    for looks in (1, 2, 3):
        following.look(maps)
        assert [space.looks for space in found] == [looks] * 3
    for space in found:
        space.over = "exited"
    assert following.ended() == ""
    following.look(maps)
    assert following.ended() == "exited"
