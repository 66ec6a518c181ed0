"""``--offcpu`` and ``--self``: where the time of a call went, as the target's own clocks say it, on every CPython."""

from __future__ import annotations

import importlib.util
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latency.recording import PARTS, FunctionLatency, Recording
from latency.tracing.counted.wire import DEPTH
from tests.brackets import CLOCK_NS
from tests.lab import Interpreter
from tests.pylat_command import EVERY_CALL, Tracing, pylat
from tests.requirements import require
from tests.target_program import TargetProgram
from tests.targets.protocol import added
from tests.watch import Truth, Watch, unaccounted, wrong

Start = Callable[..., TargetProgram]
Watching = Callable[..., Watch]

ONE_CLOCK = ("wall", "self", "suspended")
"""By CLOCK_MONOTONIC, as the target measures them too."""
BY_HALF = {"sleeps": ["waiting"], "both": ["waiting", "running"], "spins": ["running"], "collects": ["gc"]}
"""What is long, and so is half there at least. A virtual machine that loses its processor sees that in the clock of the
thread's CPU time and not in the other one, or the other way round."""
CALLED_BY_BOTH = ("sleeps", "spins", "fails")
MAKING = """
from protocol import serve, truth

def run():
    for number in range(600):
        namespace = {}
        exec(compile("def made(): pass", __file__, "exec"), namespace)
        namespace["made"]()
        namespace.clear()  # it and the function hold each other
    return {"made": truth(600)}

serve(run)
"""
NAMES = ("both", "descends", "waits", "collects", "steps", "handles", *CALLED_BY_BOTH)


def test_times_are_divided_as_the_targets_own_clocks_divide_them(
    interpreter: Interpreter, start_target: Start, watch: Watching
) -> None:
    """How near they are by the thread's own CPU clock is measured by ``benchmarks/accuracy.py``."""
    target = start_target(interpreter, "dividing.py", "log")
    watching = watch(target.pid, NAMES, elapsed=True, offcpu=True, self_time=True)
    truth = target.run()
    functions = divided(watching.stop(), truth)
    told = "dtrace" in watching.session.target.build.flags
    assert {each.split.gc_known for each in functions.values() if each.split} == {told}
    log = json.loads((target.directory / "log").read_text())
    far = {(name, part): it for name, each in functions.items() for part, it in beyond(each, log[name]).items()}
    assert far == {}


def divided(recording: Recording, truth: Truth) -> dict[str, FunctionLatency]:
    """The functions of the target, after a look at what must add up to the nanosecond."""
    assert wrong(recording, truth) == {}
    functions = {each.function.qualname: each for each in recording.functions if "dividing" in each.function.filename}
    for name, each in functions.items():
        assert each.split is not None
        assert each.self_time is not None
        assert each.split.calls == each.self_time.count == each.calls == truth[name]["calls"]
        assert each.split.wall_ns == each.wall.sum_ns
        assert each.split.wall_ns - each.split.totals_ns["suspended"] == (each.active or each.wall).sum_ns
    # Nobody else calls these, and they call nobody: what is not theirs is their caller's own.
    alone = sum(functions[name].self_time.sum_ns for name in ("both", *CALLED_BY_BOTH))  # type: ignore[union-attr]
    assert alone == functions["both"].wall.sum_ns
    for name in ("steps", "handles"):
        assert functions[name].self_time == functions[name].active
    return functions


def beyond(each: FunctionLatency, bounds: dict[str, list[int]]) -> dict[str, Any]:
    """The parts that are not within the target's bounds: (seen, least, most)."""
    assert each.split is not None
    assert each.self_time is not None
    seen = {**each.split.totals_ns, "self": each.self_time.sum_ns, "wall": each.wall.sum_ns}
    seen["running"] += seen["gc"]
    slack_ns = CLOCK_NS * each.calls
    far = {}
    for part, (least, most) in bounds.items():
        if part in ONE_CLOCK:
            right = least - slack_ns <= seen[part] <= most + slack_ns
        elif part in BY_HALF.get(each.function.qualname, ()) and (part != "gc" or each.split.gc_known):
            right = 2 * seen[part] >= least
        else:
            right = True
        if not right:
            far[part] = seen[part], least, most
    return far


def test_every_function_adds_up_and_no_count_changes(
    own_interpreter: Interpreter, start_target: Start, watch: Watching
) -> None:
    target = start_target(own_interpreter, "everything.py")
    watching = watch(target.pid, offcpu=True, self_time=True)
    truth = target.run()
    recording = watching.stop()
    assert wrong(recording, truth) == {}
    assert unaccounted(recording) == 0
    assert not_adding_up(recording) == []


@pytest.mark.xdist_group("breakpoints")
def test_calls_of_children_are_divided_too(own_interpreter: Interpreter, start_target: Start, watch: Watching) -> None:
    target = start_target(own_interpreter, "forking.py")
    names = ["work", "works", "suspends", "forks_inside", "forks_twice", "in_worker"]
    watching = watch(target.pid, names, offcpu=True, self_time=True, children=True)
    truth = target.run()
    recording = watching.stop()
    assert wrong(recording, truth["together"]) == {}
    # Where a program begins, functions are met that may not be wanted: their callers have no self time.
    assert not_adding_up(recording, missing=True) == []


