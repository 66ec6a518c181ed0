"""64 processes of 20 functions, each a program of its own, measured by one agent.

While nothing changes: how long a scrape takes and how much it is, what the agent takes of a CPU with a scrape every
fifteen seconds, and its memory. Then two processes do nothing but call, and one of them is measured, in turns: by how
much its CPU time for a call is above that of the other one says from outside what measuring costs. Each runs a copy of
the interpreter of its own, so that the other one has no probe in it; and they share a CPU, so that it is slower now and
then for both. That and what the agent itself takes has to stay within the budget that was set for the machine.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from benchmarks.fleet.machines import METRIC, NATIVE, agent, cpu_s, memory_mb, own_interpreter, rules, whole
from benchmarks.keeping import TARGETS, Goal, Part, Settings, Spread, Values, table
from tests.agents import RunningAgent
from tests.servers import free_port

_PROCESSES, _FUNCTIONS = 64, 20
_CALLS = 50  # of each function of each process
_SCRAPES = 20
_IDLE_S, _SCRAPE_EVERY_S = 60.0, 15.0
_BUDGET_PCT = 5.0
_PAIRS, _BURN_S, _SETTLE_S = 5, 10.0, 20.0
_MOST = {"scrape_s": 0.05, "scrape_bytes": 1 << 20, "memory_mb": 200.0, "idle_share": 0.01}


class Target:
    """One of them.

    Args:
        python: what runs it.
        name: it has this in its command line, where that is to tell it from others.
    """

    def __init__(self, python: str = sys.executable, name: str = "") -> None:
        words = [python, str(TARGETS / "fleet_many.py"), *([name] if name else [])]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def send(self, line: str) -> None:
        """One command."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        """The next line that it writes."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()


@contextmanager
def targets(count: int, begin: Callable[[int], Target] = lambda _: Target()) -> Iterator[list[Target]]:
    """So many, which are ready. ``begin`` is given the number of each."""
    found = [begin(number) for number in range(count)]
    try:
        for each in found:
            each.answer()
        yield found
    finally:
        for each in found:
            each.process.kill()
            each.process.communicate()


