"""``--slower`` with ``--engine watch``: the rules of probes; arguments of plain calls are those of the entry."""

from __future__ import annotations

import ast
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from latency.cpython.interpreter import Target
from latency.recording import HIDDEN, Argument, Options, Recording, SlowCall, load
from latency.tracing import thoughts
from latency.tracing.auto import Auto
from latency.tracing.counted import slow as telling
from latency.tracing.counted import wire
from latency.tracing.probes.look import TRAPS_PER_CALL
from latency.tracing.watch.program import ENTRIES
from latency.tracing.watch.session import WatchSession
from latency.tracing.watched import Watched
from tests.integration.test_auto import until_watched
from tests.integration.test_secrets import APPLICATION, SECRET, during_a_run
from tests.integration.test_slow_calls import (
    CHILDREN,
    ENDS_AT_ONCE,
    THRESHOLD_NS,
    Start,
    different,
    highest_p90_ns,
    in_order,
    key_of,
)
from tests.lab import Interpreter
from tests.pylat_command import EVERY_CALL, pylat

pytestmark = pytest.mark.gil  # the watch engine refuses free-threaded builds

PLAIN = [("plain", "enclosing"), ("descend", "failing"), ("Api.get", "Api.put"), ("Made.__init__",)]
SUSPENDING = [("yielding",), ("awaiting",)]
SLOW_NS = 30 * 10**6
DEEP = 500
MOST_HITS = {"descend": 5 * (TRAPS_PER_CALL + 4 * 5)}
"""In one call: five lie within each other, and each notes who is on the stack, which touches their code's counts."""


@pytest.fixture(autouse=True)
def no_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in ``test_slow_calls``."""
    monkeypatch.setattr(telling, "_LIMITS", replace(telling._LIMITS, time_s=100))


class Measured(NamedTuple):
    """One run of a program, watched.

    Attributes:
        truth: what it says itself.
        off_ns: what was taken off of one call at most, for hits and for what was taken along and told within it.
    """

    recording: Recording
    truth: Any
    off_ns: float


def measured(pid: int, functions: tuple[str, ...], run: Callable[[], Any], **options: Any) -> Measured:
    patterns = tuple(f"__main__:{name}" for name in functions)
    asked = Options(func=patterns, engine="watch", **{"slower": "10ms", "slowest": 1000, **options})
    session = WatchSession(Target(pid, engine="watch"), asked)
    try:
        session.start()
        truth = run()
        recording, counters = session.stop(), session.maps.counters()
        hits = max(MOST_HITS.get(name, 2 * TRAPS_PER_CALL) for name in functions)
        return Measured(recording, truth, hits * session._trap_ns + counters["taken_ns"])
    finally:
        session.close()


def as_it_was(known: Mapping[str, Any]) -> dict[str, Any]:
    """What a program says of a plain call, but for arguments that it bound again."""
    arguments = dict(known["arguments"])
    if known["function"] == "plain":
        arguments["label"] = repr(ast.literal_eval(arguments["label"])[0])
    return {**known, "arguments": arguments}


def otherwise(call: SlowCall, known: Mapping[str, Any], off_ns: float, *, whole_names: bool) -> list[object]:
    """What a call is told to be otherwise than it was; the type of an exception may not be known."""
    known = {**known, "least_ns": known["least_ns"] - off_ns}
    if call.outcome == "raised" and not call.exception:
        call = replace(call, exception=known["outcome"])
    return different(call, known, whole_names=whole_names)


def assert_told(run: Measured, functions: tuple[str, ...], minor: Any) -> None:
    """Each slow call of these functions as it was, and no other."""
    recording, truth, off_ns = run
    slow = recording.slow_calls
    assert slow
    assert recording.losses.total == 0
    names = {name.rpartition(".")[2] for name in functions}
    mine = {int(key): known for key, known in truth.items() if known["function"] in names}
    found = {key_of(call): call for call in slow.kept}
    certainly = {key for key, known in mine.items() if known["least_ns"] - off_ns > THRESHOLD_NS}
    possibly = {key for key, known in mine.items() if known["most_ns"] > THRESHOLD_NS}
    assert len(found) == len(slow.kept) == slow.seen
    assert certainly
    assert certainly <= found.keys() <= possibly
    suspending = functions in SUSPENDING
    known = mine if suspending else {key: as_it_was(each) for key, each in mine.items()}
    whole_names = minor >= (3, 11)
    wrong = {key: otherwise(call, known[key], off_ns, whole_names=whole_names) for key, call in found.items()}
    assert {key: each for key, each in wrong.items() if each} == {}
    assert {call.arguments_at for call in slow.kept} == {"end" if suspending else "entry"}
    assert not any(each.later for call in slow.kept for each in call.arguments or () if not suspending)
    assert all(call.active_ns is None for call in slow.kept)
    shown = [call.duration_ns for call in slow.kept]
    assert shown == sorted(shown, reverse=True)


def test_every_slow_call_is_told_as_it_was_and_no_other(interpreter: Interpreter, start_target: Start) -> None:
    target = start_target(interpreter, "slow.py", SLOW_NS)
    for functions in [*PLAIN, *(SUSPENDING if interpreter.minor >= (3, 11) else [])]:
        assert_told(measured(target.pid, functions, target.run), functions, interpreter.minor)


def test_the_type_of_an_exception_is_told_where_it_is_known(interpreter: Interpreter, start_target: Start) -> None:
    target = start_target(interpreter, "slow.py", SLOW_NS)
    recording, truth, _ = measured(target.pid, ("failing",), target.run)
    assert recording.slow_calls
    told = {key_of(call): (call.outcome, call.exception) for call in recording.slow_calls.kept}
    assert len(told) >= 2
    assert all(told[key] == ("raised", truth[str(key)]["outcome"]) for key in told)


TWO_AT_ONCE = """
import time
from protocol import serve

