"""Functions of every kind (``tests/made_functions.py``), by each engine: counted as the program itself counts them."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from tests import made_functions
from tests.lab import Interpreter
from tests.made_functions import Made
from tests.made_program import by_probes, by_watchpoints, running
from tests.random_functions import functions

_KINDS = 120
"""Of functions, at least: whoever takes some away should know."""
_UNCLEAR = {"plain_return_of_what_was_caught"}
"""To 3.7, by watch: in END_FINALLY a frame returns or goes on with an exception, and nothing tells which."""
_PROGRAMS = 5
"""Made by chance; ``benchmarks/kinds.py`` makes hundreds."""


def test_every_kind_of_function_is_counted_as_it_ends_by_probes(interpreter: Interpreter) -> None:
    made = [*made_functions.plain(interpreter.minor), *made_functions.suspending(interpreter.minor)]
    assert len(made) >= _KINDS
    with running(interpreter, made) as program:
        found = by_probes(program, made)
    assert (found.wrong, found.lost, found.refused) == ({}, {}, {})
    assert found.exact == len(made)


@pytest.mark.gil  # the watch engine refuses free-threaded builds
def test_every_kind_of_function_is_counted_as_it_ends_by_watchpoints(interpreter: Interpreter) -> None:
    made = list(made_functions.plain(interpreter.minor))
    assert len(made) >= _KINDS
    with running(interpreter, made) as program:
        found = by_watchpoints(program, made)
    assert (found.wrong, found.refused) == ({}, {})
    assert set(found.lost) == (_UNCLEAR if interpreter.minor <= (3, 7) else set())
    assert found.exact + len(found.lost) == len(made)


@pytest.mark.gil
@pytest.mark.cpython(min=(3, 11))
def test_every_kind_of_what_suspends_is_counted_as_it_ends_by_watchpoints(interpreter: Interpreter) -> None:
    made = list(made_functions.suspending(interpreter.minor))
    with running(interpreter, made) as program:
        found = by_watchpoints(program, made)
    assert (found.wrong, found.lost) == ({}, {})
    assert all("the processor has 4" in why for why in found.refused.values())
    assert found.exact + len(found.refused) == len(made)


@pytest.mark.parametrize("minor", [(3, 9), (3, 11), (3, 13), (3, 15)])
def test_functions_that_were_made_by_chance_are_counted_as_they_end(
    interpreters: list[Interpreter], minor: tuple[int, int]
) -> None:
    interpreter = next(it for it in interpreters if it.minor == minor and it.origin.startswith("debian"))

    @settings(
        max_examples=_PROGRAMS, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(functions(minor))
    def judge(made: list[Made]) -> None:
        with running(interpreter, made) as program:
            for found in by_probes(program, made), by_watchpoints(program, made):
                assert (found.wrong, found.lost) == ({}, {})
                assert found.exact + len(found.refused) == len(made)

    judge()