def test_greenlets_add_up_and_calls_without_a_self_time_are_left_out(
    environment_interpreter: Interpreter, start_target: Start, watch: Watching
) -> None:
    require(importlib.util.find_spec("gevent"), "gevent is not installed (script/setup --tests)")
    target = start_target(environment_interpreter, "greenlets.py", "gevent")
    watching = watch(target.pid, offcpu=True, self_time=True)
    truth = target.run()
    recording = watching.stop()
    assert wrong(recording, truth) == {}
    assert not_adding_up(recording, missing=True) == []
    assert any(each.self_time and each.self_time.count < each.calls for each in recording.functions)
    assert any("greenlet" in spot for spot in recording.blind_spots)


def test_recursion_beyond_the_table_leaves_those_beyond_and_one_more_without_a_self_time(
    own_interpreter: Interpreter, start_target: Start, watch: Watching
) -> None:
    depth, times = DEPTH + 100, 5
    target = start_target(own_interpreter, "recursion.py", depth, times)
    watching = watch(target.pid, ["descend"], offcpu=True, self_time=True)
    truth = target.run()
    recording = watching.stop()
    assert wrong(recording, {"descend": truth["descend"]}) == {}
    (descend,) = recording.functions
    assert descend.split is not None
    assert descend.split.calls == descend.calls
    assert descend.self_time is not None
    assert descend.self_time.count == (DEPTH - 1) * times


def test_functions_that_are_made_and_freed_keep_their_parts(
    own_interpreter: Interpreter, start_target: Start, watch: Watching, tmp_path: Path
) -> None:
    script = tmp_path / "making.py"
    script.write_text(MAKING)
    target = start_target(own_interpreter, script)
    watching = watch(target.pid, ["made", "run"], offcpu=True, self_time=True)
    truths = []
    for _ in range(3):  # more than there are slots, were they not given back
        truths.append(target.run())
        until = time.monotonic() + 300
        while sum(int(row["returned"][0]) for row in watching.session.table.retired.rows.values()) < 599 * len(truths):
            assert time.monotonic() < until
            time.sleep(0.01)
    recording = watching.stop()
    assert wrong(recording, added(truths)) == {}
    # Of the first calls of a new function it is not known yet whether it is wanted: `run` has no self time then.
    assert not_adding_up(recording, missing=True) == []
    (made,) = (each for each in recording.functions if each.function.qualname == "made")
    assert made.self_time is not None
    assert made.self_time.count == made.calls == 1800


def test_intervals_divide_what_came_since_the_last(own_interpreter: Interpreter, start_target: Start) -> None:
    target = start_target(own_interpreter, "requests.py", 200)
    with Tracing(
        "-p", target.pid, *EVERY_CALL, "--func", "handle_request", "--offcpu", "--self", "-i", "0.3", "-j"
    ) as tracing:
        seen = []
        for times in (1, 2):
            target.run()
            while sum(each["calls"] for each in seen) < 800 * times:
                seen.append(json.loads(tracing.readline())["runs"][0]["functions"][0])
        result = tracing.stop()
    whole = json.loads(result.out[result.out.rindex('{"schema"') :])["runs"][0]["functions"][0]
    assert whole["split"]["calls"] == whole["self"]["count"] == whole["calls"] == 1600
    for part in PARTS:
        parts = [each["split"][part] or {"sum_ns": 0} for each in [*seen, whole]]
        assert sum(each["sum_ns"] for each in parts[:-1]) == parts[-1]["sum_ns"]


def test_a_report_says_where_the_time_went_and_a_recording_says_it_again(
    own_interpreter: Interpreter, start_target: Start, tmp_path: Path
) -> None:
    target = start_target(own_interpreter, "requests.py", 200)
    file = tmp_path / "recording.json"
    with Tracing(
        "-p", target.pid, *EVERY_CALL, "--func", "handle_request", "--offcpu", "--self", "-o", file
    ) as tracing:
        target.run()
        result = tracing.stop()
    assert result.status == 0
    assert re.search(r"^p99 is .*, of which .* waiting", result.out, re.MULTILINE)
    assert re.search(r"^self, outside of other measured calls: total .* = 100 %", result.out, re.MULTILINE)
    assert pylat("report", file).out == result.out


def not_adding_up(recording: Recording, *, missing: bool = False) -> list[str]:
    """The functions whose parts are not their time; ``missing``: calls without a self time are none."""
    found = []
    for each in recording.functions:
        assert each.split is not None
        assert each.self_time is not None
        active = each.active or each.wall
        whole = (each.split.calls, each.split.wall_ns, each.split.wall_ns - each.split.totals_ns["suspended"])
        told = each.self_time.count <= each.calls if missing else each.self_time.count == each.calls
        if whole != (each.calls, each.wall.sum_ns, active.sum_ns) or not told or each.self_time.sum_ns > active.sum_ns:
            found.append(each.function.qualname)
    return found
