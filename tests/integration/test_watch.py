"""The watch engine: exact on every CPython of the lab, without a write to the target."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType

import numpy as np
import pytest

from latency.cli.output import LOSSY, exit_status
from latency.cpython.interpreter import Target
from latency.errors import AttachError, NoFunctionMatches, UsageError
from latency.recording import Options, Recording
from latency.target.process import Process
from latency.tracing.counted.wire import DEPTH
from latency.tracing.probes.look import TRAPS_PER_CALL
from latency.tracing.watch.session import WatchSession
from tests import debugger
from tests.brackets import outside
from tests.lab import Interpreter
from tests.target_program import TargetProgram

pytestmark = pytest.mark.gil  # the watch engine refuses free-threaded builds
Start = Callable[..., TargetProgram]

KEPT = {"kept", "raised_and_kept"}
SUSPENDING = {"suspends"}
DETACH_S = 300


def session(target: Target, *functions: str) -> WatchSession:
    return WatchSession(target, Options(func=functions, engine="watch"))


def watched(pid: int) -> Target:
    return Target(pid, engine="watch")


def lost(recording: Recording) -> dict[str, int]:
    return {name: count for name, count in recording.losses.as_dict().items() if count}


def ends(recording: Recording) -> dict[str, tuple[int, int, int]]:
    return {each.function.qualname: (each.returned, each.raised, each.open) for each in recording.functions}


def taken_off_ns(recording: Recording) -> float:
    """At most, of one call: what its hits take is no part of its latency, as the report says."""
    assert recording.overhead is not None
    return TRAPS_PER_CALL * recording.overhead.ns_per_hit


def test_every_kind_of_call_is_counted_exactly_and_nothing_is_lost(
    interpreter: Interpreter, start_target: Start
) -> None:
    program = start_target(interpreter, "watched.py")
    truth = program.run()
    target = watched(program.pid)
    names = sorted(truth.keys() - KEPT - SUSPENDING)
    for pair in (names[at : at + 2] for at in range(0, len(names), 2)):
        with session(target, *pair) as measuring:
            measuring.start()
            program.run()
            recording = measuring.stop()
        assert ends(recording) == {name: (truth[name]["returned"], truth[name]["raised"], 0) for name in pair}
        assert lost(recording) == {}


@pytest.mark.cpython(max=(3, 10))
def test_functions_that_share_their_bytecode_are_told_apart(interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(interpreter, "watched.py")
    with session(watched(program.pid), "alike", "alike_too") as measuring:
        measuring.start()
        truth = program.run()
        recording = measuring.stop()
    assert ends(recording) == {name: (truth[name]["returned"], 0, 0) for name in ("alike", "alike_too")}
    assert lost(recording) == {}


@pytest.mark.cpython(min=(3, 11), max=(3, 12))
def test_code_that_is_built_into_the_interpreter(interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(interpreter, "watched.py")
    calls = program.run()["one"]["returned"]
    target = watched(program.pid)
    for name, expected in ("posixpath:isabs", (2 * calls, calls, 0)), ("genericpath:commonprefix", (calls, 0, 0)):
        with session(target, name) as measuring:
            measuring.start()
            program.run()
            recording = measuring.stop()
        assert list(ends(recording).values()) == [expected]
        assert lost(recording) == {}


def test_a_frame_that_outlives_its_call_is_measured_or_counted_as_lost(
    interpreter: Interpreter, start_target: Start
) -> None:
    program = start_target(interpreter, "watched.py")
    with session(watched(program.pid), *KEPT) as measuring:
        measuring.start()
        truth = program.run()
        recording = measuring.stop()
    calls = truth["kept"]["calls"]
    seen = ends(recording)
    assert seen["raised_and_kept"] == (0, calls, 0)
    if interpreter.minor >= (3, 12):
        assert seen["kept"] == (calls, 0, 0)
        assert lost(recording) == {}
    else:
        assert seen["kept"] == (0, 0, 0)
        assert lost(recording) == {"unmatched_entry": calls}


def test_latencies_lie_within_what_the_program_measures(interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(interpreter, "requests.py", 500, "durations")
    with session(watched(program.pid), "handle_request", "worker") as measuring:
        measuring.start()
        program.run()
        recording = measuring.stop()
    (requests,) = (each for each in recording.functions if each.function.qualname == "handle_request")
    inner_ns, outer_ns = np.fromfile(program.directory / "durations", np.int64).reshape(-1, 2).T
    assert len(inner_ns) == 2000
    assert outside(requests.wall, inner_ns - taken_off_ns(recording), outer_ns) == []


@pytest.mark.cpython(max=(3, 11))
def test_a_call_whose_exception_c_code_takes_ends_when_that_leaves_it(
    interpreter: Interpreter, start_target: Start
) -> None:
    program = start_target(interpreter, "swallowed.py")
    with session(watched(program.pid), "dies", "cleans_up") as measuring:
        measuring.start()
        calls = program.run()["dies"]["raised"]
        recording = measuring.stop()
    (dies,) = (each for each in recording.functions if each.function.qualname == "dies")
    inner_ns, outer_ns = np.loadtxt(program.directory / "durations", np.int64).T
    assert len(inner_ns) == calls
    assert outside(dies.wall, inner_ns - taken_off_ns(recording), outer_ns) == []
    # Up to 3.10 nothing tells when an exception leaves a "finally" to C code.
    known = interpreter.minor >= (3, 11)
    assert ends(recording) == {"dies": (0, calls, 0), "cleans_up": (0, calls if known else 0, 0)}
    assert lost(recording) == ({} if known else {"unmatched_entry": calls})


@pytest.mark.xdist_group("breakpoints")
def test_nothing_is_written_to_the_target(interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(interpreter, "watched.py")
    program.run()
    process, target = Process(program.pid), watched(program.pid)
    with session(target, "one", "five") as measuring:
        objects = [code_object(target, live.address) for live in measuring.functions]
        before = code_of(process), [process.read(*place) for place in objects]
        measuring.start()
        during = code_of(process), [process.read(*place) for place in objects]
    # From 3.12 on not a byte; before, what the kernel's uprobe puts there.
    probed = [site.address + target.build.bias for site in target.plan.sites]
    assert differences(before[0], during[0]) == ([] if interpreter.minor >= (3, 12) else probed)
    assert during[1] == before[1]
    end = time.monotonic() + DETACH_S
    while differences(before[0], code_of(process)) and time.monotonic() < end:
        time.sleep(0.01)
    assert differences(before[0], code_of(process)) == []
    assert [process.read(*place) for place in objects] == before[1]
    assert program.quit() == 0


def code_object(target: Target, address: int) -> tuple[int, int]:
    """Where a code object lies, with what holds its units: address and size, reference count included."""
    offsets, process = target.offsets, target.process
    if "code.code_adaptive" in offsets:
        units = int.from_bytes(process.read(address + offsets["var.size"], 8), "little")
        return address, offsets["code.code_adaptive"] + 2 * units
    code = process.u64(address + offsets["code.code_object"])
    return code, offsets["bytes.data"] + int.from_bytes(process.read(code + offsets["var.size"], 8), "little")


def differences(one: dict[int, bytes], other: dict[int, bytes]) -> list[int]:
    """The addresses of the bytes that differ."""
    assert one.keys() == other.keys()
    found = []
    for start, data in one.items():
        places = np.flatnonzero(np.frombuffer(data, np.uint8) != np.frombuffer(other[start], np.uint8))
        found += [start + int(place) for place in places]
    return found


def code_of(process: Process) -> dict[int, bytes]:
    """All that the process can execute, by address."""
    return {
        mapping.start: process.read_some(mapping.start, mapping.end - mapping.start)
        for mapping in process.maps()
        if mapping.executable and mapping.inode
    }


@pytest.mark.parametrize("first", ["debugger", "pylat"])
def test_a_debugger_and_pylat_are_told_when_the_other_has_the_registers(
    own_interpreter: Interpreter, start_target: Start, first: str
) -> None:
    program = start_target(own_interpreter, "watched.py")
    target = watched(program.pid)
    with session(target, "one", "two") as measuring:
        if first == "pylat":
            measuring.start()
            with Debugger(program.pid) as debugger:
                assert debugger.answer == "No space left on device"
            truth = program.run()
            assert ends(measuring.stop())["one"] == (truth["one"]["returned"], 0, 0)
        else:
            with Debugger(program.pid) as debugger:
                assert debugger.answer == "held"
                with pytest.raises(AttachError, match="watchpoints are taken: a debugger") as error:
                    measuring.start()
                assert f"(PID {debugger.pid}), which traces the process" in error.value.hint


class Debugger:
    """``tests/debugger.py``, which holds the debug registers of a process until the block is left."""

    def __init__(self, pid: int) -> None:
        pipe = subprocess.PIPE
        command = [sys.executable, debugger.__file__, str(pid)]
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.pid = self._process.pid
        assert self._process.stdout is not None
        self.answer = self._process.stdout.readline().strip()

    def __enter__(self) -> Debugger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.communicate(timeout=500)


def test_recursion_deeper_than_the_table_of_a_thread_is_exact(
    interpreters: list[Interpreter], start_target: Start
) -> None:
    by_minor = {interpreter.minor: interpreter for interpreter in interpreters if not interpreter.free_threaded}
    for minor in (3, 9), (3, 11), (3, 13), (3, 15):
        program = start_target(by_minor[minor], "recursion.py", DEPTH + 100, 2)
        with session(watched(program.pid), "descend", "plunge") as measuring:
            measuring.start()
            truth = program.run()
            recording = measuring.stop()
        assert ends(recording) == {name: (it["returned"], it["raised"], 0) for name, it in truth.items()}, minor
        assert lost(recording) == {}, minor


def test_greenlets_are_told_apart(environment_interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(environment_interpreter, "greenlets.py", "gevent")
    truth = program.run()
    target = watched(program.pid)
    # A generator of 3.12 and later may need three watchpoints: there is no room for another function beside it.
    alone = sorted(name for name, known in truth.items() if known["suspensions"])
    others = sorted(truth.keys() - set(alone))
    for names in (*([name] for name in alone), *(others[at : at + 2] for at in range(0, len(others), 2))):
        with session(target, *(f"__main__:{name}" for name in names)) as measuring:
            measuring.start()
            known = program.run()
            recording = measuring.stop()
        assert ends(recording) == {name: (known[name]["returned"], known[name]["raised"], 0) for name in names}
        assert lost(recording) == {}


def test_watchpoints_that_are_taken_are_said_and_are_free_again_at_the_end(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    program = start_target(own_interpreter, "watched.py")
    target = watched(program.pid)
    with session(target, "one", "two") as first:
        first.start()
        with session(target, "three") as second, pytest.raises(AttachError, match="watchpoints are taken"):
            second.start()
        truth = program.run()
        assert ends(first.stop())["one"] == (truth["one"]["returned"], 0, 0)
    with session(target, "three") as third:
        third.start()


def test_two_sessions_share_the_registers(own_interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(own_interpreter, "watched.py")
    target = watched(program.pid)
    with ExitStack() as stack:
        both = [stack.enter_context(session(target, name)) for name in ("one", "two")]
        for each in both:
            each.start()
        truth = program.run()
        for each, name in zip(both, ("one", "two"), strict=True):
            assert ends(each.stop()) == {name: (truth[name]["returned"], 0, 0)}


@pytest.mark.parametrize(
    ("functions", "error", "text"),
    [
        ((), UsageError, "measures single functions"),
        (("no_such",), NoFunctionMatches, "no function matches 'no_such'"),
    ],
)
def test_what_cannot_be_watched_is_refused(
    own_interpreter: Interpreter,
    start_target: Start,
    functions: tuple[str, ...],
    error: type[Exception],
    text: str,
) -> None:
    program = start_target(own_interpreter, "watched.py")
    target = watched(program.pid)
    with pytest.raises(error, match=text):
        session(target, *functions)


def test_a_target_that_ends_is_noticed_and_its_calls_are_kept(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    program = start_target(own_interpreter, "watched.py")
    with session(watched(program.pid), "one") as measuring:
        measuring.start()
        truth = program.run()
        assert measuring.poll() == ""
        program.quit()
        assert measuring.poll() == "exited"
        assert ends(measuring.stop()) == {"one": (truth["one"]["returned"], 0, 0)}


@pytest.mark.parametrize("version", [(3, 9), (3, 11), (3, 13), (3, 15)])
def test_a_function_that_is_defined_anew_is_told_at_once_and_at_the_end(
    interpreters: list[Interpreter], start_target: Start, version: tuple[int, int]
) -> None:
    program = start_target(next(it for it in interpreters if it.minor == version), "redefined.py")
    with session(watched(program.pid), "cell") as measuring:
        measuring.start()
        half = program.run()["cell"]["calls"] // 2
        assert measuring.poll() == ""
        assert "calls of cell that was defined while pylat watched" in measuring.doubt()
        recording = measuring.stop()
    assert ends(recording)["cell"] == (half, 0, 0)
    assert lost(recording) == {"unwatched": 1}
    assert exit_status(recording, max_loss_pct=1.0) == LOSSY
    assert any("take the engine " in line for line in recording.blind_spots)


def test_the_report_says_what_is_not_resolved(own_interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(own_interpreter, "watched.py")
    with session(watched(program.pid), "one") as measuring:
        measuring.start()
        program.run()
        recording = measuring.stop()
    assert recording.target.engine == "watch"
    assert any("are not resolved" in line for line in recording.blind_spots)
    assert recording.overhead is not None
    assert recording.overhead.hits >= 3 * recording.calls
