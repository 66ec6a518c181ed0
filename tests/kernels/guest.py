"""The share of a kernel's test that runs on that kernel: every program is loaded, and counts a small target exactly.

In a virtual machine all is ten to thirty times slower, so counts are judged and times never. With ``--prepare`` it runs
on another kernel before: there each session is made and nothing is measured, so that what is compiled is kept.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from latency.cpython.interpreter import Target
from latency.errors import KernelTooOld, PylatError
from latency.recording import Options, Recording
from latency.tracing.kernel.host import checks
from latency.tracing.markers.session import MarkerSession
from latency.tracing.probes.cost import HitCost
from latency.tracing.probes.session import Session
from latency.tracing.probes.trace import Trace
from latency.tracing.running import run_measured
from latency.tracing.watch.session import WatchSession
from tests import lab
from tests.target_program import TargetProgram
from tests.watch import wrong

RESULTS = Path("/run/results/cases.json")
EXACT = "exact"
_NEEDS = {"watch": (5, 13)}
"""The kernel that an engine needs, as a user is told."""
_CALLS = 100
"""Of each of the target's threads: one of them raises."""
_ONE, _MODULE = ("handle_request",), ("__main__:handle_request", "__main__:worker")
_THRESHOLD = "500us"
_MOST_OUTPUT = 2000
_DEMO_S = 8
_RUNS = f"def f(number):\n    return number\n\nfor number in range({_CALLS}):\n    f(number)\n"

ENGINES = (("eval", (3, 9)), ("usdt", (3, 9)), ("handlers", (3, 11)), ("handlers", (3, 13)))
"""With the interpreter that each is tried on."""


@dataclass(frozen=True)
class Option:
    """One way to measure.

    Attributes:
        name: as the table calls it.
        make: the session, of its target.
        functions: whose numbers are judged.
    """

    name: str
    make: Callable[[Target, str], Any]
    functions: tuple[str, ...] = ("handle_request", "worker")


def _counting(name: str, func: tuple[str, ...] = _ONE, **options: Any) -> Option:
    judged = tuple(each.rpartition(":")[2] for each in func) or ("handle_request", "worker")
    return Option(name, lambda target, how: Session(target, Options(func=func, **options), attachment=how), judged)


def _tracing(name: str, **options: Any) -> Option:
    def make(target: Target, how: str) -> Session:
        return Session(target, Options(func=_ONE), attachment=how, parts=[Trace(target, **options)])

    return Option(name, make, _ONE)


OPTIONS = (
    _counting("plain", ()),
    _counting("by name"),
    _counting("by module", _MODULE),
    _counting("children", (), children=True),
    _counting("slices", max_overhead_pct=100.0),
    _counting("slower", slower=_THRESHOLD),
    _counting("self", (), self_time=True),
    _counting("offcpu", offcpu=True),
    _counting(
        "all of these", _MODULE,
        children=True, max_overhead_pct=100.0, slower=_THRESHOLD, self_time=True, offcpu=True,
    ),
    _tracing("trace"),
    _tracing("values", arguments=True, values=True),
)  # fmt: skip
_FORKS = _counting("forks", ("work", "works", "forks_twice", "in_worker"), children=True)
_OF_MARKERS = (OPTIONS[0], *OPTIONS[-3:])
"""The programs of ``usdt`` are those of ``eval``: some of them, for the semaphores."""


@dataclass
class Case:
    """What came of one way to measure.

    ``attachment`` is the one that was asked for, and ``used`` what was taken. ``outcome`` is ``"exact"``,
    ``"refused: …"`` or ``"lacks: …"`` in the words that a user reads, or what else is wrong.
    """

    engine: str
    option: str
    attachment: str
    outcome: str
    used: str = ""
    seconds: float = 0.0
    detail: str = ""