def inner(number):
    begin = time.perf_counter()
    try:
        while time.perf_counter() - begin < 0.02:
            pass
        raise KeyError(number)
    finally:
        begin = None  # so that, to 3.10, only its caller tells that it has ended

def outer(number):
    inner(number + 1)

def run():
    for number in (10, 20):
        try:
            outer(number)
        except KeyError:
            pass

serve(run)
"""


def test_calls_that_one_exception_ends_are_told_each(
    interpreter: Interpreter, start_target: Start, tmp_path: Path
) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO_AT_ONCE)
    target = start_target(interpreter, script)
    recording = measured(target.pid, ("inner", "outer"), target.run).recording
    assert recording.slow_calls
    told = {
        (call.function.qualname, call.arguments, call.outcome, call.stack[0].line) for call in recording.slow_calls.kept
    }
    assert told == {
        ("inner", (Argument("number", "11"),), "raised", 15),
        ("inner", (Argument("number", "21"),), "raised", 15),
        ("outer", (Argument("number", "10"),), "raised", 20),
        ("outer", (Argument("number", "20"),), "raised", 20),
    }
    assert recording.losses.total == recording.slow_calls.lost == 0


GONE = """
import time
from protocol import serve

class Box:
    def __init__(self, label):
        self.label = label

def work(box, many, number):
    box = None  # the caller keeps none: their memory is others' from here on
    many.clear()
    others = [Box("another") for _ in range(2000)], [["another" + str(each)] for each in range(5000)]
    begin = time.perf_counter()
    while time.perf_counter() - begin < 0.02:
        pass
    return others

def run():
    work(Box("first"), [["one" + str(each)] for each in range(40)], 7)

