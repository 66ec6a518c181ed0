"""USDT markers: the interpreter's own against what the program itself saw, and the user's own in known numbers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latency.cpython.interpreter import Target
from latency.errors import NoFunctionMatches, UnsupportedBuild, UsageError
from latency.recording import FunctionLatency, Options, Recording
from latency.tracing.markers.session import MarkerSession
from tests.lab import Interpreter
from tests.pylat_command import Tracing, pylat
from tests.requirements import require
from tests.target_program import TARGETS, TargetProgram
from tests.watch import Watch

Start = Callable[..., TargetProgram]

PAIR = "myapp:request__start,myapp:request__done"
KEYED = f"{PAIR} key=arg0,arg1"
EVENT = "myapp:event"
PROBED, UNPROBED = [1, 2, 1], [0, 0, 0]
"""Semaphores of the start, which has one site, of the end, which has two, and of the event."""


def measuring(target: TargetProgram, *markers: str, **options: Any) -> MarkerSession:
    return MarkerSession(Target(target.pid), Options(markers=markers), **options)


def measured(target: TargetProgram, *markers: str, **options: Any) -> tuple[Any, Recording]:
    """(what a run of the program says, what was measured meanwhile)."""
    with measuring(target, *markers, **options) as session:
        session.start()
        truth = target.run()
        return truth, session.stop()


def by_name(recording: Recording) -> dict[str, FunctionLatency]:
    return {each.function.qualname: each for each in recording.functions}


def lost(recording: Recording) -> dict[str, int]:
    return {name: count for name, count in recording.losses.as_dict().items() if count}


# -- the interpreter's own markers ---------------------------------------------------------------


@pytest.mark.cpython(markers=True)
def test_pauses_are_those_that_the_collector_calls_back(interpreter: Interpreter, start_target: Start) -> None:
    truth, recording = measured(start_target(interpreter, "interpreting.py", "gc"), "gc")
    seen = by_name(recording)
    assert {name: each.calls for name, each in seen.items()} == {name: each["calls"] for name, each in truth.items()}
    collected = {name: recording.events[f"{name} collected"] for name in truth}
    assert collected == {name: each["objects"] for name, each in truth.items()}
    assert all(each.wall.count == each.calls and not each.raised for each in seen.values())
    assert lost(recording) == {}


@pytest.mark.cpython(markers=True)
def test_imports_have_their_own_and_their_total_time(interpreter: Interpreter, start_target: Start) -> None:
    truth, recording = measured(start_target(interpreter, "interpreting.py", "imports"), "imports")
    seen = by_name(recording)
    assert {name: (each.calls, each.raised) for name, each in seen.items()} == {
        name: (each["calls"], each["raised"]) for name, each in truth.items()
    }
    assert all(each.wall.sum_ns >= truth[name]["body_ns"] for name, each in seen.items())
    total_ns = {name: each.wall.sum_ns for name, each in seen.items()}
    own_ns = {name: each.active.sum_ns for name, each in seen.items() if each.active}
    # The marked_leaf is imported by the first of the two.
    assert own_ns["marked_top"] == total_ns["marked_top"] - total_ns["marked_left"] - total_ns["marked_right"]
    assert own_ns["marked_left"] == total_ns["marked_left"] - total_ns["marked_leaf"]
    assert own_ns["marked_right"] == total_ns["marked_right"] - total_ns["marked_broken"]
    assert own_ns["marked_leaf"] == total_ns["marked_leaf"]
    assert lost(recording) == {}


@pytest.mark.cpython(markers=True)
def test_audit_events_are_those_that_a_hook_sees(interpreter: Interpreter, start_target: Start) -> None:
    truth, recording = measured(start_target(interpreter, "interpreting.py", "audit"), "audit")
    assert {name: each.calls for name, each in by_name(recording).items()} == {
        name: each["calls"] for name, each in truth.items()
    }
    assert {each.function.kind for each in recording.functions} == {"event"}
    assert lost(recording) == {}


@pytest.mark.cpython(max=(3, 10), markers=True)
def test_lines_are_counted_by_file_and_line(interpreter: Interpreter, start_target: Start) -> None:
    truth, recording = measured(start_target(interpreter, "interpreting.py", "lines"), "lines")
    mine = {
        str(each.function.line): each.calls
        for each in recording.functions
        if each.function.filename.endswith("/interpreting.py") and str(each.function.line) in truth
    }
    assert mine == {line: each["calls"] for line, each in truth.items()}
    assert lost(recording) == {}


def test_modules_beyond_the_table_are_counted(own_interpreter: Interpreter, start_target: Start) -> None:
    target = start_target(own_interpreter, "interpreting.py", "imports")
    truth, recording = measured(target, "imports", slots=7)
    assert len(truth) == 6
    assert recording.calls == 3  # each has two: for all of its time, and for its own
    assert lost(recording) == {"table_full": 3}


# -- the user's own ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared library of ``targets/marked.c``."""
    require(shutil.which("cc"), "a C compiler")
    path = tmp_path_factory.mktemp("library") / "marked.so"
    command = ["cc", "-O2", "-Wall", "-Werror", "-nostdlib", "-shared", "-fPIC", "-o", str(path)]
    subprocess.run([*command, str(TARGETS / "marked.c")], check=True)
    return path


