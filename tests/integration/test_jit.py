"""CPython's JIT: by watchpoints the calls in the code that it makes are told by the reference count alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from latency.cpython import jit
from latency.cpython.interpreter import Target
from latency.recording import Options
from latency.tracing.watch.session import WatchSession
from tests.lab import Interpreter
from tests.pylat_command import EVERY_CALL, Tracing, pylat
from tests.target_program import TargetProgram

pytestmark = pytest.mark.gil
WITH_JIT = pytest.mark.cpython(min=(3, 14))

Start = Callable[..., TargetProgram]
Ends = tuple[int, int]
"""How many calls returned, and raised."""


@pytest.fixture
def program(interpreter: Interpreter, start_target: Start) -> TargetProgram:
    program = start_target(interpreter, "jitted.py", environ={"PYTHON_JIT": "1"})
    target = Target(program.pid, engine="watch")
    if "jit-capable" not in target.build.flags:
        assert not interpreter.origin.startswith("debian")  # Debian's have it
        pytest.skip("the build has no JIT")
    assert any(jit._made_at_run_time(mapping) for mapping in target.process.maps())  # it is hot by now
    return program


@WITH_JIT
def test_each_kind_of_plain_function_is_counted_as_it_ends(program: TargetProgram) -> None:
    judge(program)


@pytest.mark.cpython(min=(3, 13))
def test_the_same_programs_count_what_the_jit_does_not_run(
    interpreter: Interpreter, start_target: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There a process may be whose JIT has not compiled anything yet."""
    monkeypatch.setattr(jit, "may_run", lambda *_: True)
    judge(start_target(interpreter, "jitted.py", environ={"PYTHON_JIT": "0"}))


def judge(program: TargetProgram) -> None:
    """Compares the ends of each function's calls."""
    target = Target(program.pid, engine="watch")
    functions = tuple(f"__main__:{name}" for name in program.run())
    different = {}
    with WatchSession(target, Options(func=functions, engine="watch")) as session:
        session.start()
        before: dict[str, Ends] = {}
        for _ in session.turns.groups:
            names = [session.turns.points_of(slot).live.function.qualname for slot in session.turns.now]
            known = program.run(*names)
            session.turns.advance()
            recording = session.so_far()
            now = {each.function.qualname: (each.returned, each.raised) for each in recording.functions}
            for name in names:
                seen = tuple(a - b for a, b in zip(now.get(name, (0, 0)), before.get(name, (0, 0)), strict=True))
                truth = known[name]["returned"], known[name]["raised"]
                if seen != truth:
                    different[name] = seen, truth
            before = now
        recording = session.stop()
    assert different == {}
    assert {name: count for name, count in recording.losses.as_dict().items() if count} == {}


@WITH_JIT
def test_what_cannot_be_told_there_is_refused(program: TargetProgram) -> None:
    for options in ("--slower", "1ms"), ("--children",):
        refused = pylat("-p", program.pid, "--func", "__main__:inner", "--engine", "watch", *options)
        assert refused.status == 2
        assert "the target's JIT is on: the watch engine does not tell then" in refused.err
    refused = pylat("-p", program.pid, "--func", "numbers_of", "--engine", "watch")
    assert refused.status == 2
    assert "the target's JIT is on: what it compiles does not fetch the units that tell of numbers_of" in refused.err
    probes = pylat("-p", program.pid, "--func", "__main__:inner", "--engine", "handlers")
    assert probes.status == 2
    assert "measure functions of it with --engine watch" in probes.err


@WITH_JIT
@pytest.mark.parametrize("engine", ["auto", "watch"])
def test_functions_that_are_named_are_watched_and_it_is_said_that_nothing_was_compared(
    program: TargetProgram, engine: str
) -> None:
    with Tracing("-p", program.pid, *EVERY_CALL, "--func", "__main__:inner", "--engine", engine, "-j") as tracing:
        known = program.run("inner")
        result = tracing.stop()
    assert result.status == 0
    assert result.function("inner")["calls"] == known["inner"]["calls"]
    assert "watch: not proven: the JIT is on" in result.run["target"]["choice"]
    assert any("by the reference count alone" in line for line in result.run["blind_spots"])


def test_a_jit_that_begins_to_compile_meanwhile_is_told(
    own_interpreter: Interpreter, start_target: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is on by default may; no such build is at hand."""
    target = start_target(own_interpreter, "requests.py", 10)
    with WatchSession(Target(target.pid, engine="watch"), Options(func=("handle_request",), engine="watch")) as session:
        session.start()
        target.run()
        monkeypatch.setattr(jit, "blind_spots", lambda *_: ("calls in what the JIT compiled",))
        assert "calls in what the JIT compiled" in session.stop().blind_spots
