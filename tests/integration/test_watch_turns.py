"""More functions than the processor has registers for: watched in turns, and each of them exactly while it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from latency.cpython.interpreter import Target
from latency.errors import UsageError
from latency.recording import FunctionLatency, Options, Recording, load
from latency.tracing.watch.session import WatchSession
from tests.lab import Interpreter
from tests.pylat_command import Tracing
from tests.target_program import TargetProgram

pytestmark = pytest.mark.gil  # the watch engine refuses free-threaded builds
Start = Callable[..., TargetProgram]

KEPT = {"kept", "raised_and_kept"}
CUTTING = ("short", "inner", "held", "steps")


def session(program: TargetProgram, *functions: str) -> WatchSession:
    return WatchSession(Target(program.pid, engine="watch"), Options(func=functions, engine="watch"))


def now(measuring: WatchSession) -> set[str]:
    return {function.qualname for function in measuring.turns.whole}


def turn_to(measuring: WatchSession, *names: str) -> None:
    """Advance until these are watched: in two rounds at most."""
    for _ in range(2 * len(measuring.turns.groups)):
        if now(measuring).issuperset(names):
            return
        measuring.turns.advance()
    raise AssertionError(f"{names} have no turn")


def of(recording: Recording, name: str) -> FunctionLatency:
    return next(each for each in recording.functions if each.function.qualname == name)


def lost(recording: Recording) -> dict[str, int]:
    return {name: count for name, count in recording.losses.as_dict().items() if count}


def test_each_function_is_counted_exactly_in_its_turns_and_in_no_other(
    interpreter: Interpreter, start_target: Start
) -> None:
    program = start_target(interpreter, "watched.py")
    truth = program.run()
    suspending = {"suspends"} if interpreter.minor < (3, 11) else set()
    names = sorted(truth.keys() - KEPT - suspending)
    expected: Counter[str] = Counter()
    with session(program, *names) as measuring:
        measuring.start()
        turns = len(measuring.turns.groups)
        assert turns >= len(names) // 2
        for _ in range(2 * turns - 1):  # each has had a turn then
            program.run()
            expected.update(now(measuring))
            measuring.turns.advance()
        recording = measuring.stop()
    assert {each.function.qualname: (each.returned, each.raised) for each in recording.functions} == {
        name: (truth[name]["returned"] * expected[name], truth[name]["raised"] * expected[name]) for name in names
    }
    assert lost(recording) == {}
    assert not any(each.open or each.cut for each in recording.functions)
    for each in recording.functions:
        assert each.watched is not None
        assert 0 < each.watched.share < 1
        assert each.watched.slices >= expected[each.function.qualname]


def test_a_thread_has_the_watchpoints_of_the_turn_though_its_creator_has_ended(
    interpreter: Interpreter, start_target: Start
) -> None:
    program = start_target(interpreter, "begetting.py")
    names, expected = ("first", "second", "third"), Counter[str]()
    with session(program, *names) as measuring:
        measuring.start()
        program.tell("beget")
        for _ in range(2 * len(measuring.turns.groups) + 1):
            program.tell("run 10")
            expected.update(now(measuring))
            measuring.turns.advance()
        recording = measuring.stop()
    assert {each.function.qualname: each.calls for each in recording.functions} == {
        name: 10 * expected[name] for name in names
    }
    assert min(expected.values()) > 0
    assert lost(recording) == {}


@pytest.mark.cpython(min=(3, 11))
def test_calls_that_are_open_when_a_turn_begins_or_ends_have_no_wrong_length(
    interpreter: Interpreter, start_target: Start
) -> None:
    program = start_target(interpreter, "cutting.py")
    with session(program, *CUTTING) as measuring:
        measuring.start()
        turn_to(measuring, "held")
        program.tell("hold 3")
        turn_to(measuring, "steps")
        program.tell("begin")
        program.tell("release")  # unseen
        program.tell("hold 2")
        turn_to(measuring, "held")
        program.tell("release")  # these began unseen
        program.tell("hold 1")
        program.tell("release")
        turn_to(measuring, "steps")
        program.tell("end")  # began in another turn
        program.tell("begin")
        program.tell("end")
        recording = measuring.stop()
    held, steps = of(recording, "held"), of(recording, "steps")
    assert (held.calls, held.cut, held.open) == (1, 3, 0)
    assert (steps.calls, steps.cut, steps.open) == (1, 1, 0)
    assert held.ages is not None
    assert held.ages.count == 3
    assert lost(recording) == {}
    assert recording.events["entries"] == recording.events["matched"] + sum(each.cut for each in recording.functions)


@pytest.mark.cpython(min=(3, 11))
def test_what_is_freed_while_suspended_is_abandoned_and_not_cut(interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(interpreter, "cutting.py")
    with session(program, *CUTTING) as measuring:
        measuring.start()
        turn_to(measuring, "steps")
        program.tell("begin")
        program.tell("begin")  # frees the first one
        turn_to(measuring, "held")
        recording = measuring.stop()
    steps = of(recording, "steps")
    assert (steps.calls, steps.abandoned, steps.cut) == (0, 1, 1)
    assert lost(recording) == {}


def test_a_function_that_is_freed_has_no_more_turns(own_interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(own_interpreter, "redefined.py")
    with session(program, "cell", "run", "serve", "say") as measuring:
        measuring.start()
        turn_to(measuring, "serve")
        program.run()
        for _ in range(2 * len(measuring.turns.groups)):
            measuring.turns.advance()
            assert "cell" not in now(measuring)
        assert measuring.poll() == ""
        recording = measuring.stop()
    assert lost(recording) == {"unwatched": 1}


def test_sixty_five_functions_are_refused(own_interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(own_interpreter, "watched.py")
    with pytest.raises(UsageError, match=r"functions match .* and 64 are watched in turns at most"):
        session(program, "*")


def test_in_forked_processes_nothing_is_watched_in_turns(own_interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(own_interpreter, "watched.py")
    options = Options(func=("one", "two", "three"), engine="watch", children=True)
    with pytest.raises(UsageError, match=r"3 functions need 6 watchpoints .* with --children none"):
        WatchSession(Target(program.pid, engine="watch"), options)


def test_the_report_says_for_which_part_of_the_time_each_was_watched(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    program = start_target(own_interpreter, "serving.py", 2, 20)
    names, kept = ("handle", "noise", "now_ns", "answer_requests"), program.directory / "kept.json"
    asked = [word for name in names for word in ("--func", name)]
    with Tracing("-p", program.pid, "--engine", "watch", *asked, "-d", "4", "-o", kept) as tracing:
        result = tracing.wait()
    assert result.status == 0, result.err
    (recording,) = load(kept)
    assert recording.watched is not None
    assert {each.function.qualname for each in recording.functions} == set(names)
    for each in recording.functions:
        assert each.watched is not None
        assert 0 < each.watched.share < recording.watched.share <= 1
        assert 0 < each.watched.slices < recording.watched.slices
    assert " of the time each, in turns (" in result.out
    assert "counts are as seen" in result.out
