"""The lines above the table: who is measured, how, at what cost, and what is not known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from latency.live.ledger import Standing
from latency.report.layout import Line, flow, wrap
from latency.report.names import escape
from latency.report.units import count, number, percent

_LONGEST_COMMAND, _LONGEST_CHOICE, _LONGEST_FILTER = 40, 200, 30
_ENDS = {"exited": "ended", "exec": "replaced itself by another program (exec)"}
_DEAR = 0.05
NARROW = 60


@dataclass(frozen=True)
class Shown:
    """What is shown of it.

    Attributes:
        command: of the first process.
        pids: that were asked for.
        pid: the one that is shown; None for all together.
        processes: how many there are to choose from.
        since_start: and not the last interval.
        interval_s: how long that is.
        functions, of: how many are shown, and how many there are.
        text: by which they were chosen.
    """

    command: str
    pids: Sequence[int]
    pid: int | None = None
    processes: int = 1
    since_start: bool = False
    interval_s: float = 1.0
    paused: bool = False
    functions: int = 0
    of: int = 0
    text: str = ""
    ended: Mapping[int, str] = field(default_factory=dict)
    stopped: Sequence[int] = ()


def head(standing: Standing, shown: Shown, width: int, most: int) -> list[Line]:
    """At most so many lines. In a narrow window what can be looked up elsewhere is left out."""
    if width < NARROW:
        return flow([*_whom(shown, narrow=True), *_when(standing, shown), *_how(standing)], width)[: max(most, 1)]
    lines = flow([*_whom(shown), *_when(standing, shown)], width) + flow(_how(standing), width)
    if standing.choice:
        lines += wrap(f"chosen: {escape(standing.choice, _LONGEST_CHOICE)}", width, style="dim")
    return lines[: max(most, 1)]


def _whom(shown: Shown, *, narrow: bool = False) -> list[Line | str]:
    pids = ", ".join(map(str, shown.pids[:3])) + (", …" if len(shown.pids) > 3 else "")
    named = f"pid {pids} ({escape(shown.command, _LONGEST_COMMAND)})"
    found: list[Line | str] = [f"pid {pids}"] if narrow else [Line("pylat top", style="bold"), named]
    found += [Line(f"{pid} {_ENDS[why]}", style="bold red") for pid, why in shown.ended.items()]
    found += [Line(f"{pid} is stopped", style="bold yellow") for pid in shown.stopped]
    if shown.pid is not None:
        found.append(Line(f"process {shown.pid or 'gone'}, of {shown.processes}", style="bold"))
    elif shown.processes > 1:
        found.append(f"{shown.processes} processes together")
    return found


def _when(standing: Standing, shown: Shown) -> list[Line | str]:
    when = "since the start" if shown.since_start else f"the last {number(shown.interval_s)} s"
    found: list[Line | str] = [f"{standing.seconds:,.0f} s", Line(when, style="bold")]
    if shown.paused:
        found.append(Line("paused", style="bold yellow"))
    found.append(
        f"{count(shown.functions)} of {count(shown.of)} functions" if shown.text else f"{count(shown.of)} functions"
    )
    if shown.text:
        found.append(Line(f"/{escape(shown.text, _LONGEST_FILTER)}", style="bold"))
    return found


def how(standing: Standing, width: int) -> list[Line]:
    """How it is measured, and what is lost, on as few lines as it takes."""
    return flow([f"{standing.seconds:,.0f} s", *_how(standing)], width)


def _how(standing: Standing) -> list[Line | str]:
    lost, cost = standing.losses.total, standing.cost
    named = ", ".join(escape(name, 30) for name, number_lost in standing.losses.as_dict().items() if number_lost)
    said = f"lost {count(lost)}" + (f" ({named})" if lost else "")
    found: list[Line | str] = [Line(said, style="red" if lost else "green")]
    if cost is not None:
        found.append(Line(f"cost {percent(cost)} of a CPU", style="yellow" if cost > _DEAR else ""))
    found.append(f"watched {percent(standing.watched)}")
    if standing.engine:
        found.append(f"engine {escape(standing.engine, 30)}")
    found.append(f"probes {percent(standing.probes)} of the latencies")
    return found
