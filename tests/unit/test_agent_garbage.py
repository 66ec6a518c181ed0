"""When the agent collects garbage, and that of what has ended nothing stays."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from latency.agent.garbage import Garbage
from latency.agent.totals import Running


class Made:
    """A measurement that hangs in a circle."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def collections() -> Iterator[list[int]]:
    """How many objects were frozen at each collection of everything."""
    found: list[int] = []

    def began(phase: str, about: dict[str, Any]) -> None:
        if phase == "start" and about["generation"] == 2:
            found.append(gc.get_freeze_count())

    gc.unfreeze()
    before = gc.get_threshold()
    gc.set_threshold(0)
    gc.callbacks.append(began)
    yield found
    gc.callbacks.remove(began)
    gc.set_threshold(*before)
    gc.unfreeze()


def running() -> Running:
    return Running(Made(), 5.0)  # type: ignore[arg-type]


def test_what_is_there_after_a_beginning_is_looked_through_once(collections: list[int]) -> None:
    garbage, going_on = Garbage(), [running()]
    garbage.step(going_on, 1, 0.0)
    assert collections == [0]
    garbage.step(going_on, 1, 1.0)
    assert len(collections) == 1
    garbage.step(going_on, 2, 2.0)  # somebody has joined: a look at what came since, and no further
    assert len(collections) == 2
    assert collections[1] > 0


def test_of_a_measurement_that_has_ended_nothing_stays(collections: list[int]) -> None:
    garbage, going_on = Garbage(), [running(), running()]
    garbage.step(going_on, 2, 0.0)
    gone = weakref.ref(going_on.pop().measurement)
    assert gone()
    garbage.step(going_on, 2, 20.0)
    assert gone() is None
    assert collections == [0, 0]


def test_everything_is_looked_through_once_in_a_while_however_often_a_measurement_ends(collections: list[int]) -> None:
    garbage, going_on = Garbage(), [running() for _ in range(5)]
    garbage.step(going_on, 5, 0.0)
    gone = [weakref.ref(each.measurement) for each in going_on[1:]]
    for number in range(4):
        going_on.pop()
        garbage.step(going_on, 5, 20.0 + number)
    assert len(collections) == 2
    garbage.step(going_on, 5, 30.0)
    assert len(collections) == 3
    assert not any(each() for each in gone)
