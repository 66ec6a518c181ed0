"""``--offcpu`` and ``--self``: where the time of a call went, as the target's own clocks say it, on every CPython."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from latency.recording import FunctionLatency, Recording
from tests.lab import Interpreter
from tests.target_program import TargetProgram
from tests.watch import Truth, Watch, wrong

Start = Callable[..., TargetProgram]
Watching = Callable[..., Watch]

SHARE, EACH_NS = 0.05, 50_000
"""What may be between pylat and the target's clocks: of a time, or for each call, whichever is more."""
CALLED_BY_BOTH = ("sleeps", "spins", "fails")
NAMES = ("both", "descends", "waits", "collects", "steps", "handles", *CALLED_BY_BOTH)


def test_times_are_divided_as_the_targets_own_clocks_divide_them(
    interpreter: Interpreter, start_target: Start, watch: Watching
) -> None:
    target = start_target(interpreter, "dividing.py", "log")
    far: dict[str, Any] = {}
    # A virtual machine that loses its processor sees that in one clock and not in the other. What must add up adds up
    # each time, the clocks agree in one of three.
    for _ in range(3):
        watching = watch(target.pid, NAMES, offcpu=True, self_time=True)
        truth = target.run()
        functions = divided(watching.stop(), truth)
        log = json.loads((target.directory / "log").read_text())
        far = {name: away for name, each in functions.items() if (away := beyond(each, log[name]))}
        if not far:
            break
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
    seen = each.split.totals_ns
    seen["running"] += seen["gc"]
    seen |= {"self": each.self_time.sum_ns, "off": seen["waiting"] + seen["runnable"], "wall": each.wall.sum_ns}
    far = {}
    for part, (least, most) in bounds.items():
        slack = EACH_NS * each.calls
        low, high = least - max(SHARE * least, slack), most + max(SHARE * most, slack)
        if (part != "gc" or each.split.gc_known) and not low <= seen[part] <= high:
            far[part] = seen[part], least, most
    return far