serve(run)
"""


def test_of_an_argument_that_died_during_the_call_nothing_later_is_shown(
    interpreter: Interpreter, start_target: Start, tmp_path: Path
) -> None:
    script = tmp_path / "gone.py"
    script.write_text(GONE)
    target = start_target(interpreter, script)
    recording = measured(target.pid, ("work",), target.run).recording
    assert recording.slow_calls
    (call,) = recording.slow_calls.kept
    box, many, number = call.arguments or ()
    assert (number.name, number.text) == ("number", "7")
    assert "'first'" in box.text
    assert many.text.startswith("[")
    assert "…" in many.text
    assert not any("another" in each.text or "unreadable" in each.text or each.later for each in (box, many))


def test_a_percentile_is_of_each_function_and_waits_for_enough_calls(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    target = start_target(own_interpreter, "slow.py", SLOW_NS)
    asked = Options(func=("__main__:plain",), engine="watch", slower="p90", slowest=1000)
    session = WatchSession(Target(target.pid, engine="watch"), asked)
    try:
        session.start()
        first = in_order(target.run())
        deadline = time.monotonic() + 300
        while not session.maps.statistics["slower_ns"].any() and time.monotonic() < deadline:
            assert session.poll() == ""
            time.sleep(0.01)
        assert 0 < session.maps.statistics["slower_ns"].max() <= highest_p90_ns(first)
        second = in_order(target.run())
        recording = session.stop()
    finally:
        session.close()
    slow = recording.slow_calls
    assert slow
    assert recording.overhead
    highest_ns = highest_p90_ns([*first, *second]) + 2 * TRAPS_PER_CALL * recording.overhead.ns_per_hit
    assert {key for key, known in second if known["least_ns"] > highest_ns} <= {key_of(call) for call in slow.kept}
    assert all(call.duration_ns > call.threshold_ns > 0 for call in slow.kept)
    assert 100 <= slow.unjudged <= recording.calls - slow.seen


def test_what_does_not_fit_the_ring_buffer_is_counted_and_measured_all_the_same(
    own_interpreter: Interpreter, start_target: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling.SlowLog, "ring_bytes", 1 << 14)
    target = start_target(own_interpreter, "slow.py", 0)
    functions = ("plain", "failing")
    recording, told, _ = measured(target.pid, functions, target.run, slower="1ns", slowest=10)
    truth = [known for known in told.values() if known["function"] in functions]
    slow = recording.slow_calls
    assert slow
    assert recording.calls == len(truth)
    assert 0 < slow.lost < slow.seen <= recording.calls
    assert 0 < len(slow.kept) <= min(10, slow.seen - slow.lost)
    assert recording.losses.total == 0


def test_each_call_of_a_deep_recursion_keeps_what_it_began_with(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    # They last, since of the outermost one a thousand hits are taken off.
    target = start_target(own_interpreter, "recursion.py", DEEP, 1, 0.1)
    recording, truth, _ = measured(target.pid, ("descend",), target.run, slower="1ns", slowest=5000)
    slow = recording.slow_calls
    assert slow
    assert recording.calls == truth["descend"]["returned"]
    assert recording.losses.total == slow.lost == 0
    depths = {int(call.arguments[0].text): call for call in slow.kept if call.arguments}
    assert len(depths) == len(slow.kept) == slow.seen
    assert depths.keys() <= set(range(1, DEEP + 1))
    assert depths[DEEP].stack[0].function.qualname == "run"
    deep = [call for depth, call in depths.items() if depth < DEEP - wire.STACK_FRAMES]
    assert deep
    assert all(frame.function.qualname == "descend" for call in deep for frame in call.stack)
    assert not any(call.stack_whole for call in deep)


def test_of_calls_beyond_those_whose_arguments_are_kept_they_are_said_to_be_unknown(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    target = start_target(own_interpreter, "recursion.py", ENTRIES + 100, 1, 0.1)
    recording, truth, _ = measured(target.pid, ("descend",), target.run, slower="10ms", slowest=5000)
    slow = recording.slow_calls
    assert slow
    assert recording.calls == slow.seen == truth["descend"]["returned"]
    assert recording.losses.total == slow.lost == 0
    known = {int(call.arguments[0].text) for call in slow.kept if call.arguments is not None}
    assert known <= set(range(101, ENTRIES + 101))
    assert ENTRIES + 100 in known
    assert any(call.arguments is None for call in slow.kept)


@pytest.mark.xdist_group("breakpoints")
def test_slow_calls_of_children_are_told_with_their_process(
    own_interpreter: Interpreter, start_target: Start, tmp_path: Path
) -> None:
    script = tmp_path / "children.py"
    script.write_text(CHILDREN)
    target = start_target(own_interpreter, script)
    recording, child, _ = measured(target.pid, ("work",), target.run, slower="15ms", children=True)
    assert recording.slow_calls
    told = {(it.pid, it.arguments, it.stack[0].function.qualname, it.stack[0].line) for it in recording.slow_calls.kept}
    assert told == {
        (child, (Argument("name", "'in the child'"),), "parent", 13),
        (target.pid, (Argument("name", "'in the parent'"),), "parent", 16),
    }


def test_what_both_engines_saw_while_they_were_compared_is_not_told(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    program = start_target(own_interpreter, "serving.py")
    asked = Options(func=("handle",), engine="watch", slower="1us", slowest=10_000)
    measuring = Watched(Target(program.pid, engine="watch"), asked)
    try:
        measuring.start()
        assert "saw the same" in measuring.target.choice
        program.send("more 20")
        program.readline()
        assert measuring.poll() == ""
        recording = measuring.stop()
    finally:
        measuring.close()
    slow = recording.slow_calls
    assert slow
    assert recording.started_at
    assert len(slow.kept) == slow.seen == recording.calls > 0
    assert all(call.began_at >= recording.started_at for call in slow.kept)


def test_auto_takes_watchpoints_and_slow_calls_are_told_all_along(
    own_interpreter: Interpreter, start_target: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whichever engine measured when they ended."""
    monkeypatch.setattr(thoughts, "AGAIN_S", 0.1)
    program = start_target(own_interpreter, "serving.py")
    auto = Auto(Target(program.pid), Options(func=("handle",), slower="1us", slowest=10_000))
    try:
        auto.start()
        until_watched(auto)
        program.send("more 20")
        program.readline()
        assert auto.poll() == ""
        recording = auto.stop()
    finally:
        auto.close()
    slow = recording.slow_calls
    assert slow
    assert len(slow.kept) == slow.seen == recording.calls > 0
    assert {call.function.qualname for call in slow.kept} == {"handle"}
    assert "entry" in {call.arguments_at for call in slow.kept}


