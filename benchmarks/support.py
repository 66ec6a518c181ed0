"""Measures every CPython of the lab by each engine that it offers, and writes the tables of ``docs/support.md``.

Each measurement is ``pylat -p PID`` against programs that know their own numbers (``tests/targets``): what each call
did (returned, raised, was abandoned, suspended) is compared by function. Exit status 1 when a row is not exact. With
``PYLAT_LAB_ALL=1`` the builds that are not part of every run of the tests have their rows, too.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from latency.cpython.interpreter import Target
from latency.cpython.sites.choose import offered
from latency.errors import UnsupportedBuild
from latency.recording import Recording, loads
from latency.target.build import identify
from latency.target.process import Process
from tests.lab import KNOWN, Interpreter, interpreters
from tests.pylat_command import Tracing
from tests.target_program import TargetProgram
from tests.watch import of_names, wrong

PAGE = Path(__file__).resolve().parents[1] / "docs" / "support.md"
BEGIN, END = "<!-- written by benchmarks/support.py -->\n", "<!-- end -->\n"

KINDS = ("plain", "method", "recursive", "raising", "generator", "coroutine", "4 threads")
PROGRAMS: Mapping[str, tuple[str | int, ...]] = {
    "": ("everything.py",),
    "recursive": ("recursion.py", 200, 50),
    "4 threads": ("requests.py", 2500),
}
"""The programs, by the kind that all of their functions are; those of the first one are of many kinds."""

Truth = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Build:
    """One row of the table of builds, as text."""

    name: str
    compiler: str
    file: str
    symbols: str
    markers: str
    engines: str
    sites: str
    offsets: str
    registers: str


@dataclass
class Counts:
    """One row of the table of counts.

    Attributes:
        known, seen: calls by kind.
        lost: the sum of the loss counters.
        differences: everything that was not as the programs say, by program.
    """

    name: str
    engine: str
    known: dict[str, int]
    seen: dict[str, int]
    lost: int
    differences: dict[str, object]

    @property
    def exact(self) -> bool:
        """Whether nothing was lost, and each function did what its program says."""
        return not self.differences and not self.lost


def kind_of(qualname: str, kind: str, raised: int) -> str:
    """The column of a function of ``everything.py``."""
    if kind != "function":
        return "coroutine" if kind == "coroutine" else "generator"
    if raised:
        return "raising"
    return "method" if "." in qualname and "<locals>" not in qualname else "plain"


def compiler_of(interpreter: Interpreter) -> str:
    """``"GCC 12.2.0"``, as ``sys.version`` says it."""
    command = interpreter.command("-c", "import platform; print(platform.python_compiler())")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def build_of(interpreter: Interpreter, target: Target, engines: Iterable[str]) -> Build:
    """What pylat finds out about a build before it measures."""
    build = target.build
    places = {"executable": "executable" if build.bias == 0 else "executable, PIE", "libpython": "libpython"}
    found = {marker.name for marker in build.markers}
    calls = {"function__entry", "function__return"}
    registers = {name: where for name, where in target.plan.places.items() if name.endswith((".frame", ".tstate"))}
    stepped = [site.name for site in target.plan.single_stepped]
    return Build(
        name=interpreter.id,
        compiler=compiler_of(interpreter),
        file=places[build.where],
        symbols="yes" if build.image.section(".symtab") is not None else "stripped",
        markers="calls" if calls <= found else "others only" if found else "–",
        engines=", ".join([*engines, *_watch(target)]),
        sites=f"{len(target.plan.sites)}" + (f", single-stepped: {', '.join(stepped)}" if stepped else ""),
        offsets=target.offsets.source,
        registers=", ".join(f"{name} {where}" for name, where in registers.items()) or "–",
    )


def _watch(target: Target) -> list[str]:
    try:
        return [target.watch_plan().engine]
    except UnsupportedBuild:
        return []


def measure(program: TargetProgram, engine: str) -> tuple[Truth, Recording]:
    """One run of a program, every function of it: what it says itself, and what pylat saw."""
    with Tracing("-p", program.pid, "-j", "--engine", engine) as tracing:
        truth = program.run()
        result = tracing.stop()
    (recording,) = loads(result.out)
    if recording.target.engine != engine:
        raise AssertionError(f"{recording.target.engine} measured, not {engine}")
    return truth, recording


def counts_of(interpreter: Interpreter, engine: str) -> Counts:
    """All programs under one interpreter by one engine."""
    row = Counts(interpreter.id, engine, dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0), 0, {})
    for of_all, command in PROGRAMS.items():
        with TargetProgram(interpreter, *map(str, command)) as program:
            truth, recording = measure(program, engine)
        for name, functions in of_names(recording, truth).items():
            kind = functions[0].function.kind if functions else "function"
            column = of_all or kind_of(name, kind, truth[name]["raised"])
            row.known[column] += truth[name]["calls"]
            row.seen[column] += sum(each.calls for each in functions)
        row.lost += recording.losses.total
        if differences := wrong(recording, truth):
            row.differences[str(command[0])] = differences
    return row


def builds_table(builds: Iterable[Build]) -> str:
    """Markdown: one row for each build."""
    heads = ("build", "compiler", "file", "symbols", "USDT", "engines", "sites", "offsets", "registers")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for it in builds:
        cells = (it.name, it.compiler, it.file, it.symbols, it.markers, it.engines, it.sites, it.offsets, it.registers)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def counts_table(rows: Iterable[Counts]) -> str:
    """Markdown: one row for each build and engine; a cell that is not exact names both numbers."""
    heads = ("build", "engine", *KINDS, "expected", "seen", "lost", "exact")
    lines = [f"| {' | '.join(heads)} |", "|---|---|" + "---:|" * (len(heads) - 3) + "---|"]
    for row in rows:
        cells = [row.name, row.engine]
        for kind in KINDS:
            known, seen = row.known[kind], row.seen[kind]
            cells.append(f"{seen:,}" if seen == known else f"**{seen:,} of {known:,}**")
        cells += [f"{sum(row.known.values()):,}", f"{sum(row.seen.values()):,}", f"{row.lost:,}"]
        cells.append("yes" if row.exact else "**no**")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def refused_table(refused: Iterable[tuple[Interpreter, str]]) -> str:
    """Markdown: one row for each build that pylat refuses, with its words."""
    lines = ["| refused | compiler | what is said |", "|---|---|---|"]
    lines += [f"| {it.id} | {compiler_of(it)} | {words} |" for it, words in refused]
    return "\n".join(lines) + "\n"


def head(found: Iterable[Interpreter]) -> str:
    """When and on what, and which versions were not there."""
    release = platform.freedesktop_os_release()["PRETTY_NAME"]
    there = {it.minor for it in found}
    missing = ", ".join(f"{major}.{minor}" for major, minor in KNOWN if (major, minor) not in there)
    return (
        f"{date.today()}, {release}, Linux {platform.release()}, {platform.machine()}, {os.cpu_count()} CPUs.\n"
        f"Versions from 3.6 to 3.15 that were not tried: {missing or 'none'}.\n"
    )


def written_into(page: str, tables: str) -> str:
    """The page with everything between the two comments replaced."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks the lines {BEGIN.strip()!r} and {END.strip()!r}")
    return f"{before}{BEGIN}\n{tables}\n{END}{after}"


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", metavar="TEXT", help="print the rows of builds with this in the name; write no page")
    arguments = parser.parse_args()
    found = [it for it in interpreters() if (arguments.only or "") in it.id]
    builds, rows, refused = [], [], []
    for interpreter in found:
        with TargetProgram(interpreter, "recursion.py") as program:
            try:
                target = Target(program.pid)
            except UnsupportedBuild as error:
                refused.append((interpreter, str(error).replace(identify(Process(program.pid)).file, "…")))
                continue
            engines = offered(target.build.image, target.build.version, target.offsets, target.build.markers)
            builds.append(build_of(interpreter, target, engines))
        for engine in engines:
            rows.append(counts_of(interpreter, engine))
            print(f"{interpreter.id} {engine}: {rows[-1].differences or 'exact'}", file=sys.stderr)
    text = f"{head(found)}\n{builds_table(builds)}\n{counts_table(rows)}"
    if refused:
        text += f"\n{refused_table(refused)}"
    if arguments.only:
        print(text)
    else:
        PAGE.write_text(written_into(PAGE.read_text(), text))
    return 0 if rows and all(row.exact for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
