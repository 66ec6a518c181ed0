"""``pylat top`` and the table of ``pylat -p PID`` in a real terminal, on live processes."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latency.cpython.interpreter import Target
from latency.live.ledger import Ledger
from latency.recording import Options, Recording, load
from latency.recording.totals import Totals
from latency.tracing.measurement import begin
from latency.tracing.probes.session import Session
from tests.lab import Interpreter
from tests.pylat_command import EVERY_CALL, PYLAT, pylat
from tests.target_program import TargetProgram
from tests.terminal import Terminal
from tests.watch import wrong

Start = Callable[..., TargetProgram]


def top(*pids: int, options: tuple[str, ...] = (), **further: Any) -> Terminal:
    words = [word for pid in pids for word in ("-p", str(pid))]
    return Terminal(*PYLAT, "top", *words, *EVERY_CALL, *options, **further)


ITS_OWN = ("--func", "handle_request", "--func", "worker")
"""What of ``requests.py`` neither waits for its next command nor begins it: all of its calls are seen whole."""


def begun(terminal: Terminal) -> Terminal:
    """The probes are in place, and the view is there."""
    terminal.shows("watched 100 %", "? help")
    return terminal


def calls_since_start(lines: list[str]) -> int:
    """As an opened function says it; -1 where none is open."""
    for line in lines:
        if found := re.search(r"since the start +calls ([\d,]+)", line):
            return int(found[1].replace(",", ""))
    return -1


def opened(terminal: Terminal, name: str) -> None:
    """Find a function, and open it."""
    terminal.press("/", *name)
    terminal.shows("1 of")
    terminal.press("Enter", "Enter")
    terminal.shows(f"{name}  /")


# -- the view --------------------------------------------------------------------------------------


def test_a_live_process_is_sorted_filtered_opened_saved_and_left_in_any_window(
    own_interpreter: Interpreter, start_target: Start, tmp_path: Path
) -> None:
    target = start_target(own_interpreter, "requests.py")
    options = (*ITS_OWN, "-o", str(tmp_path / "last.json"))
    with top(target.pid, folder=tmp_path, options=options) as terminal:
        begun(terminal)
        truth = target.run()
        terminal.shows("handle_request")
        terminal.press("t")
        terminal.shows("since the start")
        terminal.press("<")
        terminal.until(lambda lines: any("errors▼" in line for line in lines) and "handle_request" in marked(lines))
        terminal.press("/", *"work")
        lines = terminal.shows("1 of", "worker")
        assert not any("handle_request" in line for line in lines)
        terminal.press("Escape")
        terminal.shows("handle_request")
        opened(terminal, "handle_request")
        terminal.until(lambda lines: calls_since_start(lines) == truth["handle_request"]["calls"])
        terminal.press("s")
        terminal.shows("saved")
        terminal.resize(40, 12)
        terminal.until(lambda lines: len(lines) <= 12 and all(len(line) <= 40 for line in lines))
        # One key at a time: Escape with another one right behind it is Alt with that key, to every terminal.
        terminal.press("Escape")
        terminal.shows("function", "1 of")
        terminal.press("Escape")
        terminal.until(lambda lines: not any("1 of" in line for line in lines))
        terminal.press("q")
        status, said = terminal.ended()
    assert status == 0
    assert "Detaching..." in said
    assert "0 lost, 0 unmatched" in said
    (saved,) = tmp_path.glob("pylat-*.json")
    for file in (saved, tmp_path / "last.json"):
        (recording,) = load(file)
        assert wrong(recording, truth) == {}


def marked(lines: list[str]) -> str:
    return next((line for line in lines if line.startswith("▶")), "")


def test_ctrl_c_ends_it_with_the_report(own_interpreter: Interpreter, start_target: Start) -> None:
    target = start_target(own_interpreter, "requests.py")
    with top(target.pid) as terminal:
        begun(terminal)
        target.run()
        terminal.shows("handle_request")
        terminal.press("C-c")
        status, said = terminal.ended()
    assert status == 0
    assert "handle_request" in said
    assert "engine: " in said


def test_a_target_that_ends_can_be_looked_at_and_saved(
    own_interpreter: Interpreter, start_target: Start, tmp_path: Path
) -> None:
    target = start_target(own_interpreter, "requests.py")
    with top(target.pid, folder=tmp_path, options=ITS_OWN) as terminal:
        begun(terminal)
        truth = target.run()
        target.quit()
        terminal.shows(f"{target.pid} ended")
        opened(terminal, "handle_request")
        terminal.until(lambda lines: calls_since_start(lines) == truth["handle_request"]["calls"])
        terminal.press("s")
        terminal.shows("saved")
        terminal.press("q")
        status, said = terminal.ended()
    assert status == 0
    assert f"process {target.pid} ended: this is what was seen until then" in said
    (file,) = tmp_path.glob("pylat-*.json")
    assert wrong(load(file)[0], truth) == {}


def test_a_target_that_execs_is_told_and_what_was_seen_is_kept(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    target = start_target(own_interpreter, "replacing.py")
    with top(target.pid, options=("--func", "work")) as terminal:
        begun(terminal)
        target.run()
        terminal.shows("work")
        target.send("quit")
        target.readline()  # the other program has run
        terminal.shows("exec")
        terminal.press("q")
        status, said = terminal.ended()
    assert status == 0
    assert "replaced itself by another program (exec): this is what was seen until then" in said
    assert "calls 300" in said


def test_a_target_that_is_stopped_is_told_and_goes_on(own_interpreter: Interpreter, start_target: Start) -> None:
    target = start_target(own_interpreter, "requests.py")
    with top(target.pid) as terminal:
        begun(terminal)
        target.run()
        os.kill(target.pid, signal.SIGSTOP)
        terminal.shows(f"{target.pid} is stopped", "handle_request")
        os.kill(target.pid, signal.SIGCONT)
        terminal.until(lambda lines: not any("is stopped" in line for line in lines))
        truth = target.run()
        opened(terminal, "handle_request")
        terminal.until(lambda lines: calls_since_start(lines) == 2 * truth["handle_request"]["calls"])
        terminal.press("q")
        assert terminal.ended()[0] == 0


def test_another_engine_keeps_what_was_measured(
    own_interpreter: Interpreter, start_target: Start, tmp_path: Path
) -> None:
    target, file = start_target(own_interpreter, "requests.py"), tmp_path / "both.json"
    with top(target.pid, options=("--engine", "handlers", "--func", "handle_request", "-o", str(file))) as terminal:
        begun(terminal)
        truth = target.run()
        terminal.press("e")
        terminal.shows("hardware watchpoints")
        terminal.press("End", "Enter")
        terminal.shows("engine watch")
        target.run()
        opened(terminal, "handle_request")
        terminal.until(lambda lines: calls_since_start(lines) == 2 * truth["handle_request"]["calls"])
        terminal.press("q")
        status, said = terminal.ended()
    assert status == 0
    assert "it was changed while measuring" in " ".join(said.split())
    (recording,) = load(file)
    assert recording.target.engine == "watch"
    assert recording.calls == 2 * truth["handle_request"]["calls"]
    assert not recording.losses.total


def test_an_engine_that_cannot_be_had_leaves_the_measurement_as_it_is(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    target = start_target(own_interpreter, "requests.py")
    with top(
        target.pid,
        options=(
            "--engine",
            "handlers",
        ),
    ) as terminal:
        begun(terminal)
        terminal.press("e")
        terminal.shows("USDT markers")
        terminal.press("Home", "Down", "Enter")
        terminal.shows("it goes on as it was")
        truth = target.run()
        opened(terminal, "handle_request")
        terminal.until(lambda lines: calls_since_start(lines) == truth["handle_request"]["calls"])
        terminal.press("q")
        status, said = terminal.ended()
    assert status == 0
    assert "it goes on as it was" in said


def test_slow_calls_are_told_from_the_key_on(own_interpreter: Interpreter, start_target: Start) -> None:
    target = start_target(own_interpreter, "requests.py")
    with top(target.pid, options=("--func", "handle_request"), lines=70) as terminal:
        begun(terminal)
        target.run()
        opened(terminal, "handle_request")
        terminal.shows("press l")
        terminal.press("l")
        terminal.shows("slow calls, beyond p99")
        for _ in range(2):  # the first calls are what the others are compared with
            target.run()
        terminal.shows("callers seen", "worker  /", "handle_request(number=")
        terminal.press("q")
        assert terminal.ended()[0] == 0


def test_several_processes_together_and_each(own_interpreter: Interpreter, start_target: Start) -> None:
    one, other = (start_target(own_interpreter, "requests.py", calls) for calls in (100, 300))
    with top(one.pid, other.pid) as terminal:
        begun(terminal)
        truths = [target.run()["handle_request"]["calls"] for target in (one, other)]
        terminal.shows("2 processes together")
        terminal.press("/", *"handle_request")
        terminal.shows("2 of")  # each has a file of its own
        terminal.press("Enter")
        for target, calls in zip((one, other), truths, strict=True):
            terminal.press("Tab")
            terminal.shows(f"process {target.pid}, of 2", "1 of")
            terminal.press("Enter")
            terminal.until(lambda lines, calls=calls: calls_since_start(lines) == calls)  # type: ignore[misc]
            terminal.press("Escape")
            terminal.shows("function")
        terminal.press("q")
        assert terminal.ended()[0] == 0


def test_children_are_told_apart(own_interpreter: Interpreter, start_target: Start) -> None:
    target = start_target(own_interpreter, "workers.py")
    with top(target.pid, options=("--children",)) as terminal:
        begun(terminal)
        target.run()
        terminal.shows("processes together", "answers")
        terminal.press("Tab")
        terminal.shows(f"process {target.pid}, of")
        terminal.press("q")
        assert terminal.ended()[0] == 0


def test_without_colour_no_colour_is_sent(own_interpreter: Interpreter, start_target: Start) -> None:
    target = start_target(own_interpreter, "requests.py")
    with top(target.pid, environ={"NO_COLOR": "1"}) as terminal:
        begun(terminal)
        target.run()
        terminal.shows("handle_request")
        assert not re.search(r"\x1b\[[0-9;]*\b(3[0-7]|4[0-7]|9[0-7]|38|48)\b[0-9;:]*m", terminal.styled)
        terminal.press("q")
        assert terminal.ended()[0] == 0
        assert not re.search(r"\x1b\[[0-9;]*\b(3[0-7]|38)\b", terminal.styled)


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_without_a_terminal_to_draw_on_there_is_one_line_and_a_hint(own_interpreter: Interpreter, term: str) -> None:
    if term == "dumb":
        with Terminal(*PYLAT, "top", "-p", os.getpid(), environ={"TERM": "dumb"}) as terminal:
            status, said = terminal.ended()
    else:
        status, _, said = pylat("top", "-p", os.getpid())
    assert status == 2
    assert said.strip().splitlines()[0].startswith("pylat: pylat top ")
    assert "pylat -p PID -i 1" in said


# -- the table -------------------------------------------------------------------------------------


def test_on_a_terminal_a_table_fills_until_ctrl_c_and_makes_way_for_the_report(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    target = start_target(own_interpreter, "requests.py")
    with Terminal(*PYLAT, "-p", target.pid, *EVERY_CALL) as terminal:
        terminal.shows("Tracing every function")
        target.run()
        terminal.until(
            lambda lines: any("calls/s" in line for line in lines) and any("handle_request" in it for it in lines)
        )
        terminal.press("C-c")
        status, said = terminal.ended()
    assert status == 0
    assert "calls/s" not in said
    assert said.count("handle_request") == 1
    assert "0 lost, 0 unmatched" in said


def test_on_a_pipe_there_is_the_report_alone(own_interpreter: Interpreter, start_target: Start) -> None:
    target = start_target(own_interpreter, "requests.py")
    status, out, err = pylat("-p", target.pid, "-d", "4", *EVERY_CALL)
    assert status == 3
    assert "calls/s" not in out + err


# -- what the view reads ---------------------------------------------------------------------------


def numbers(totals: list[Totals]) -> dict[tuple[str, int], tuple[int, ...]]:
    ledger = Ledger(0.0)
    ledger.take(totals, 1.0)
    columns = ledger.since_start()
    names = ("returned", "raised", "wall_ns", "busy_ns", "min_ns", "max_ns", "taken_ns", "off_cpu_ns", "self_ns")
    found = {}
    for row, function in enumerate(columns.functions):
        histogram = columns.histogram(row)
        key = (f"{function.qualname} {function.filename}", function.line)
        found[key] = (*(int(columns.numbers[name][row]) for name in names), histogram.count, histogram.offset)
    # Whoever has answered may be on its way out of what answers still.
    return {key: each for key, each in found.items() if any(each) and not key[0].endswith("/protocol.py")}


def of(recording: Recording) -> dict[tuple[str, int], tuple[int, ...]]:
    return numbers([Totals.of(recording)])


@pytest.mark.parametrize("script", ["scenarios.py", "crowded.py", "redefined.py"])
def test_the_columns_are_those_of_the_recording(interpreter: Interpreter, start_target: Start, script: str) -> None:
    target = start_target(interpreter, script)
    with Session(Target(target.pid), Options(offcpu=True, self_time=True)) as session:
        session.start()
        for _ in range(3):
            target.run()
            for _ in range(3):  # code objects that were freed give their slots back
                session.poll()
                session.totals()
        session.poll()
        seen = session.so_far()
        found = session.totals()
        recording = session.stop()
    assert numbers(found) == of(recording)
    assert of(seen) == of(recording)
    assert found[0].losses == recording.losses


@pytest.mark.parametrize("engine", ["handlers", "watch", "auto"])
def test_a_recording_of_so_far_is_one_of_all_where_nothing_came_since(
    own_interpreter: Interpreter, start_target: Start, engine: str
) -> None:
    target = start_target(own_interpreter, "requests.py")
    measurement = begin(Target(target.pid, engine=engine), Options(func=("handle_request",), engine=engine))
    try:
        measurement.start()
        truth = {"handle_request": target.run()["handle_request"]}
        measurement.poll()
        so_far, found = measurement.so_far(), measurement.totals()
        recording = measurement.stop()
    finally:
        measurement.close()
    assert wrong(so_far, truth) == wrong(recording, truth) == {}
    assert numbers(found) == of(recording)


def test_children_keep_their_rows_when_they_end(own_interpreter: Interpreter, start_target: Start) -> None:
    target = start_target(own_interpreter, "forking_many.py", 20, 5)
    with Session(Target(target.pid), Options(children=True)) as session:
        session.start()
        for _ in range(2):
            target.run()
            session.poll()
            session.totals()
        found = session.totals()
        recording = session.stop()
    assert {key: each[:2] for key, each in numbers(found).items()} == {
        key: each[:2] for key, each in of(recording).items()
    }
