"""Measuring in slices: what the limit cuts is counted, percentiles stay right, and the target is itself in between."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from latency.cpython.interpreter import Target
from latency.cpython.sites import Role
from latency.recording import FunctionLatency, Options, Recording
from latency.target.process import Process
from latency.tracing.probes.cost import HitCost
from latency.tracing.probes.session import Session
from latency.tracing.probes.slicing import Slicing
from latency.tracing.watch.session import WatchSession
from tests.lab import Interpreter
from tests.pylat_command import Tracing, pylat
from tests.target_program import TargetProgram

Start = Callable[..., TargetProgram]
CUT = ("short", "held")
BUCKET = 2 ** (1 / 16)
_BREAKPOINT = b"\xcc"


def more(program: TargetProgram, calls: int) -> None:
    """Waits until so many more calls of ``serving.py`` have ended."""
    program.send(f"more {calls}")
    program.readline()


def of(recording: Recording, name: str) -> FunctionLatency:
    return next(each for each in recording.functions if each.function.qualname == name)


def slicing(session: Session) -> Slicing:
    """The part that takes its probes away."""
    return next(part for part in session.parts if isinstance(part, Slicing))


def placed(session: Session) -> list[bool]:
    """Whether there is a breakpoint, at each site that calls pass."""
    process, bias = Process(session.target.process.pid), session.target.build.bias
    sites = [site for site in session.target.plan.sites if site.role is not Role.CODE_DEALLOC]
    return [process.read(site.address + bias, 1) == _BREAKPOINT for site in sites]


@pytest.mark.xdist_group("breakpoints")
def test_what_a_slice_cuts_is_counted_exactly_and_nothing_is_lost(
    interpreter: Interpreter, start_target: Start
) -> None:
    program = start_target(interpreter, "cutting.py")
    names = ("short", "inner", "held", "steps")
    with Session(Target(program.pid), Options(func=names, max_overhead_pct=100.0)) as session:
        session.hit_cost = HitCost(0.0, 0.0)  # so the limit never speaks; this test does
        session.start()
        for command in ("run 40", "hold 3", "begin"):
            program.tell(command)
        assert all(placed(session))
        slicing(session).pause()
        assert not any(placed(session))
        # unseen; and these threads' frames lie where others are known to have been
        for command in ("run 50", "hold 2", "step"):
            program.tell(command)
        first = session.interval()
        slicing(session).resume()
        assert all(placed(session))
        for command in ("run 7", "release", "end", "hold 1"):
            program.tell(command)
        second = session.interval()
        recording = session.stop()
        program.tell("release")
    assert [(of(part, "short").calls, of(part, "held").cut) for part in (first, second)] == [(40, 3), (12, 0)]
    assert first.watched is not None
    assert first.watched.slices == 1
    seen = {name: (of(recording, name).calls, of(recording, name).cut, of(recording, name).open) for name in names}
    assert seen == {"short": (40 + 7 + 5, 0, 0), "inner": (5, 0, 0), "held": (0, 3, 1), "steps": (0, 1, 0)}
    assert not recording.losses.total
    assert recording.began_before == 3 + 2 + 1  # held ones that ended in the second slice, and the generator
    entries, matched = recording.events["entries"], recording.events["matched"]
    assert entries == matched + sum(each.cut + each.open for each in recording.functions)
    held = of(recording, "held")
    assert held.ages is not None
    assert held.ages.count == 4
    assert recording.watched is not None
    assert recording.watched.slices == 2
    assert 0 < recording.watched.share < 1


@pytest.mark.gil
def test_the_watch_engine_keeps_a_limit_too(interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(interpreter, "cutting.py")
    with WatchSession(Target(program.pid, engine="watch"), Options(func=("short", "held"))) as session:
        session.start()
        for command in ("run 40", "hold 3"):
            program.tell(command)
        session.turns.pause()
        for command in ("run 50", "hold 2"):
            program.tell(command)
        session.turns.resume()
        for command in ("run 7", "release", "hold 1"):
            program.tell(command)
        recording = session.stop()
        program.tell("release")
    seen = {name: (of(recording, name).calls, of(recording, name).cut, of(recording, name).open) for name in CUT}
    assert seen == {"short": (40 + 7 + 5, 0, 0), "held": (0, 3, 1)}
    assert not recording.losses.total
    assert recording.watched is not None
    assert recording.watched.slices == 2
    assert 0 < recording.watched.share < 1


def test_percentiles_count_what_the_slices_cut(own_interpreter: Interpreter, start_target: Start) -> None:
    """How near they then are to those of all calls is measured by ``benchmarks/accuracy.py``."""
    program = start_target(own_interpreter, "serving.py", 8, 0)
    with Session(Target(program.pid), Options(func=("handle",), max_overhead_pct=100.0)) as session:
        session.hit_cost = HitCost(0.0, 0.0)  # so the limit never speaks; this test does
        session.start()
        for _ in range(3):
            more(program, 300)
            slicing(session).pause()
            more(program, 100)
            slicing(session).resume()
        more(program, 300)
        recording = session.stop()
    assert recording.watched is not None
    assert recording.watched.slices == 4
    assert 0 < recording.watched.share < 1
    assert not recording.losses.total
    handle = of(recording, "handle")
    # All that began in a slice and did not end there was cut; and what was cut was longer than what was seen of it.
    assert handle.cut > 0
    assert handle.calls + handle.cut + handle.open == recording.events["entries"]
    for q in (0.5, 0.93, 0.96):
        (seen_ns,) = handle.percentiles_ns((q,))
        assert seen_ns * BUCKET >= handle.wall.quantile(q), f"p{q * 100:g}"


def test_a_limit_leaves_slices_and_the_report_says_what_share_was_watched(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    program = start_target(own_interpreter, "serving.py", 1, 100_000)
    with Tracing("-p", program.pid, "--func", "noise", "--max-overhead", "5", "-d", "3", "-j") as tracing:
        result = tracing.wait()
    assert result.status == 0, result.err
    overhead, watched = result.run["overhead"], result.run["watched"]
    assert 0 < watched["share"] < 1
    assert overhead["share_of_cpu"] > 0
    assert overhead["memory_bytes"] > 10_000_000
    assert overhead["map_bytes"] > 1_000_000
    assert result.run["options"]["max_overhead_pct"] == 5
    assert not any(result.run["losses"].values())


@pytest.mark.parametrize("limit", ["0", "-1", "all", "nan"])
def test_a_limit_that_leaves_nothing_is_refused(limit: str) -> None:
    result = pylat("-p", "1", f"--max-overhead={limit}")
    assert result.status == 2
    assert limit in result.err


def test_without_a_limit_all_the_time_is_watched(own_interpreter: Interpreter, start_target: Start) -> None:
    program = start_target(own_interpreter, "serving.py", 1, 100_000)
    with Tracing("-p", program.pid, "--func", "noise", "--max-overhead", "none", "-d", "1.5", "-j") as tracing:
        result = tracing.wait()
    assert result.run["watched"] is None
    assert "max_overhead_pct" not in result.run["options"]