class Marked:
    """A running ``marked.py`` that has loaded the library."""

    def __init__(self, program: TargetProgram, library: Path, how: str = "file") -> None:
        self.program = program
        shutil.copy(library, program.directory)
        self.ask(f"load {how}")

    def ask(self, command: str) -> dict[str, Any]:
        self.program.send(command)
        answer: dict[str, Any] = json.loads(self.program.readline())
        return answer

    def measured(self, command: str, *markers: str, **options: Any) -> tuple[dict[str, Any], Recording]:
        with measuring(self.program, *markers, **options) as session:
            session.start()
            truth = self.ask(command)
            return truth, session.stop()

    @property
    def semaphores(self) -> list[int]:
        return list(self.ask("semaphores").values())


@pytest.fixture
def marked(own_interpreter: Interpreter, start_target: Start, library: Path) -> Marked:
    """On the machine's own interpreter: what is not the interpreter's is the same for all."""
    return Marked(start_target(own_interpreter, "marked.py"), library)


def assert_pairs(truth: dict[str, Any], recording: Recording) -> None:
    """Every pair, each between what the program measured inside and around it, and the longest one exactly kept."""
    seen = by_name(recording)
    assert (seen[PAIR].calls, seen[PAIR].wall.count, seen[PAIR].open) == (truth["pairs"], truth["pairs"], 0)
    assert truth["inside"][0] <= seen[PAIR].wall.sum_ns <= truth["around"][0]
    assert truth["inside"][1] <= seen[PAIR].wall.max_ns <= truth["around"][1]
    assert seen[EVENT].calls == truth["events"]
    assert recording.began_before == 0
    assert lost(recording) == {}


def test_nested_pairs_of_four_threads_are_matched_exactly(
    interpreter: Interpreter, start_target: Start, library: Path
) -> None:
    marked = Marked(start_target(interpreter, "marked.py"), library)
    assert_pairs(*marked.measured("run", PAIR, EVENT))


@pytest.mark.parametrize("attachment", ["multi", "perf"])
@pytest.mark.parametrize("how", ["memfd", "deleted"])
def test_a_library_that_has_no_name_any_more_is_found(
    own_interpreter: Interpreter, start_target: Start, library: Path, how: str, attachment: str
) -> None:
    release = tuple(map(int, os.uname().release.split(".")[:2]))
    require(attachment == "perf" or release >= (6, 6), "uprobe-multi links came with Linux 6.6")
    marked = Marked(start_target(own_interpreter, "marked.py"), library, how)
    with measuring(marked.program, PAIR, EVENT, attachment=attachment) as session:
        session.start()
        assert session.program.attachment == attachment
        assert marked.semaphores == PROBED
        truth = marked.ask("run")
        recording = session.stop()
    assert_pairs(truth, recording)
    assert marked.semaphores == UNPROBED
    assert by_name(recording)[PAIR].function.filename.endswith("/memfd:marked" if how == "memfd" else "marked.so.copy")