@dataclass
class Report:
    """All of it, as the guest writes it and the host reads it."""

    release: str
    checks: list[str] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)

    @property
    def as_it_should_be(self) -> bool:
        """Whether everything is exact, but for what such a kernel is known to lack."""
        version = tuple(int(number) for number in self.release.split(".")[:2])
        return all(
            case.outcome == EXACT or (case.outcome.startswith("lacks: ") and version < _NEEDS.get(case.engine, (0, 0)))
            for case in self.cases
        )

    def to_json(self) -> str:
        """For a file."""
        return json.dumps({**vars(self), "cases": [vars(case) for case in self.cases]}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The inverse."""
        known = json.loads(text)
        return cls(known["release"], known["checks"], [Case(**case) for case in known["cases"]])


class Lab:
    """Tries one case after the other.

    Args:
        prepare: only make the sessions.
        only: parts of names of cases, of which one must be there; none for all.
    """

    def __init__(self, *, prepare: bool, only: Sequence[str]) -> None:
        self._prepare = prepare
        self._only = only
        self.report = Report(platform.release())

    def run(self) -> None:
        """Everything."""
        self.report.checks = [f"{'ok' if each.met else 'NO'} {each.name}: {each.found}" for each in checks()]
        # Debian builds with markers
        found = {it.minor: it for it in lab.interpreters() if it.origin.startswith("debian")}
        for engine, minor in ENGINES:
            with TargetProgram(found[minor], "requests.py", _CALLS) as program:
                name = engine if engine != "handlers" else f"handlers {minor[0]}.{minor[1]}"
                for option in OPTIONS if engine != "usdt" else _OF_MARKERS:
                    self._try(name, option, "auto", program, engine)
                if self.report.cases and self.report.cases[-1].used != "perf":
                    self._try(name, OPTIONS[0], "perf", program, engine)
        for engine, minor in (("eval", (3, 9)), ("handlers", (3, 13))):
            with TargetProgram(found[minor], "forking.py") as program:
                name = engine if engine != "handlers" else f"handlers {minor[0]}.{minor[1]}"
                self._try(name, _FORKS, "auto", program, engine)
        with TargetProgram(found[3, 11], "requests.py", _CALLS) as program:
            for option in _WATCHING:
                self._try("watch", option, "auto", program, "watch")
        with TargetProgram(found[3, 13], "requests.py", _CALLS) as program:
            self._try("watch", _AS_WITH_JIT, "auto", program, "watch")
        self._run("handlers 3.11", "run", lambda: self._from_the_first_call(found[3, 11]))
        self._run("handlers 3.11", "demo", self._demo)
        with TargetProgram(found[3, 9], "interpreting.py", "gc") as program:
            self._try("markers", _MARKERS, "auto", program, "auto")
            if self.report.cases and self.report.cases[-1].used != "perf":
                self._try("markers", _MARKERS, "perf", program, "auto")

    def _try(self, name: str, option: Option, attachment: str, program: TargetProgram, engine: str) -> None:
        self._run(name, option.name, lambda: self._outcome(option, attachment, program, engine), attachment)

    def _run(self, name: str, option: str, what: Callable[[], tuple[str, str]], attachment: str = "auto") -> None:
        if self._only and not any(part in f"{name} {option} {attachment}" for part in self._only):
            return
        began = time.monotonic()
        used = detail = ""
        try:
            outcome, used = what()
        except KernelTooOld as error:
            outcome = f"lacks: {error}; {error.hint}"
        except PylatError as error:
            outcome, detail = f"refused: {error}", error.detail
        except Exception:
            outcome, detail = "failed", traceback.format_exc()
        seconds = round(time.monotonic() - began, 1)
        case = Case(name, option, attachment, outcome, used, seconds, detail[-_MOST_OUTPUT:])
        self.report.cases.append(case)
        print(f"{case.seconds:6.1f} s  {name:14} {option:14} {used or attachment:12} {outcome}", flush=True)

    def _outcome(self, option: Option, attachment: str, program: TargetProgram, engine: str) -> tuple[str, str]:
        with option.make(Target(program.pid, engine=engine), attachment) as session:
            if self._prepare:
                return "prepared", ""
            if isinstance(session, Session) and session.options.max_overhead_pct is not None:
                session.hit_cost = HitCost(0.0, 0.0)  # so the limit is never reached, however slow the machine
            session.start()
            truth = program.run()
            truth = truth.get("together", truth)
            recording = session.stop()
            used = session.program.attachment
        return _judged(recording, truth, option.functions), used

    def _from_the_first_call(self, interpreter: lab.Interpreter) -> tuple[str, str]:
        with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
            script.write(_RUNS)
            script.flush()
            outcome, status = run_measured(interpreter.command(script.name), Options(func=("f",)), foreground=False)
        if self._prepare:
            return "prepared", ""
        seen = [each.returned for each in outcome.recording.functions] if outcome else []
        lost = outcome.recording.losses.total if outcome else 0
        right = seen == [_CALLS] and not lost and status == 0
        return EXACT if right else f"seen {seen}, known {_CALLS}, lost {lost}; ended with {status}", ""

    def _demo(self) -> tuple[str, str]:
        if self._prepare:
            return "prepared", ""
        command = [sys.executable, "-B", "-m", "latency", "demo", "-d", str(_DEMO_S)]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        right = said.returncode == 0 and "handle_request" in said.stdout
        return EXACT if right else f"ended with {said.returncode}: {(said.stderr or said.stdout)[-_MOST_OUTPUT:]}", ""


def _judged(recording: Recording, truth: dict[str, dict[str, int]], functions: Sequence[str]) -> str:
    if not functions:
        seen = {each.function.qualname: each.calls for each in recording.functions}
        known = {name: numbers["calls"] for name, numbers in truth.items()}
        lost = {name: count for name, count in recording.losses.as_dict().items() if count}
        return EXACT if seen == known and not lost else f"seen {seen}, known {known}, lost {lost}"
    different = wrong(recording, {name: truth[name] for name in functions})
    return f"different: {different}" if different else EXACT


def _watching(name: str, **options: Any) -> Option:
    wanted = Options(func=_ONE, engine="watch", **options)
    return Option(name, lambda target, _: WatchSession(target, wanted), _ONE)


_WATCHING = (
    _watching("plain"),
    _watching("children", children=True),
    _watching("slower", slower=_THRESHOLD),
    _watching("offcpu", offcpu=True),
    _watching("children, slower, offcpu", children=True, slower=_THRESHOLD, offcpu=True),
)


def _as_with_jit(target: Target, _: str) -> WatchSession:
    """By the programs for targets whose JIT is on, which count others, too: Debian 12 to 13 have no such target."""
    with mock.patch("latency.cpython.jit.may_run", return_value=True):
        return WatchSession(target, Options(func=_ONE, engine="watch", offcpu=True))


_AS_WITH_JIT = Option("jit, offcpu", _as_with_jit, _ONE)
_MARKERS = Option("gc", lambda target, how: MarkerSession(target, Options(markers=("gc",)), attachment=how), ())


def main(arguments: Sequence[str] | None = None) -> int:
    """Tries all cases, and writes what came of them; 1 where one is not exact."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("only", nargs="*")
    options = parser.parse_args(arguments)
    work = Lab(prepare=options.prepare, only=options.only)
    work.run()
    if not options.prepare:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(work.report.to_json())
    return int(any(case.outcome not in (EXACT, "prepared") for case in work.report.cases))


if __name__ == "__main__":
    sys.exit(main())
