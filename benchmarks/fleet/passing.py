"""A thousand workers that live for two seconds each, ten of them beginning each second: forked by one server, and
as programs of their own, which the agent has to find.

Each worker writes down how often it called ``work``. Of the forked ones each call has to be counted. A program of its
own is measured from the moment on at which its turn comes; what ends before that has to be counted as such.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.fleet.machines import METRIC, agent, cpu_s, memory_mb, rules
from benchmarks.keeping import TARGETS, Goal, Part, Settings, Values, table
from tests.servers import free_port, until

_WORKERS, _EACH_SECOND, _LIFE_S = 1000, 10.0, 2.0
_LOOK_S = 1.0
_EARLY, _LATE = slice(3, 6), slice(7, 10)  # tenths of the time whose most memory is compared
_GROWTH_MB = 8.0
_HOW = {"fork": "forked by a server", "exec": "programs of their own"}


def _run(settings: Settings, folder: Path, how: str) -> Values:
    count = _WORKERS // 5 if settings.small else _WORKERS
    port, log = free_port(), folder / f"{how}.calls"
    words = [
        sys.executable,
        str(TARGETS / "fleet_passing.py"),
        how,
        str(log),
        str(count),
        str(_EACH_SECOND),
        str(_LIFE_S),
    ]
    meant = "*fleet_passing.py fork*" if how == "fork" else "*fleet_passing.py worker*"
    path = rules(folder / f"{how}.yaml", port, "passing", meant, ["__main__:work"])
    samples: list[float] = []
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdout.readline()
        try:
            with agent(path, port) as running:
                if how == "fork":
                    running.wait("pylat_agent_targets", 1, state="measured")
                pid = running.process.pid
                used_s, begin_s = cpu_s(pid), time.monotonic()
                parent.stdin.write("begin\n")
                parent.stdin.flush()
                while len(log.read_text().split() if log.exists() else ()) < count:
                    samples.append(memory_mb(pid)["all"])
                    time.sleep(_LOOK_S)
                parent.stdout.readline()
                took_s = time.monotonic() - begin_s
                share = (cpu_s(pid) - used_s) / took_s
                # those that ended are taken in at the next look
                quiet = 1 if how == "fork" else 0
                until(
                    lambda: True if (running.value("pylat_agent_targets") or 0) <= quiet else None,
                    "all are gone",
                    running.process,
                )
                values = {
                    "workers": count,
                    "seconds": took_s,
                    "share_of_cpu": share,
                    "memory_mb": samples,
                    "logged": sum(map(int, log.read_text().split())),
                    "counted": running.value(f"{METRIC}_count") or 0.0,
                    "measurements": running.value("pylat_agent_measurements_total") or 0.0,
                    "ended_before": running.value("pylat_agent_failures_total", reason="ended_before") or 0.0,
                    "other_failures": running.value("pylat_agent_failures_total") or 0.0,
                    "lost": running.value("pylat_lost_events_total") or 0.0,
                    "began_before": running.value("pylat_began_before_total") or 0.0,
                }
                values["other_failures"] -= values["ended_before"]
                values["said"] = len(running.said.splitlines())
        finally:
            parent.kill()
    settings.progress(f"passing: {how}: { {name: it for name, it in values.items() if name != 'memory_mb'} }")
    return values


def measure(settings: Settings) -> Values:
    """Both ways."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pylat-fleet-")))
        return {how: _run(settings, folder, how) for how in _HOW}


def _growth_mb(values: Values) -> float:
    samples = values["memory_mb"]
    tenths = [samples[len(samples) * number // 10 : max(len(samples) * (number + 1) // 10, 1)] for number in range(10)]
    early, late = ([each for part in tenths[which] for each in part] for which in (_EARLY, _LATE))
    return max(late) - max(early) if early and late else 0.0


def tables(values: Values) -> str:
    """One row for each way."""
    rows = []
    for how, name in _HOW.items():
        it = values[how]
        rows.append(
            [
                f"{it['workers']:,} {name}",
                f"{it['seconds']:.0f} s",
                f"{it['counted']:,.0f} of {it['logged']:,}",
                f"{it['measurements']:,.0f}",
                f"{it['ended_before']:,.0f}",
                f"{it['lost']:,.0f}",
                f"{it['share_of_cpu']:.1%}",
                f"{max(it['memory_mb']):.0f} MB ({_growth_mb(it):+.1f} MB)",
            ]
        )
    heads = ("", "took", "calls", "measurements", "ended before", "lost events", "of a CPU", "memory at most (growth)")
    return table(heads, rows)


def goals(values: Values) -> list[Goal]:
    """Exact where they are forked; whole in its account where they are not."""
    forked, apart = values["fork"], values["exec"]
    growth = max(map(_growth_mb, values.values()))
    known = apart["measurements"] + apart["ended_before"] + apart["other_failures"]
    return [
        Goal(
            "calls of forked workers, or a loss that says how many",
            "exact",
            f"{forked['counted']:,.0f} of {forked['logged']:,}, {forked['lost']:,.0f} lost",
            forked["logged"] - forked["counted"] == 0 or forked["counted"] + forked["lost"] >= forked["logged"],
        ),
        Goal(
            "workers that are programs: measured, or counted as ended before",
            "exact",
            f"{known:,.0f} of {apart['workers']:,}",
            known == apart["workers"],
        ),
        Goal("memory", "flat", f"{growth:+.1f} MB from the second third to the last", growth <= _GROWTH_MB),
    ]


PART = Part("fleet_passing", "Workers that come and go", measure, tables, goals=goals)
