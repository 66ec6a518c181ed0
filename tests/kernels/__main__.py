"""The lab of kernels: pylat on Debian's kernels, each in a virtual machine. ``script/kernels`` is this file."""

from __future__ import annotations

import argparse
import datetime
import fcntl
import os
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests import lab
from tests.kernels import page
from tests.kernels.debian import Kernel, kernel
from tests.kernels.guest import Report
from tests.kernels.machine import REPOSITORY, Root, boot, emulated_badly, fault, say
from tests.lab import LabError

VERSIONS = ("5.10", "6.1", "6.12", "6.18-none", "6.18-voluntary", "6.18", "6.18-full", "newest")
_LIMIT_S, _TESTS_LIMIT_S = 1500, 7200
_TESTS = (
    *("scenarios", "record", "engines", "trace", "slow_calls", "dividing", "processes", "watch", "watch_children"),
    *("watch_suspending", "markers", "run", "coexistence"),
)
_OF_BUILDS = "not 3.14. and not 3.15. and not debian-sid and not source and not manylinux and not shared"
"""Of the lab: one of each engine is enough for a kernel, and a virtual machine takes ten times as long for each."""
_PYTHON = (".venv/bin/python", "-B", "-m")
_MODE = re.compile(r"(.+)-(none|voluntary|lazy|full|integrity|confidentiality)")


def cache_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """``$PYLAT_KERNELS``, else ``pylat-kernels`` in the user's cache."""
    if given := environ.get("PYLAT_KERNELS"):
        return Path(given)
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pylat-kernels"


def asked(text: str) -> tuple[str, list[str]]:
    """``"6.18-full"`` -> ``("6.18", ["preempt=full"])``: the version, and parameters of the kernel."""
    match = _MODE.fullmatch(text)
    if not match:
        return text, []
    return match[1], [f"{'lockdown' if match[2] in ('integrity', 'confidentiality') else 'preempt'}={match[2]}"]


def quick(root: Root, one: Kernel, parameters: Sequence[str], only: Sequence[str]) -> Report:
    """Every program of the present sources on one kernel. Raises LabError."""
    began = time.monotonic()
    say(f"{one.release}: compiling for it")
    root.take_sources()
    root.know_types(one)
    command = [*_PYTHON, "tests.kernels.guest"]
    root.run([*command, "--prepare", *only])
    say(f"{one.release}: {time.monotonic() - began:.0f} s; starting it")
    brought = _brought(root, one, parameters, [*command, *only], "cases.json")
    console, output = (brought.get(name, "") for name in ("console", "output"))
    say(f"{one.release}: {time.monotonic() - began:.0f} s in all\n{console}\n{output}")
    return Report.from_json(brought["cases.json"])


def said(
    root: Root, one: Kernel, parameters: Sequence[str], *module: str, prepare: bool = False, limit_s: float = _LIMIT_S
) -> tuple[str, int]:
    """What a module says on one kernel, and its status.

    Args:
        module: its name, and its arguments.
        prepare: whether it compiles something, and does so beforehand where it is asked with ``--prepare``.

    Raises:
        LabError: the machine did not come to its end.
    """
    root.take_sources()
    root.know_types(one)
    command = [*_PYTHON, *module]
    if prepare:
        say(f"{one.release}: compiling for it")
        root.run([*command, "--prepare"])
    say(f"{one.release}: starting it")
    brought = _brought(root, one, parameters, command, "status", limit_s)
    return brought.get("output", ""), int(brought["status"])


def tests(root: Root, one: Kernel, parameters: Sequence[str], only: Sequence[str]) -> page.Tests:
    """The integration tests on one kernel. Raises LabError."""
    root.take_sources()
    root.know_types(one)
    files = [f"tests/integration/test_{name}.py" for name in _TESTS if not only or name in only]
    command = [*_PYTHON, "pytest", "-q", "-n", "2", "--dist", "loadgroup", "-p", "no:cacheprovider"]
    command += ["-k", _OF_BUILDS, *files]
    say(f"{one.release}: compiling for it, by the same tests here")
    root.run(command, judged=False)
    say(f"{one.release}: starting it")
    reported = [*command, "--junitxml=/run/results/tests.xml"]
    brought = _brought(root, one, parameters, reported, "tests.xml", _TESTS_LIMIT_S)
    print(brought.get("output", ""), file=sys.stderr)
    return page.Tests.from_junit(brought["tests.xml"])


