"""A trace tells each call as it was, in its order, on every CPython; and says where it does not."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from latency.cpython.survey import survey_process
from latency.cpython.values import CUT, Limits
from latency.recording import trace as told
from latency.recording.trace import TraceEvent, Value
from latency.target.process import Process
from latency.tracing.counted import wire
from tests.lab import Interpreter, greenlets
from tests.pylat_command import Tracing, pylat
from tests.target_program import TargetProgram
from tests.tracer import Tracer

Start = Callable[..., TargetProgram]
Trace = Callable[..., Tracer]
LARGE = 128 << 20
"""Of a ring buffer that no test fills."""
LONGEST = 5_000
"""Characters of a value, about."""


@pytest.fixture
def trace() -> Iterator[Trace]:
    """``trace(pid, patterns, **options)``: a trace that has begun, taken away after the test."""
    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(Tracer(*arguments, **options))


def in_order(value: Value, text: str) -> bool:
    """Whether a value is this text, but for what a bound cut out of it: of a string before its closing quote; of an
    integer all but its first digits, which are hexadecimal."""
    pieces = re.sub("['\"]…", CUT, re.sub("-?0x[0-9a-f]+…", CUT, value.text)).split(CUT)
    at = 0
    for piece in pieces:
        at = text.find(piece, at) + len(piece) if piece in text[at:] else len(text) + 1
    return at <= len(text) and (len(pieces) > 1 or value.text == text)


def of_kind(tracer: Tracer, kind: str) -> list[TraceEvent]:
    return [event for event in tracer.events if event.kind == kind]


def name(event: TraceEvent) -> str:
    return event.function.qualname if event.function else ""


def has_markers(pid: int) -> bool:
    """Whether calls can be seen at USDT markers: to 3.10, and in 3.15, where the build has them."""
    return "usdt" in survey_process(Process(pid)).plans


def began_ns(events: list[TraceEvent], end: TraceEvent) -> int:
    """When the call began that ends so: of its function, at its depth, the last one before."""
    before = (event for event in events[: events.index(end)] if event.kind == told.STARTED)
    return [event.time_ns for event in before if (event.function, event.depth) == (end.function, end.depth)][-1]


def test_10000_calls_have_the_arguments_and_results_that_the_target_says(
    interpreter: Interpreter, start_target: Start, trace: Trace
) -> None:
    target = start_target(interpreter, "traced.py", "values", 10_000)
    limits = Limits(characters=1000, time_s=100)
    tracer = trace(target.pid, ["echo", "same"], arguments=True, values=True, limits=limits, event_bytes=LARGE)
    truth: Any = target.run()
    recording = tracer.stop()
    starts, returns = of_kind(tracer, told.STARTED), of_kind(tracer, told.RETURNED)
    assert (len(starts), len(returns), len(tracer.events)) == (10_000, 10_000, 20_000)
    assert recording.calls == 10_000
    wrong = []
    for start, returned, (arguments, result) in zip(starts, returns, truth, strict=True):
        values = [*(start.arguments or ()), returned.value or Value("")]
        wrong += [it for it in zip(values, [*arguments, result], strict=True) if not in_order(*it)]
    assert wrong == []
    assert {tuple(each.name for each in start.arguments or ()) for start in starts} == {
        ("value",),
        ("value", "key", "more", "others"),
    }
    later = sum(value.later for start in starts for value in start.arguments or ())
    assert later < 500  # of 13,000: the large ones


def test_values_are_those_of_the_moment_whatever_becomes_of_them(
    interpreter: Interpreter, start_target: Start, trace: Trace
) -> None:
    target = start_target(interpreter, "traced.py", "changing", 300)
    tracer = trace(target.pid, ["change", "make"], arguments=True, values=True, event_bytes=LARGE)
    truth: Any = target.run()
    tracer.stop()
    changes = [
        event for event in of_kind(tracer, told.STARTED) if event.function and event.function.qualname == "change"
    ]
    made = [event for event in of_kind(tracer, told.RETURNED) if event.function and event.function.qualname == "make"]
    assert len(changes) == len(made) == 300
    for change, result, (text, items, user, made_text) in zip(changes, made, truth, strict=True):
        values = change.arguments or ()
        assert not any(each.later for each in values)
        assert [each.text for each in values[:2]] == [text, items]
        assert sorted(values[2].text.rpartition(" at 0x")[2].rstrip(">").split(" ")[1:]) == sorted(user.split(" "))
        assert result.value == Value(made_text)


def test_calls_beyond_the_table_of_a_thread_are_told_like_all_others(
    own_interpreter: Interpreter, start_target: Start, trace: Trace
) -> None:
    target = start_target(own_interpreter, "recursion.py", wire.DEPTH + 100, 2)
    tracer = trace(target.pid, ["descend"])
    truth = target.run()
    recording = tracer.stop()
    starts, returns = of_kind(tracer, told.STARTED), of_kind(tracer, told.RETURNED)
    assert len(starts) == len(returns) == truth["descend"]["calls"]
    assert len(tracer.events) == 2 * len(starts)
    assert all(event.latency_ns for event in returns)
    assert not recording.losses.total


@pytest.mark.cpython(each=greenlets.MINORS)
def test_greenlets_that_wait_in_one_function_at_once_are_each_told(
    interpreter: Interpreter, start_target: Start
) -> None:
    files = greenlets.package(interpreter)
    target = start_target(interpreter, "greenlets.py", files=files, environ=greenlets.ENVIRON)
    with Tracing("trace", "-p", target.pid, "--func", "waits_in_a_crowd", "-j") as tracing:
        truth = target.run()["waits_in_a_crowd"]
        result = tracing.stop()
    *events, end = [json.loads(line) for line in result.out.splitlines()]
    assert truth["calls"] > wire.DEPTH
    assert [event["event"] for event in events] == ["start"] * truth["calls"] + ["return"] * truth["calls"]
    assert len({event["frame"] for event in events}) == truth["calls"]
    assert end == {"event": "end", "events": len(events), "calls": truth["calls"], "lost": 0, "losses": {}}
    # the last line: below it would stand what was lost, and why
    assert tracing.said[-1] == f"{len(events):,} events, {truth['calls']:,} calls ended, 0 events lost"
    assert result.status == 0


@pytest.mark.parametrize("engine", ["auto", "usdt"])
def test_calls_are_told_in_the_order_of_the_targets_own_log(
    interpreter: Interpreter, start_target: Start, trace: Trace, engine: str
) -> None:
    target = start_target(interpreter, "traced.py", "calls")
    if engine == "usdt" and not has_markers(target.pid):
        pytest.skip("the build has no markers for calls")
    names = ["descend", "failing", "overridden", "constant", "nothing", "counting", "Api.get", "*inner"]
    tracer = trace(target.pid, names, engine=engine, arguments=True, values=True)
    truth: Any = target.run()
    tracer.stop()
    seen = []
    for event in tracer.events:
        function = event.function
        assert function is not None
        assert function.filename.endswith("/traced.py")
        text: str | None = None
        if event.kind == told.STARTED:
            text = " ".join(f"{each.name}={each.text}" for each in event.arguments or ())
        elif event.kind == told.RAISED:
            text = event.exception
        elif event.kind == told.RETURNED:
            text = event.value.text if event.value else ""
        seen.append([event.kind, function.qualname, function.line, text])
    assert seen == truth
    depths = [event.depth for event in tracer.events if name(event) == "descend"]
    assert depths == [0, 1, 2, 3, 3, 2, 1, 0]
    raised = {event.exception: event.value.text for event in of_kind(tracer, told.RAISED) if event.value}
    assert raised["ZeroDivisionError"].startswith("ZeroDivisionError('")
    assert raised["KeyError"].startswith("KeyError('raise'")
    times = [event.time_ns for event in tracer.events]
    assert times == sorted(times)
    ends = [event for event in tracer.events if event.kind in told.ENDS]
    elapsed_ns = [event.time_ns - began_ns(tracer.events, event) for event in ends]
    assert all(0 <= event.latency_ns < elapsed for event, elapsed in zip(ends, elapsed_ns, strict=True))
    assert [bool(event.active_ns) for event in ends] == [
        bool(e.function and "counting" in e.function.qualname) for e in ends
    ]


def test_a_ring_buffer_that_is_too_small_loses_events_and_says_where_and_how_many(
    interpreter: Interpreter, start_target: Start, trace: Trace
) -> None:
    target = start_target(interpreter, "traced.py", "threads", 300)
    tracer = trace(target.pid, ["work"], event_bytes=4096)
    tracer.pause()
    target.run()
    tracer.events += tracer.trace.take()
    target.run()
    tracer.stop()
    seen = [event for event in tracer.events if event.kind != told.LOST]
    lost = of_kind(tracer, told.LOST)
    assert len(lost) >= 2
    assert len(seen) + sum(event.lost for event in lost) == 2 * 2 * 4 * 300
    assert tracer.trace.lost_in_all == sum(event.lost for event in lost)
    # the first run's were lost behind its first events, and before those of the second
    first = tracer.events.index(lost[0])
    assert 0 < first < len(tracer.events) - 1
    assert all(event.kind != told.LOST for event in tracer.events[:first])


def test_four_threads_are_told_apart(interpreter: Interpreter, start_target: Start, trace: Trace) -> None:
    target = start_target(interpreter, "traced.py", "threads", 250)
    tracer = trace(target.pid, ["work"], arguments=True, values=True, event_bytes=LARGE)
    target.run()
    tracer.stop()
    by_thread: dict[int, list[str]] = {}
    for event in of_kind(tracer, told.STARTED):
        by_thread.setdefault(event.tid, []).extend(each.text for each in event.arguments or ())
    assert list(by_thread.values()) == [[str(number) for number in range(250)]] * 4


def test_objects_that_are_corrupted_while_they_are_traced_are_told_within_bounds(
    interpreter: Interpreter, start_target: Start, trace: Trace
) -> None:
    target = start_target(interpreter, "traced.py", "hostile")
    limits = Limits(characters=200, time_s=100)
    tracer = trace(target.pid, ["receive"], arguments=True, values=True, limits=limits, event_bytes=LARGE)
    count: Any = target.run()
    tracer.stop()
    assert target.quit() == 0
    starts, returns = of_kind(tracer, told.STARTED), of_kind(tracer, told.RETURNED)
    assert len(starts) == len(returns) == count
    texts = [each.text for start in starts for each in start.arguments or ()]
    texts += [event.value.text for event in returns if event.value]
    assert len(texts) == 2 * count
    assert all(len(text) < LONGEST and text.isprintable() for text in texts)
    assert sum("<unreadable at " in text for text in texts) > count / 4


def test_the_command_writes_json_lines_and_ends_after_so_many_calls(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    target = start_target(own_interpreter, "traced.py", "calls")
    with Tracing("trace", "-p", target.pid, "--func", "descend", "--args", "--ret", "-j", "-n", 3) as tracing:
        target.run()
        result = tracing.wait()
    assert result.status == 0, result.err
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert [line["event"] for line in lines] == ["start"] * 4 + ["return"] * 3 + ["end"]
    assert lines[0]["args"] == [{"name": "depth", "value": "3"}]
    assert lines[6]["value"] == {"value": "2"}
    assert lines[6]["function"] == "descend"
    assert lines[7] == {"event": "end", "events": 7, "calls": 3, "lost": 0, "losses": {}}


def test_the_commands_lines_are_indented_and_name_what_was_raised(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    target = start_target(own_interpreter, "traced.py", "calls")
    with Tracing("trace", "-p", target.pid, "--func", "descend", "--func", "failing", "--args", "--ret") as tracing:
        target.run()
        result = tracing.stop()
    assert result.status == 0, result.err
    header, *lines = result.out.splitlines()
    assert header.split()[:2] == ["time", "thread"]
    shown = [line.split(str(target.pid), 1)[1].removeprefix("  ") for line in lines]
    assert shown[0].startswith("→ descend(depth=3)  /")
    assert shown[1].startswith("  → descend(depth=2)  /")
    assert any(line.startswith("✗ failing ZeroDivisionError('") for line in shown)
    assert "0 events lost" in result.err


def test_a_chrome_trace_is_whole_when_it_is_interrupted_and_its_slices_nest(
    own_interpreter: Interpreter, start_target: Start, tmp_path: Path
) -> None:
    target = start_target(own_interpreter, "traced.py", "calls")
    file = tmp_path / "trace.json"
    with Tracing("trace", "-p", target.pid, "--args", "--ret", "--chrome", file) as tracing:
        target.run()
        result = tracing.stop(signal.SIGINT)
    assert result.status == 0, result.err
    events = json.loads(file.read_text())
    slices = [event for event in events if event["ph"] == "X"]
    assert [it["args"]["depth"] for it in slices if it["name"] == "descend"] == ["0", "1", "2", "3"]
    # in whole nanoseconds: microseconds since the epoch have no room for them in a double
    spans = sorted((round(it["ts"] * 1000), -round(it["dur"] * 1000)) for it in slices)
    ends: list[int] = []
    for begin, length in spans:
        while ends and ends[-1] <= begin:
            ends.pop()
        assert not ends or begin - length <= ends[-1] + 1_000
        ends.append(begin - length)


def test_no_call_and_many_losses_have_exit_statuses_of_their_own(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    target = start_target(own_interpreter, "traced.py", "threads", 2000)
    with Tracing("trace", "-p", target.pid, "--func", "descend", "-d", 0.1) as tracing:
        assert tracing.wait().status == 3
    with Tracing("trace", "-p", target.pid, "--func", "work", "--buffer", 4) as tracing:
        target.run()
        result = tracing.stop()
    assert result.status == 4, result.err
    assert "events lost here" in result.out


def test_watch_does_not_tell_calls_one_by_one(own_interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(own_interpreter, "traced.py", "calls")
    kept = program.directory / "kept.json"
    kept.write_text("kept")
    for options in ((), ("--chrome", kept)):
        result = pylat("trace", "-p", program.pid, "--engine", "watch", "--func", "echo", *options)
        assert (result.status, result.out) == (2, "")
        assert "one by one" in result.err
    assert kept.read_text() == "kept"


ENDS_ITS_THREAD = """
import ctypes, os, threading
from protocol import serve, truth

def work():
    ctypes.CDLL(None).pthread_exit(None)

def run():
    threading.Thread(target=work, daemon=True).start()
    while len(os.listdir("/proc/self/task")) > 1:
        pass
    return {"work": truth()}

serve(run)
"""


def test_what_was_lost_is_told_with_what_to_do(
    own_interpreter: Interpreter, start_target: Start, tmp_path: Path
) -> None:
    (tmp_path / "ending.py").write_text(ENDS_ITS_THREAD)
    target = start_target(own_interpreter, tmp_path / "ending.py")
    with Tracing("trace", "-p", target.pid, "--func", "work") as tracing:
        target.run()
        result = tracing.stop()
    assert "lost 1 thread_ended: a thread ended while calls were open in it" in result.err
