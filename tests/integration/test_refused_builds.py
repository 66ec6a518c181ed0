"""Genuine builds that pylat refuses: in these words, by every engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from latency.cpython.interpreter import Target
from latency.errors import UnsupportedBuild
from tests import lab
from tests.lab import Interpreter
from tests.target_program import TargetProgram

Start = Callable[..., TargetProgram]


@pytest.mark.parametrize("engine", ["auto", "watch"])
def test_a_build_that_cannot_be_followed_is_refused_in_these_words(
    refused: Interpreter, engine: str, start_target: Start
) -> None:
    target = start_target(refused, "recursion.py")
    with pytest.raises(UnsupportedBuild) as raised:
        Target(target.pid, engine=engine)
    assert str(raised.value).endswith(lab.REFUSED[refused.id])
    assert raised.value.hint