@pytest.mark.parametrize("attachment", ["multi", "perf"])
def test_markers_that_a_program_makes_while_it_runs_are_measured(
    own_interpreter: Interpreter, start_target: Start, library: Path, attachment: str
) -> None:
    marked = Marked(start_target(own_interpreter, "marked.py"), library, "made")
    assert_pairs(*marked.measured("run", PAIR, EVENT, attachment=attachment))
    truth, recording = marked.measured("keyed", KEYED, attachment=attachment)
    assert (by_name(recording)[PAIR].calls, lost(recording)) == (truth["pairs"], {})


def test_pairs_with_a_key_end_on_another_thread(marked: Marked) -> None:
    truth, recording = marked.measured("keyed", KEYED)
    assert (by_name(recording)[PAIR].calls, by_name(recording)[PAIR].open) == (truth["pairs"], 0)
    assert lost(recording) == {}
    assert recording.began_before == 0


@pytest.mark.parametrize("attachment", ["multi", "perf"])
def test_arguments_of_every_size_and_place_are_read_with_their_sign(marked: Marked, attachment: str) -> None:
    asked = [f"myapp:places,myapp:request__done key=arg{number},arg1" for number in range(6)]
    truth, recording = marked.measured("places", *asked, attachment=attachment)
    # All six are one name in the recording.
    (seen,) = recording.functions
    assert (seen.calls, seen.open) == (6 * truth["calls"], 0)


def test_a_marker_can_serve_in_several_roles(marked: Marked) -> None:
    asked = [PAIR, "myapp:request__start", "marked.so:myapp:request__done", "myapp:event,myapp:request__done"]
    truth, recording = marked.measured("run", *asked)
    seen = {name: each.calls for name, each in by_name(recording).items()}
    assert seen[PAIR] == seen["myapp:request__start"] == seen["myapp:request__done"] == truth["pairs"]
    assert seen["myapp:event,myapp:request__done"] == truth["events"]


MAPS_BY_HAND = """
import mmap
import sys
from protocol import say

opened = open(sys.argv[1], "r+b")
file = opened.fileno()
code = mmap.mmap(file, 4096, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC, offset=4096)
data = mmap.mmap(file, 4096, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE, offset=8192)
say({"ready": True})
input()
"""


def test_a_semaphore_that_cannot_be_raised_is_told(
    own_interpreter: Interpreter, start_target: Start, library: Path, tmp_path: Path
) -> None:
    script = tmp_path / "maps_by_hand.py"
    script.write_text(MAPS_BY_HAND)
    target = start_target(own_interpreter, script, shutil.copy(library, tmp_path))
    with measuring(target, EVENT) as session:
        session.start()
        recording = session.stop()
    (told,) = recording.blind_spots
    assert told.startswith("myapp:event of /")
    assert "could not be raised" in told


def test_a_call_in_flight_at_the_beginning_is_told_and_one_at_the_end_is_open(marked: Marked) -> None:
    marked.ask("begin")
    with measuring(marked.program, PAIR, KEYED) as session:
        session.start()
        marked.ask("end")
        marked.ask("begin")
        recording = session.stop()
    assert recording.began_before == 2
    assert by_name(recording)[PAIR].open == 2
    assert by_name(recording)[PAIR].oldest_open_ns > 0
    assert (recording.calls, lost(recording)) == (0, {})


def test_a_thread_that_ends_with_a_pair_open_is_counted(marked: Marked) -> None:
    truth, recording = marked.measured("dies_inside", PAIR)
    assert lost(recording) == {"thread_ended": truth["cut"]}
    assert (recording.calls, by_name(recording)[PAIR].open) == (0, 0)


def test_pairs_nested_deeper_than_the_table_are_counted(marked: Marked) -> None:
    truth, recording = marked.measured("deep", PAIR)
    assert by_name(recording)[PAIR].calls == truth["pairs"]
    assert lost(recording) == {"too_deep": truth["too_deep"]}


def test_ends_that_never_have_a_beginning_become_a_loss(marked: Marked) -> None:
    with measuring(marked.program, "myapp:event,myapp:request__done") as session:
        session.start()
        for _ in range(130):
            marked.ask("end")
        recording = session.stop()
    assert recording.began_before == 128
    assert lost(recording) == {"unmatched_return": 2}


def test_functions_can_be_measured_at_the_same_time(marked: Marked, watch: Callable[..., Watch]) -> None:
    watching = watch(marked.program.pid, ["pairs"])
    truth, recording = marked.measured("run", PAIR, EVENT)
    assert_pairs(truth, recording)
    (pairs,) = watching.stop().functions
    assert pairs.calls == truth["threads"]