def test_a_program_from_its_first_call_on(own_interpreter: Interpreter, tmp_path: Path) -> None:
    """Whoever measures when the call ends tells it."""
    script, recorded = tmp_path / "ends.py", tmp_path / "r.json"
    script.write_text(ENDS_AT_ONCE)
    run = ("run", "--engine", "watch", "--func", "last_job", "--slower", "15ms", "-o", recorded, "--")
    done = pylat(*run, own_interpreter.path, script, "now")
    assert done.status == 3, done.err
    (recording,) = load(recorded)
    assert recording.slow_calls
    (call,) = recording.slow_calls.kept
    assert (call.outcome, call.exception) == ("raised", "SystemExit")


def test_functions_in_turns_tell_what_their_slices_saw(own_interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(own_interpreter, "serving.py")
    functions = ("handle", "answer_requests", "main")
    asked = Options(func=functions, engine="watch", slower="1us", slowest=10_000)
    session = WatchSession(Target(program.pid, engine="watch"), asked)
    try:
        session.start()
        while not session.so_far().calls:
            program.send("more 5")
            program.readline()
            assert session.poll() == ""
        recording = session.stop()
    finally:
        session.close()
    slow = recording.slow_calls
    assert slow
    assert slow.seen == recording.calls
    assert len(slow.kept) == slow.seen > 0


@pytest.fixture
def secretive(own_interpreter: Interpreter, start_target: Start, tmp_path: Path) -> Any:
    script = tmp_path / "application.py"
    script.write_text(APPLICATION)
    return start_target(own_interpreter, script, "--password", SECRET)


def test_secrets_are_in_no_recording_and_no_report(secretive: Any, tmp_path: Path) -> None:
    saved = tmp_path / "saved.json"
    asked = ("-p", secretive.pid, "--engine", "watch", "--slower", "1us", "-o", saved, "-j", *EVERY_CALL)
    measured = during_a_run(secretive, *asked)
    assert measured.status == 0, measured.err
    assert measured.run["target"]["engine"] == "watch"
    assert measured.run["slow_calls"]["seen"] > 0
    written = [measured.out, saved.read_text(), pylat("report", saved, "--format", "text").out]
    for each in written:
        assert SECRET not in each
        assert HIDDEN in each


def test_without_values_no_argument_is_read(secretive: Any, tmp_path: Path) -> None:
    saved = tmp_path / "saved.json"
    asked = ("-p", secretive.pid, "--engine", "watch", "--slower", "1us", "--no-values", "-o", saved, *EVERY_CALL)
    measured = during_a_run(secretive, *asked)
    assert measured.status == 0, measured.err
    assert "(…)" in measured.out
    for each in (measured.out, saved.read_text()):
        assert "REQUEST_METHOD" not in each
