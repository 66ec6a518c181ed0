"""Programs of probes that interrupt each other keep their stacks: docs/kernels.md says by what."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator

import pytest

from latency.cpython.interpreter import Target
from latency.recording import Options
from latency.tracing.kernel import allocation, calls
from latency.tracing.markers.session import MarkerSession
from latency.tracing.probes import loading
from latency.tracing.probes.session import Session
from latency.tracing.probes.trace import Trace
from latency.tracing.watch.session import WatchSession
from tests.kernels import private_stack
from tests.lab import Interpreter
from tests.target_program import TargetProgram
from tests.watch import wrong

_CALL, _TAIL_CALL = 0x85, 12
_ONE = ("handle_request",)


def helpers(instructions: bytes) -> set[int]:
    """The helpers that a program calls."""
    decoded = struct.iter_unpack("<BBhi", instructions)
    return {value for code, registers, _, value in decoded if code == _CALL and not registers}


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bytes]]:
    """The programs of probes that are loaded from now on: name, instructions."""
    seen: list[tuple[str, bytes]] = []
    load = calls.load_program

    def noted(name: str, kind: int, instructions: bytes, attach_type: int = 0) -> int:
        if kind == calls.PROG_TYPE_KPROBE and instructions != calls.EMPTY_PROGRAM:
            seen.append((name, instructions))
        return load(name, kind, instructions, attach_type)

    monkeypatch.setattr(calls, "load_program", noted)
    return seen


@pytest.mark.cpython(markers=True)
def test_every_program_of_a_probe_can_call_another(
    interpreter: Interpreter, start_target: Callable[..., TargetProgram], loaded: list[tuple[str, bytes]]
) -> None:
    program = start_target(interpreter, "requests.py", 1)

    def sessions() -> Iterator[Session | WatchSession | MarkerSession]:
        for options in (
            Options(),
            Options(children=True),
            Options(func=_ONE, slower="1ms", offcpu=True, self_time=True, children=True),
        ):
            yield Session(Target(program.pid), options)
        target = Target(program.pid)
        yield Session(target, Options(func=_ONE), parts=[Trace(target, arguments=True, values=True)])
        yield WatchSession(Target(program.pid, engine="watch"), Options(func=_ONE, engine="watch"))
        yield MarkerSession(Target(program.pid), Options(markers=("gc",)))

    for session in sessions():
        session.close()
    assert len(loaded) > 4
    assert {name for name, instructions in loaded if _TAIL_CALL not in helpers(instructions)} == set()


def test_a_program_that_can_call_another_keeps_its_stack() -> None:
    ran, changed = private_stack.tried(tail_call=True)
    assert ran > 0
    assert changed == 0


@pytest.mark.xdist_group("breakpoints")
@pytest.mark.parametrize("engine", ["auto", "watch"])
@pytest.mark.parametrize("left_out", ["the first", "the second"])
def test_forks_execs_and_ends_are_seen_by_either_of_two_programs(
    interpreter: Interpreter,
    start_target: Callable[..., TargetProgram],
    monkeypatch: pytest.MonkeyPatch,
    left_out: str,
    engine: str,
) -> None:
    if interpreter.free_threaded and engine == "watch":
        pytest.skip("the watch engine refuses free-threaded builds")
    attach = calls.attach_raw_tracepoint
    empty = calls.load_program("empty", calls.PROG_TYPE_RAW_TRACEPOINT, calls.EMPTY_PROGRAM)
    attached: list[str] = []

    def one(fd: int, tracepoint: str) -> int:
        second = tracepoint in attached
        attached.append(tracepoint)
        return attach(empty if second is (left_out == "the second") else fd, tracepoint)

    monkeypatch.setattr(calls, "attach_raw_tracepoint", one)
    target = start_target(interpreter, "forking.py")
    names = ("work", "works") if engine == "watch" else ("work", "in_worker")
    options = Options(func=names, children=True, engine=engine)
    make = WatchSession if engine == "watch" else Session
    with make(Target(target.pid, engine=engine), options) as session:
        session.start()
        truth = target.run()["forked" if engine == "watch" else "together"]
        recording = session.stop()
    os.close(empty)
    assert sorted(attached) == sorted(2 * ["sched_process_exec", "sched_process_exit", "sched_process_fork"])
    assert wrong(recording, {name: truth[name] for name in names}) == {}


def test_tables_that_take_their_memory_beforehand_count_the_same(
    own_interpreter: Interpreter, start_target: Callable[..., TargetProgram], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocation, "grows", lambda: False)
    monkeypatch.setattr(loading, "grows", lambda: False)
    flags: list[int] = []
    create = calls.create_map
    monkeypatch.setattr(calls, "create_map", lambda *shape: (flags.append(shape[-1]), create(*shape))[1])
    target = start_target(own_interpreter, "requests.py", 1000)
    with Session(Target(target.pid), Options(func=("handle_request", "worker"), slower="1s")) as session:
        session.start()
        truth = target.run()
        assert wrong(session.stop(), truth) == {}
        assert session.maps.map_bytes < 96 << 20
    assert not any(each & allocation.NO_PREALLOC for each in flags)
