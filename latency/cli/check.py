"""``pylat check``: can pylat work here, on this process? Nothing is attached."""

from __future__ import annotations

import argparse

from latency.cli.output import DONE
from latency.cpython import jit
from latency.cpython.functions import live_functions
from latency.cpython.sites.choose import offered
from latency.errors import PylatError
from latency.report.names import escape
from latency.tracing.host import checks
from latency.tracing.session import Target

_FAILED = 2


def run(arguments: argparse.Namespace) -> int:
    """Say what is there, what is missing and what to do about it."""
    met = True
    for check in checks():
        _line(check.name, check.found, met=check.met)
        if check.error:
            met = False
            print(f"{'':14}do: {check.error.hint}")
    if arguments.pid is not None:
        met = _target(arguments.pid, arguments.engine) and met
    return DONE if met else _FAILED


def _target(pid: int, engine: str) -> bool:
    try:
        target = Target(pid, engine=engine)
        jit.require_off(target.process, target.build)
        functions = len(live_functions(target.process, target.build, target.offsets))
    except PylatError as error:
        _line("target", escape(str(error)), met=False)
        if error.hint:
            print(f"{'':14}do: {escape(error.hint)}")
        return False
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
    return True


def _line(name: str, found: str, *, met: bool = True) -> None:
    print(f"{'ok' if met else 'NO':3} {name:11} {found}")
