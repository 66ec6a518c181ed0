"""Processes that have nothing to do with each other in one measurement: who joins is measured as the first one is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import pytest

from latency.agent.totals import Running
from latency.cpython.interpreter import Target
from latency.errors import TargetError
from latency.recording import Options
from latency.tracing import together
from latency.tracing.counted.spaces import Space
from latency.tracing.probes.session import Session
from tests.lab import Interpreter
from tests.target_program import TargetProgram
from tests.targets.protocol import added
from tests.watch import wrong

pytestmark = pytest.mark.xdist_group("breakpoints")

NAMES = ("answers", "nested")


@contextmanager
def measuring(target: TargetProgram, func: Sequence[str] = NAMES) -> Iterator[Session]:
    with Session(Target(target.pid), Options(func=tuple(func), children=True)) as session:
        session.start()
        yield session


def joined(session: Session, target: TargetProgram, *, young: bool = False) -> bool:
    found = together.look_at(session, target.pid, young=young)
    return found is not None and together.join(session, found)


def test_who_joins_is_seen_with_children_and_threads(
    interpreter: Interpreter, start_target: Callable[..., TargetProgram]
) -> None:
    first, second = (start_target(interpreter, "workers.py") for _ in range(2))
    with measuring(first) as session:
        assert joined(session, second)
        truth = added([first.run(), second.run(), second.run()])
        assert session.poll() == ""
        recording = session.stop()
    assert wrong(recording, truth) == {}
    calls = {each.pid: each.returned + each.raised for each in recording.processes}
    assert calls[first.pid] * 2 == calls[second.pid]
    assert sum(calls.values()) == recording.calls


@pytest.mark.cpython(min=(3, 11), max=(3, 12))
def test_who_is_young_joins_without_a_search(
    interpreter: Interpreter, start_target: Callable[..., TargetProgram]
) -> None:
    first, second = (start_target(interpreter, "workers.py") for _ in range(2))
    with measuring(first) as session:
        assert joined(session, second, young=True)
        truth = added([first.run(), second.run()])
        assert session.poll() == ""
        assert wrong(session.stop(), truth) == {}


def test_who_joins_can_be_told_apart_with_children_and_threads(
    interpreter: Interpreter, start_target: Callable[..., TargetProgram]
) -> None:
    first, second, third = (start_target(interpreter, "workers.py") for _ in range(3))
    with measuring(first) as session:
        for target, series in ((second, ("2",)), (third, ("3",))):
            found = together.look_at(session, target.pid, young=False, series=series)
            assert found
            assert together.join(session, found)
        truths = [first.run(), second.run(), added([third.run(), third.run()])]
        assert session.poll() == ""
        running = Running(session, 5.0, ("1",))
        told, _ = running.interval()
        final = running.parts(session.stop())
    for parts in (told, final):
        assert sorted(parts) == [("",), ("1",), ("2",), ("3",)]
        assert [wrong(parts[each,], truth) for each, truth in zip("123", truths, strict=True)] == [{}, {}, {}]
        assert wrong(parts["",], {}) == {}


def test_a_glob_means_the_functions_of_who_joins_too(
    own_interpreter: Interpreter, start_target: Callable[..., TargetProgram]
) -> None:
    first, second = (start_target(own_interpreter, "workers.py") for _ in range(2))
    with measuring(first, ["__main__:[an]*e[rd]s", "__main__:nest*"]) as session:
        assert joined(session, second)
        truth = added([first.run(), second.run()])
        session.poll()
        recording = session.stop()
    assert wrong(recording, {"nested": truth["nested"]}) == {}


def test_the_measurement_goes_on_when_the_first_process_has_ended(
    own_interpreter: Interpreter, start_target: Callable[..., TargetProgram]
) -> None:
    first, second = (start_target(own_interpreter, "workers.py") for _ in range(2))
    with measuring(first) as session:
        assert joined(session, second)
        truth = added([first.run(), second.run()])
        session.poll()
        first.process.kill()
        first.process.wait()
        truth = added([truth, second.run()])
        assert session.poll() == ""
        third = start_target(own_interpreter, "workers.py")
        assert joined(session, third)
        truth = added([truth, third.run()])
        recording = session.stop()
    assert {name: what for name, what in wrong(recording, truth).items() if name in NAMES} == {}


def test_who_has_ended_leaves_nothing_but_counts(
    own_interpreter: Interpreter, start_target: Callable[..., TargetProgram]
) -> None:
    children = 200
    target = start_target(own_interpreter, "forking_many.py", children, 1)
    with measuring(target, ["job"]) as session:
        truth = target.run()
        session.poll()
        assert len(session.interval().processes) == 1 + children
        together.forget_ended(session)
        assert len(session.interval().processes) < children
        assert len(session.table.retired.spaces) < children
        truth = added([truth, target.run()])
        session.poll()
        assert wrong(session.stop(), truth) == {}


def test_another_build_and_what_is_no_python_do_not_join(
    interpreters: list[Interpreter], own_interpreter: Interpreter, start_target: Callable[..., TargetProgram]
) -> None:
    other = next(each for each in interpreters if each.minor != own_interpreter.minor)
    first, second = start_target(own_interpreter, "workers.py"), start_target(other, "workers.py")
    with measuring(first) as session:
        assert not joined(session, second)
        session.stop()


@pytest.mark.parametrize("noticed", [True, False])
def test_who_has_ended_does_not_join(
    own_interpreter: Interpreter,
    start_target: Callable[..., TargetProgram],
    monkeypatch: pytest.MonkeyPatch,
    noticed: bool,
) -> None:
    """Nor who ends in the moment in which it does."""
    first, second = (start_target(own_interpreter, "workers.py") for _ in range(2))
    with measuring(first) as session:
        found = together.look_at(session, second.pid, young=False)
        assert found
        second.process.kill()
        second.process.wait()
        with monkeypatch.context() as patch:
            if not noticed:
                patch.setattr(Space, "look", lambda _: "")
            assert together.join(session, found)
        with suppress(TargetError):
            assert together.look_at(session, second.pid, young=False) is None
        truth = first.run()
        assert session.poll() == ""
        assert wrong(session.stop(), truth) == {}