def _brought(
    root: Root,
    one: Kernel,
    parameters: Sequence[str],
    command: Sequence[str],
    needed: str,
    limit_s: float = _LIMIT_S,
) -> dict[str, str]:
    """What a command wrote on one kernel: the texts of the files that came back, by their names.

    A machine that stopped by a fault of its emulation is started once more. Raises LabError, if then the file that is
    needed did not come back, with what the kernel said.
    """
    for _ in range(2):
        with tempfile.TemporaryDirectory(prefix="pylat-kernels-") as temporary:
            results = Path(temporary)
            whole = boot(root, one, command, results, limit_s=limit_s, parameters=parameters)
            brought = {path.name: path.read_text(errors="replace") for path in results.iterdir() if path.is_file()}
        if whole and needed in brought:
            return brought
        console = brought.get("console", "")
        if not emulated_badly(console):
            break
        say(f"{one.release}: stopped in code that it was changing, a fault of the emulation:\n{fault(console)}")
    raise LabError(f"{one.release} did not come to its end:\n{fault(console)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """1 where something is not as it should be, 2 where a machine does not run."""
    parser = argparse.ArgumentParser(prog="script/kernels", description="Try pylat on Debian's kernels.")
    parser.add_argument("--quick", action="store_true", help="every program, and a small target counted exactly")
    parser.add_argument("--tests", action="store_true", help="only the integration tests; --only names their files")
    parser.add_argument("--write", action="store_true", help="and what is known by now into docs/support.md")
    parser.add_argument("--fresh", action="store_true", help="look whether the archive has newer kernels")
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="cases with this in their names")
    parser.add_argument("--private-stack", action="store_true", help="only whether BPF programs keep their stack")
    parser.add_argument(
        "--preempted", type=int, metavar="TIMES", help="only what tasks can garble that are interrupted"
    )
    parser.add_argument("--rights", action="store_true", help="only what a user with some capabilities can do")
    parser.add_argument("--verbose", action="store_true", help="what a kernel says of what it refuses, too")
    parser.add_argument(
        "versions", nargs="*", metavar="VERSION", help="6.1, 6.12.43, newest; 6.18-full for preempt=full"
    )
    options = parser.parse_args(arguments)
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    alone = (cache / "lock").open("w")
    fcntl.flock(alone, fcntl.LOCK_EX)  # the root holds the sources of one run at a time
    try:
        lab.unpack(lab.cache_directory(), lab.foreign_suites())
        root = Root(cache)
        root.make()
        reports, worst = {}, 0
        for text in options.versions or VERSIONS:
            version, parameters = asked(text)
            one = kernel(cache, version, fresh=options.fresh)
            if options.private_stack or options.preempted or options.rights:
                module, prepare, limit_s = ["tests.kernels.private_stack"], False, _LIMIT_S
                if options.rights:
                    module, prepare, limit_s = ["tests.kernels.rights"], True, _TESTS_LIMIT_S
                elif options.preempted:
                    module = ["tests.kernels.preempted", str(options.preempted), *options.only]
                    prepare, limit_s = True, _LIMIT_S * (1 + options.preempted // 4)
                told, status = said(root, one, parameters, *module, prepare=prepare, limit_s=limit_s)
                print(f"{text}:\n{told}", flush=True)
                worst = max(worst, status)
                continue
            known = page.kept(cache, text)
            known.release, known.date = one.release, datetime.datetime.now(datetime.timezone.utc).date().isoformat()
            if not options.tests:
                reports[text] = quick(root, one, parameters, options.only)
                known.cases = reports[text].cases if not options.only else known.cases
            if not options.quick:
                known.tests = tests(root, one, parameters, options.only)
                worst = max(worst, int(bool(known.tests.failed)))
            page.keep(cache, known)
    except LabError as error:
        print(f"script/kernels: {error}", file=sys.stderr)
        return 2
    if reports:
        print("\n".join(page.lines(reports)))
    for name, report in reports.items():
        used = sorted({case.used for case in report.cases if case.attachment == "auto" and case.used})
        print(f"{name}: Linux {report.release}; by {', '.join(used) or 'nothing'}")
        for case in report.cases if options.verbose else ():
            if case.detail:
                print(f"{name}, {case.engine}, {case.option}: {case.detail}")
    if options.write:
        page.write(REPOSITORY / "docs" / "support.md", page.all_kept(cache))
    return max(worst, int(not all(report.cases and report.as_it_should_be for report in reports.values())))


if __name__ == "__main__":
    sys.exit(main())