def _scrape(port: int) -> tuple[float, int]:
    """(seconds, bytes) of a native one, as Prometheus asks for it but not packed."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": NATIVE})
    begin_s = time.perf_counter()
    with urllib.request.urlopen(request, timeout=60) as answer:
        body = answer.read()
    return time.perf_counter() - begin_s, len(body)


def _idle(settings: Settings, folder: Path, labels: list[str], count: int) -> Values:
    """What it takes while nothing changes."""
    port = free_port()
    path = rules(folder / "many.yaml", port, "many", "*fleet_many.py*", ["many:*"], labels=labels)
    with targets(count) as found:
        began_s = time.monotonic()
        with agent(path, port) as running:
            running.wait("pylat_agent_targets", 0, state="waiting")
            values: Values = {"start_s": time.monotonic() - began_s, "processes": count}
            for each in found:
                each.send(f"call {_CALLS}")
            expected = float(sum(int(each.answer()) for each in found))
            values["expected"] = expected
            values["calls"] = whole(lambda: running.value(f"{METRIC}_count"), expected, "all calls are counted")
            scrapes = [_scrape(port) for _ in range(_SCRAPES)]
            values["scrape_s"] = [seconds for seconds, _ in scrapes]
            values["scrape_bytes"] = scrapes[-1][1]
            values["idle_share"] = _idle_share(running, port, _IDLE_S / (4 if settings.small else 1))
            values["memory"] = memory_mb(running.process.pid)
            values["maps_mb"] = (running.value("pylat_map_memory_bytes") or 0.0) / 1e6
    settings.progress(f"many: {labels or 'no labels'}: {values}")
    return values


def _idle_share(running: RunningAgent, port: int, seconds: float) -> float:
    """Of one CPU, with scrapes as a Prometheus makes them."""
    pid = running.process.pid
    begin_s, used_s = time.monotonic(), cpu_s(pid)
    while time.monotonic() < begin_s + seconds:
        _scrape(port)
        time.sleep(min(_SCRAPE_EVERY_S, seconds))
    return (cpu_s(pid) - used_s) / (time.monotonic() - begin_s)


def _burned(found: list[Target], seconds: float) -> list[tuple[int, int]]:
    """(Calls, CPU nanoseconds) of each; all at the same time."""
    for each in found:
        each.send(f"burn {seconds}")
    answers = [each.answer().split() for each in found]
    return [(int(calls), int(cpu_ns)) for calls, cpu_ns in answers]


def _twin(folder: Path, number: int) -> Target:
    """One that runs a copy of the interpreter, which nobody else does."""
    python, _ = own_interpreter(folder, f"python-{number}")
    found = Target(python, f"twin-{number}")
    os.sched_setaffinity(found.process.pid, {max(os.sched_getaffinity(0))})
    return found


def _budget(settings: Settings, folder: Path) -> Values:
    """What measuring costs one that is busy, beside one that is not measured, in turns."""
    burn_s = _BURN_S / (5 if settings.small else 1)
    pairs = 2 if settings.small else settings.rounds_or(_PAIRS)
    longer: list[float] = []
    used: list[float] = []
    own: list[float] = []
    said: list[float] = []
    with targets(2, partial(_twin, folder)) as found:
        for number in range(2 * pairs):
            measured, port = number % 2, free_port()
            path = rules(
                folder / "budget.yaml",
                port,
                "many",
                f"*fleet_many.py twin-{measured}",
                ["many:*"],
                budget={"process": _BUDGET_PCT, "machine": _BUDGET_PCT},
            )
            with agent(path, port) as running:
                running.wait("pylat_agent_targets", 1, state="measured")
                _burned(found, _SETTLE_S / (5 if settings.small else 1))  # the slices find their length
                used_s, cost_s = cpu_s(running.process.pid), running.value("pylat_probe_time_seconds_total") or 0.0
                begin_s = time.monotonic()
                burned = _burned(found, burn_s)
                took_s = time.monotonic() - begin_s
                own.append((cpu_s(running.process.pid) - used_s) / took_s)
                said.append(((running.value("pylat_probe_time_seconds_total") or 0.0) - cost_s) / took_s)
            (calls, cpu_ns), (bare_calls, bare_ns) = burned[measured], burned[1 - measured]
            longer.append((cpu_ns / calls) / (bare_ns / bare_calls))
            used.append(cpu_ns / 1e9 / took_s)
            settings.progress(f"many: budget, {number}: {longer[-1]:.3f}, said {said[-1]:.3f}, own {own[-1]:.3f}")
    # each of the two was the measured one: which of them is quicker by itself is in both, once this way and once that
    shares = [
        (1 - 1 / math.sqrt(one * other)) * (of_one + of_other) / 2
        for one, other, of_one, of_other in zip(longer[::2], longer[1::2], used[::2], used[1::2], strict=True)
    ]
    return {"share": shares, "said": said, "agent": own, "budget": _BUDGET_PCT / 100}


def measure(settings: Settings) -> Values:
    """With one series for all processes, with one for each, and the budget."""
    count = _PROCESSES // 8 if settings.small else _PROCESSES
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pylat-fleet-")))
        return {
            "functions": _FUNCTIONS,
            "together": _idle(settings, folder, [], count),
            "by pid": _idle(settings, folder, ["pid"], count),
            "budget": _budget(settings, folder),
        }


def tables(values: Values) -> str:
    """One row for each way to label, and one for the budget."""
    rows = []
    for name in ("together", "by pid"):
        it = values[name]
        memory = it["memory"]
        rows.append(
            [
                f"{it['processes']} processes × {values['functions']} functions, {name}",
                f"{it['start_s']:.0f} s",
                f"{1e3 * Spread.of(it['scrape_s']).middle:.0f} ms ({1e3 * max(it['scrape_s']):.0f} ms)",
                f"{it['scrape_bytes'] / 1e6:.2f} MB",
                f"{it['idle_share']:.2%}",
                f"{memory['all']:.0f} MB ({memory['own']:.0f} MB of its own)",
                f"{it['maps_mb']:.0f} MB",
                f"{it['calls']:,.0f} of {it['expected']:,.0f}",
            ]
        )
    heads = (
        "",
        "until all are measured",
        "scrape: median (longest)",
        "size",
        "of a CPU, idle",
        "memory",
        "maps",
        "calls",
    )
    budget = values["budget"]
    outside, said, own = (f"{Spread.of(budget[name]):.2%}" for name in ("share", "said", "agent"))
    return table(heads, rows) + (
        f"\nOf a process that does nothing but call, and by the agent itself, {budget['budget']:.0%} of a CPU may be "
        f"taken: {outside} of it measured from outside, {said} said by the agent, which took {own} of a CPU itself.\n"
    )


def goals(values: Values) -> list[Goal]:
    """Of one series for all processes; what one for each costs stands in the table."""
    it, budget = values["together"], values["budget"]
    scrape_s, size, memory, idle = max(it["scrape_s"]), it["scrape_bytes"], it["memory"]["all"], it["idle_share"]
    what = f"{it['processes']} × {values['functions']}"
    probes, own = (Spread.of(budget[name]).middle for name in ("share", "agent"))
    limit = f"within the {budget['budget']:.0%} that were set"
    inexact = [name for name in ("together", "by pid") if values[name]["calls"] != values[name]["expected"]]
    return [
        Goal(f"a scrape of {what}", "at most 50 ms", f"{1e3 * scrape_s:.0f} ms at most", scrape_s <= _MOST["scrape_s"]),
        Goal("its size, native", "at most 1 MB", f"{size / 1e6:.2f} MB", size <= _MOST["scrape_bytes"]),
        Goal("memory of the agent", "at most 200 MB", f"{memory:.0f} MB", memory <= _MOST["memory_mb"]),
        Goal("its CPU time while nothing changes", "below 1 % of one", f"{idle:.2%}", idle < _MOST["idle_share"]),
        Goal("probes in a busy process, from outside", limit, f"{probes:.2%}", probes <= budget["budget"]),
        Goal("the same with the agent's own", limit, f"{probes + own:.2%}", probes + own <= budget["budget"]),
        Goal(f"calls of {what}", "exact", "; ".join(inexact) or "all", not inexact),
    ]


PART = Part("fleet_many", "Many processes and one agent", measure, tables, goals=goals)