def test_an_interval_has_what_came_since_the_last(marked: Marked) -> None:
    with measuring(marked.program, PAIR, EVENT) as session:
        session.start()
        for _ in range(2):
            truth = marked.ask("run")
            part = session.interval()
            assert {each.function.qualname: each.calls for each in part.functions} == {
                PAIR: truth["pairs"],
                EVENT: truth["events"],
            }
        assert session.stop().calls == 2 * (truth["pairs"] + truth["events"])


def test_what_is_not_there_or_cannot_be_read_is_named(marked: Marked) -> None:
    with pytest.raises(NoFunctionMatches, match="no marker myapp:evnt") as missing:
        measuring(marked.program, "myapp:evnt")
    assert "myapp:event" in missing.value.hint
    with pytest.raises(NoFunctionMatches, match=r"no marker myapp:event in a file 'libc\.so\.6'"):
        measuring(marked.program, "libc.so.6:myapp:event")
    with pytest.raises(UnsupportedBuild, match="'8f@%xmm0', which pylat cannot read"):
        measuring(marked.program, "myapp:odd,myapp:request__done key=arg0")
    with pytest.raises(UnsupportedBuild, match="no arg2: the marker has 2"):
        measuring(marked.program, f"{PAIR} key=arg2")
    with pytest.raises(UsageError, match="without --func"):
        MarkerSession(Target(marked.program.pid), Options(markers=(PAIR,), func=("f",)))


# -- the command ---------------------------------------------------------------------------------


def test_the_command_reports_pairs_and_leaves_the_semaphores_as_they_were(marked: Marked, tmp_path: Path) -> None:
    saved = tmp_path / "r.json"
    words = ["-p", marked.program.pid, "--usdt", PAIR, "--key", "arg0,arg1", "--usdt", EVENT, "-o", saved]
    with Tracing(*words) as tracing:
        assert marked.semaphores == PROBED
        truth = marked.ask("keyed")
        result = tracing.stop()
    assert (result.status, marked.semaphores) == (0, UNPROBED)
    assert "key=arg0,arg1, myapp:event in pid" in result.err
    assert f"{truth['pairs']}" in result.out
    assert "0 lost, 0 unmatched" in result.out
    assert pylat("report", saved).out == result.out


def test_a_killed_pylat_leaves_the_semaphores_as_they_were(marked: Marked) -> None:
    with Tracing("-p", marked.program.pid, "--usdt", PAIR, "--usdt", EVENT) as tracing:
        assert marked.semaphores == PROBED
        tracing.stop(signal.SIGKILL)
    assert marked.semaphores == UNPROBED


def test_imports_of_a_whole_run_are_seen_from_the_first(own_interpreter: Interpreter, tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text("import json\nimport decimal\n")
    saved = tmp_path / "r.json"
    done = pylat("run", "--imports", "--audit", "-o", saved, "--", own_interpreter.path, "-I", "-S", script)
    assert done.status == 0, done.err
    run = json.loads(saved.read_text())["runs"][0]
    modules = {it["qualname"]: it["calls"] for it in run["functions"] if it["kind"] == "marker"}
    # In this order, the last one only by the second.
    assert {"json", "json.decoder", "re", "decimal", "_decimal"} <= modules.keys()
    assert set(modules.values()) == {1}
    events = {it["qualname"]: it["calls"] for it in run["functions"] if it["kind"] == "event"}
    assert events["import"] >= len(modules)
    assert "cpython.run_file" in events
    assert not any(run["losses"].values())


def test_a_command_on_an_interpreter_without_markers_says_so(
    own_interpreter: Interpreter, start_target: Start, tmp_path: Path
) -> None:
    bare = tmp_path / Path(own_interpreter.path).name
    subprocess.run(["objcopy", "--remove-section=.note.stapsdt", own_interpreter.path, bare], check=True)
    target = start_target(replace(own_interpreter, path=str(bare)), "requests.py")
    done = pylat("-p", target.pid, "--gc", "-d", "1")
    assert (done.status, done.out) == (2, "")
    said, hint = done.err.splitlines()
    assert "was built without USDT markers, so --gc sees nothing" in said
    assert "--with-dtrace" in hint
