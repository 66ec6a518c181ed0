"""What each kind of measurement writes is what the schema says, with no key that it does not have."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from latency.recording import dumps, load
from tests.lab import Interpreter
from tests.pylat_command import Tracing
from tests.recording_schema import wrong
from tests.target_program import TargetProgram

pytestmark = pytest.mark.xdist_group("breakpoints")  # --children places them in every process of the file

Start = Callable[..., TargetProgram]


@dataclass(frozen=True)
class Kind:
    """A kind of measurement.

    Attributes:
        program: with its arguments.
        options: of the command.
        of_run, of_function: keys of the run, and of some function, that hold something for that reason.
    """

    program: tuple[object, ...]
    options: tuple[str, ...]
    of_run: tuple[str, ...] = ()
    of_function: tuple[str, ...] = ()


WORKS = ("--func", "__main__:works")
KINDS = {
    "plain": Kind(("forking.py",), WORKS),
    "slow calls": Kind(("slow.py", 10**7), ("--func", "__main__:plain", "--slower", "1us"), ("slow_calls",)),
    "divided": Kind(("dividing.py", "log"), ("--func", "handles", "--offcpu", "--self"), (), ("split", "self")),
    "pauses": Kind(("interpreting.py", "gc"), ("--gc",), ("events",)),
    "imports and events": Kind(("interpreting.py", "imports"), ("--imports", "--audit"), (), ("active",)),
    "children": Kind(("forking.py",), (*WORKS, "--children"), ("processes",)),
    "watched": Kind(("forking.py",), (*WORKS, "--engine", "watch")),
}


def documents(text: str) -> Iterator[Any]:
    """JSON documents that follow each other."""
    decoder = json.JSONDecoder()
    while text := text.lstrip():
        document, end = decoder.raw_decode(text)
        yield document
        text = text[end:]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_recording_is_what_the_schema_says(
    kind: Kind, own_interpreter: Interpreter, start_target: Start, tmp_path: Path
) -> None:
    program = start_target(own_interpreter, *kind.program)
    saved = tmp_path / "r.json"
    with Tracing("-p", program.pid, *kind.options, "-j", "-o", saved) as tracing:
        program.run()
        result = tracing.stop()
    assert result.status == 0, result.err
    for document in (json.loads(result.out), json.loads(saved.read_text())):
        assert wrong(document) == []
        (run,) = document["runs"]
        assert all(run[key] for key in kind.of_run)
        assert all(any(function.get(key) for function in run["functions"]) for key in kind.of_function)
    assert json.loads(dumps(load(saved))) == json.loads(saved.read_text())


def test_a_recording_in_slices_with_intervals_is_what_the_schema_says(
    own_interpreter: Interpreter, start_target: Start, tmp_path: Path
) -> None:
    program = start_target(own_interpreter, "serving.py", 1, 100_000)
    saved = tmp_path / "r.json"
    options = ("--func", "noise", "--func", "handle", "--max-overhead", "1", "-d", "3", "-i", "1", "-j", "-o", saved)
    with Tracing("-p", program.pid, *options) as tracing:
        result = tracing.wait()
    assert result.status == 0, result.err
    *intervals, whole = documents(result.out)
    assert intervals
    assert [fault for document in (*intervals, whole) for fault in wrong(document)] == []
    assert json.loads(saved.read_text()) == whole
    (run,) = whole["runs"]
    assert run["watched"]["share"] < 1
    assert all("ages" in function for function in run["functions"])
