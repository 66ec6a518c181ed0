"""What the kernel's verifier has to follow, which is the most of a start: how many instructions, and not how long."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from latency.cpython.wrapped import target_of
from latency.recording import Options
from latency.tracing.measurement import begin
from tests.lab import Interpreter
from tests.requirements import require
from tests.target_program import TargetProgram

Start = Callable[..., TargetProgram]
_MOST = 100_000
_MOST_OF_SLOW_CALLS = 700_000  # the program that takes arguments along, of which each slow call runs one


def verified() -> dict[int, int]:
    """The instructions that were followed for each BPF program of this process, by its number in the kernel."""
    texts = []
    for path in Path("/proc/self/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # of the list itself, and of what threads have just closed
            texts.append(path.read_text())
    programs = [text for text in texts if "prog_type:" in text]
    numbers, followed = (
        [int(found) for text in programs for found in re.findall(rf"^{name}:\s+(\d+)", text, re.M)]
        for name in ("prog_id", "verified_insns")
    )
    require(followed or not programs, "a kernel that tells verified_insns (Linux 5.16)")
    return dict(zip(numbers, followed, strict=True))


def of(program: TargetProgram, options: Options) -> list[int]:
    """The same of the programs of one measurement, the most first."""
    before = verified()
    measurement = begin(target_of(program.pid, engine=options.engine, children=options.children), options)
    try:
        measurement.start()
        after = verified()
    finally:
        measurement.close()
    assert after.keys() - before.keys()
    return sorted((after[number] for number in after.keys() - before.keys()), reverse=True)


def test_no_program_is_many_times_as_long_for_the_verifier(interpreter: Interpreter, start_target: Start) -> None:
    assert of(start_target(interpreter, "requests.py"), Options())[0] <= _MOST


@pytest.mark.parametrize(
    "options",
    [
        Options(func=("handle_request",)),
        Options(func=("handle_request",), children=True),
        Options(self_time=True, offcpu=True),
        Options(func=("handle_request",), engine="watch"),
    ],
    ids=["a name", "children", "self and off-CPU", "watch"],
)
def test_nor_with_any_option(own_interpreter: Interpreter, start_target: Start, options: Options) -> None:
    assert of(start_target(own_interpreter, "requests.py"), options)[0] <= _MOST


def test_what_slow_calls_need_is_one_program(own_interpreter: Interpreter, start_target: Start) -> None:
    most, second, *_ = of(start_target(own_interpreter, "requests.py"), Options(func=("handle_request",), slower="1ms"))
    assert most <= _MOST_OF_SLOW_CALLS
    assert second <= _MOST


def test_by_watchpoints_they_need_three_of_their_own(own_interpreter: Interpreter, start_target: Start) -> None:
    """What takes arguments along when a call begins, when one ends, and when an exception ends it."""
    options = Options(func=("handle_request",), slower="1ms", engine="watch")
    most, *_ = found = of(start_target(own_interpreter, "requests.py"), options)
    assert most <= _MOST_OF_SLOW_CALLS
    assert sum(each > _MOST for each in found) <= 3
