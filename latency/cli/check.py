"""``pylat check``: can pylat work here, on this process? Nothing is attached to it, but for ``--cost``.

``--report FILE`` writes what pylat's developers need to know of its build.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from latency.cli.arguments import DEFAULT_LIMIT_PCT
from latency.cli.options import options_of
from latency.cli.output import DONE
from latency.cpython import jit
from latency.cpython.build_report import build_report
from latency.cpython.functions import live_functions
from latency.cpython.sites.choose import offered
from latency.cpython.watch_points import ENGINE as WATCH
from latency.cpython.wrapped import target_of
from latency.errors import PylatError, UsageError
from latency.report.names import escape
from latency.report.units import number, percent
from latency.target.build import identify
from latency.target.process import Process
from latency.tracing.auto import foreseen
from latency.tracing.kernel.host import checks
from latency.tracing.kernel.trials import trials

_FAILED = 2


def run(arguments: argparse.Namespace) -> int:
    """Say what is there, what is missing and what to do about it."""
    met = True
    for check in checks():
        _line(check.name, check.found, met=check.met)
        if check.error:
            met = False
            print(f"{'':14}do: {check.error.hint}")
    for trial in trials() if met else ():
        _line(trial.name, trial.found, met=trial.works)
        if not trial.works:
            met = met and not trial.needed
            print(f"{'':14}do: {trial.hint}")
    if arguments.pid is None:
        if arguments.cost or arguments.func:
            raise UsageError("the cost is that of a process", "give -p PID, too")
        if arguments.report:
            raise UsageError("the report is on the build of a process", "give -p PID, too")
    else:
        refusal = _target(arguments.pid, arguments.engine)
        met = met and not refusal
        if arguments.cost or arguments.func:
            met = met and _cost(arguments)
        if arguments.report:
            met = _report(arguments.pid, Path(arguments.report), refusal) and met
    return DONE if met else _FAILED


def _target(pid: int, engine: str) -> str:
    """Why the process cannot be measured; ``""`` if it can."""
    try:
        target = target_of(pid, engine=engine)
        if engine != WATCH:
            jit.require_off(target.process, target.build)
        functions = len(live_functions(target.process, target.build, target.offsets))
    except PylatError as error:
        _failed("target", error)
        return str(error)
    build, plan = target.build, target.plan
    _line("target", escape(f"pid {pid}, CPython {build.version_text} in {build.file}"))
    _line("build", f"{build.build_id or 'no build id'}  {' '.join(sorted(build.flags))}".rstrip())
    _line("offsets", target.offsets.source)
    _line("functions", f"{functions:,} live code objects")
    engines = offered(build.image, build.version, target.offsets, build.markers)
    _line("engines", f"{plan.engine} is taken; this build offers {', '.join(engines)}")
    stepped = plan.single_stepped
    cost = f"{len(stepped)} of {len(plan.sites)} probe sites are single-stepped" if stepped else "all are emulated"
    _line("probe sites", f"{len(plan.sites)}: {cost}")
    for spot in plan.blind_spots or ("none known",):
        _line("blind spots", spot)
    return ""


def _report(pid: int, path: Path, refusal: str) -> bool:
    """Write what there is to say about the build."""
    try:
        text = json.dumps(build_report(identify(Process(pid)), refusal=refusal), indent=1)
    except PylatError as error:
        return _failed("report", error)
    try:
        path.write_text(text + "\n")
    except OSError as error:
        return _failed("report", PylatError(f"cannot write {path}: {error.strerror}", "give --report another path"))
    _line(
        "report", escape(f"{path}, {len(text) // 1000:,} kB: numbers and machine code of the interpreter's file alone")
    )
    return True


def _cost(arguments: argparse.Namespace) -> bool:
    """A short look with the probes in place."""
    options = options_of(arguments)
    try:
        look, choice = foreseen(target_of(arguments.pid, engine=arguments.engine), options)
    except PylatError as error:
        return _failed("cost", error)
    wanted = f", {number(look.wanted_per_s)}/s of them wanted" if options.func else ""
    _line("cost", f"about {percent(choice.share)} of one CPU: {number(look.calls_per_s)} Python calls/s{wanted}")
    _line("cost", f"seen in {look.seconds:.2f} s with probes in place; they are gone again")
    _line("cost", escape(choice.why, 400))
    limit = DEFAULT_LIMIT_PCT / 100
    if choice.share > limit:
        _line(
            "cost", f"pylat -p will watch {percent(limit / choice.share)} of the time, to stay under {percent(limit)}"
        )
        print(f"{'':14}do: nothing; or set another limit with --max-overhead")
    return True


def _failed(name: str, error: PylatError) -> bool:
    _line(name, escape(str(error)), met=False)
    if error.hint:
        print(f"{'':14}do: {escape(error.hint)}")
    return False


def _line(name: str, found: str, *, met: bool = True) -> None:
    print(f"{'ok' if met else 'NO':3} {name:11} {found}")
