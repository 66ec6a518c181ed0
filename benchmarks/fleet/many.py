"""64 processes of 20 functions, each a program of its own, measured by one agent.

While nothing changes: how long a scrape takes and how much it is, what the agent takes of a CPU with a scrape every
fifteen seconds, and its memory. Then some processes do nothing but call: their CPU time for a call, with the agent and
without it, in turns, says from outside what measuring costs them. They are measured together, so they have one limit
(docs/agent.md): what all of them lose has to stay within the budget that was set.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.fleet.machines import METRIC, NATIVE, agent, cpu_s, memory_mb, rules, whole
from benchmarks.keeping import TARGETS, Goal, Part, Settings, Spread, Values, table
from tests.agents import RunningAgent
from tests.servers import free_port

_PROCESSES, _FUNCTIONS = 64, 20
_APART = 8  # so many times fewer where each has series, and a measurement, of its own
_CALLS = 50  # of each function of each process
_SCRAPES = 20
_IDLE_S, _SCRAPE_EVERY_S = 60.0, 15.0
_BUDGET_PCT = 5.0
_BUSY, _ROUNDS, _BURN_S, _SETTLE_S = 2, 5, 10.0, 20.0
_MOST = {"scrape_s": 0.05, "scrape_bytes": 1 << 20, "memory_mb": 200.0, "idle_share": 0.01}


class Target:
    """One of them."""

    def __init__(self) -> None:
        words = [sys.executable, str(TARGETS / "fleet_many.py")]
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
def targets(count: int) -> Iterator[list[Target]]:
    """So many, which are ready."""
    found = [Target() for _ in range(count)]
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


def _burned(found: list[Target], seconds: float) -> list[float]:
    """CPU nanoseconds for a call, of each; all at the same time."""
    for each in found:
        each.send(f"burn {seconds}")
    answers = [each.answer().split() for each in found]
    return [int(cpu_ns) / int(calls) for calls, cpu_ns in answers]


def _budget(settings: Settings, folder: Path) -> Values:
    """What measuring costs those that are busy, in turns with and without."""
    port = free_port()
    path = rules(folder / "budget.yaml", port, "many", "*fleet_many.py*", ["many:*"], budget={"process": _BUDGET_PCT})
    burn_s = _BURN_S / (5 if settings.small else 1)
    rounds = 2 if settings.small else settings.rounds_or(_ROUNDS)
    with targets(_BUSY) as found:
        bare, shares, own, said = [_burned(found, burn_s)], [], [], []
        for number in range(rounds):
            with agent(path, port) as running:
                running.wait("pylat_agent_targets", _BUSY, state="measured")
                _burned(found, _SETTLE_S / (5 if settings.small else 1))  # the slices find their length
                used_s, cost_s = cpu_s(running.process.pid), running.value("pylat_probe_time_seconds_total") or 0.0
                begin_s = time.monotonic()
                measured = _burned(found, burn_s)
                took_s = time.monotonic() - begin_s
                own.append((cpu_s(running.process.pid) - used_s) / took_s)
                said.append(((running.value("pylat_probe_time_seconds_total") or 0.0) - cost_s) / took_s)
            bare.append(_burned(found, burn_s))
            # of the CPU time that a call takes now, what it did not take before and after; of all of them together
            triples = zip(measured, bare[-2], bare[-1], strict=True)
            shares.append(sum(1 - (before + after) / 2 / now for now, before, after in triples))
            settings.progress(
                f"many: budget, round {number + 1}: {shares[-1]:.3f}, said {said[-1]:.3f}, own {own[-1]:.3f}"
            )
    return {"share": shares, "said": said, "agent": own, "budget": _BUDGET_PCT / 100}


def measure(settings: Settings) -> Values:
    """With one series for all processes, with one for each, and the budget."""
    count = _PROCESSES // 8 if settings.small else _PROCESSES
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pylat-fleet-")))
        return {
            "functions": _FUNCTIONS,
            "together": _idle(settings, folder, [], count),
            "by pid": _idle(settings, folder, ["pid"], count // _APART),
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
        f"\nOf {_BUSY} processes that do nothing but call, and are measured together, {budget['budget']:.0%} of a CPU "
        f"may be taken: {outside} measured from outside, {said} said by the agent, which took {own} of a CPU itself.\n"
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
        Goal(f"probes in {_BUSY} busy processes, from outside", limit, f"{probes:.2%}", probes <= budget["budget"]),
        Goal("the same with the agent's own", limit, f"{probes + own:.2%}", probes + own <= budget["budget"]),
        Goal(f"calls of {what}", "exact", "; ".join(inexact) or "all", not inexact),
    ]


PART = Part("fleet_many", "Many processes and one agent", measure, tables, goals=goals)
