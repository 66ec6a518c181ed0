"""What was found on each kernel: kept beside the kernels, and written into ``docs/support.md``.

The table there may hold what was found on other machines.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.kernels.guest import EXACT, Case, Report

COLUMNS = ("plain", "children", "slower", "self", "offcpu", "trace", "values", "markers", "watch", "run", "demo")
_SAME = {"by name": "plain", "by module": "plain", "slices": "plain", "forks": "children"}
_RELEASE = re.compile(r"(\d+)\.(\d+)[^,]*(.*)")
_NOTE = re.compile(r"^(\d+)\. (.+)$", re.MULTILINE)
BEGIN, END = "<!-- written by script/kernels --write -->\n", "<!-- end of the kernels -->\n"


@dataclass
class Tests:
    """The integration tests of one kernel.

    Attributes:
        failed: their names.
    """

    passed: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)

    @classmethod
    def from_junit(cls, text: str) -> Tests:
        """What pytest has written."""
        found = cls()
        for case in ElementTree.fromstring(text).iter("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                found.failed.append(f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}")
            elif case.find("skipped") is not None:
                found.skipped += 1
            else:
                found.passed += 1
        return found

    def __str__(self) -> str:
        return f"{self.passed} of {self.passed + len(self.failed)}"


@dataclass
class Kept:
    """What is known of one kernel in one mode.

    Attributes:
        asked: as it was asked for, ``"6.18-full"``.
        date: of the cases, and of the tests.
    """

    asked: str
    release: str = ""
    date: str = ""
    cases: list[Case] = field(default_factory=list)
    tests: Tests | None = None
    preempted: str = ""


def kept(cache: Path, asked: str) -> Kept:
    """What is known by now."""
    path = cache / "results" / f"{asked}.json"
    if not path.exists():
        return Kept(asked)
    known = json.loads(path.read_text())
    tests = known.pop("tests")
    cases = [Case(**case) for case in known.pop("cases")]
    return Kept(**known, cases=cases, tests=Tests(**tests) if tests else None)


def keep(cache: Path, of: Kept) -> None:
    """For the page, and for the next time."""
    path = cache / "results" / f"{of.asked}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(of), indent=1))


def of_column(case: Case) -> str:
    """Under which head a case is told; ``""`` for none."""
    if case.engine in ("watch", "markers"):
        return case.engine
    return _SAME.get(case.option, case.option)


def cells(cases: Sequence[Case]) -> dict[str, str]:
    """For each column what is exact in all of its cases, or the first that is not."""
    found: dict[str, str] = {}
    for case in cases:
        columns = COLUMNS[1:5] if case.option == "all of these" else (of_column(case),)
        for column in columns:
            if found.setdefault(column, EXACT) == EXACT:
                found[column] = case.outcome
    return found


@dataclass
class Row:
    """A row of the table.

    Attributes:
        kernel: its release, and the mode.
        cells: by the head of their column, each with what is said of it below the table, ``""`` for nothing.
    """

    kernel: str
    cells: dict[str, tuple[str, str]]

    @property
    def of(self) -> tuple[str, ...]:
        """Which kernel it is of, whatever its newest release is: ``("6", "18", ", full")``."""
        match = _RELEASE.match(self.kernel)
        return match.groups() if match else (self.kernel,)

    @property
    def order(self) -> list[int]:
        """Oldest kernel first."""
        return [int(number) for number in re.findall(r"\d+", self.kernel)[:3]]

    @classmethod
    def from_kept(cls, each: Kept) -> Row:
        """Of what was found."""
        there = cells(each.cases)
        used = sorted(
            {case.used for case in each.cases if case.used in ("multi", "perf") and case.attachment == "auto"}
        )
        found = {"attached by": (", ".join(used), "")}
        for column in COLUMNS:
            outcome = there.get(column, "–")
            found[column] = (outcome, "") if outcome in (EXACT, "–") else (_short(outcome), outcome)
        tests = str(each.tests) if each.tests else "–"
        failed = each.tests.failed if each.tests else []
        said = "failed: " + ", ".join(f"`{name}`" for name in failed) if failed else ""
        return cls(f"{each.release}{_mode(each.asked)}", {**found, "tests": (tests, said), "on": (each.date, "")})


def rows(table: str) -> list[Row]:
    """The rows of a table that ``page`` has written."""
    notes = dict(_NOTE.findall(table))
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    found = []
    for line in lines[2:]:
        told = {}
        for head, cell in zip(lines[0], line, strict=True):
            text, _, number = cell.removesuffix("]").rpartition(" [") if cell.endswith("]") else (cell, "", "")
            told[head] = text, notes.get(number, "")
        found.append(Row(told.pop("kernel")[0], told))
    return found


def page(found: Sequence[Row]) -> str:
    """The table, in Markdown, and below it what is not exact."""
    notes: dict[str, int] = {}
    heads = ["kernel", "attached by", *COLUMNS, "tests", "on"]
    table = [heads, ["---"] * len(heads)]
    for row in sorted(found, key=lambda each: each.order):
        line = [row.kernel]
        for head in heads[1:]:
            text, note = row.cells.get(head, ("–", ""))
            line.append(f"{text} [{notes.setdefault(note, len(notes) + 1)}]" if note else text)
        table.append(line)
    lines = [f"| {' | '.join(line)} |" for line in table]
    return "\n".join([*lines, "", *(f"{number}. {note}" for note, number in notes.items())]) + "\n"


def write(path: Path, results: Sequence[Kept]) -> None:
    """Put what is known into the table of the page; what other machines have found stays there."""
    before, _, rest = path.read_text().partition(BEGIN)
    table, _, after = rest.partition(END)
    known = {row.of: row for row in rows(table)}
    for new in map(Row.from_kept, results):
        old = known.get(new.of)
        if old and new.cells["tests"][0] == "–" and old.cells["tests"][0] != "–":
            new.cells["tests"] = old.cells["tests"]
            if old.cells["on"] != new.cells["on"] and "(" not in old.cells["tests"][0]:
                new.cells["tests"] = f"{old.cells['tests'][0]} ({old.cells['on'][0]})", old.cells["tests"][1]
        known[new.of] = new
    path.write_text(f"{before}{BEGIN}\n{page(list(known.values()))}\n{END}{after}")


def all_kept(cache: Path) -> list[Kept]:
    """Of every kernel that was tried here."""
    found = [kept(cache, path.stem) for path in sorted((cache / "results").glob("*.json"))]
    return [each for each in found if each.cases]


def _mode(asked: str) -> str:
    _, dash, mode = asked.rpartition("-")
    return f", {mode}" if dash else ""


def _short(outcome: str) -> str:
    first = outcome.split(":")[0]
    return first if first in ("refused", "lacks") else "not exact"


def lines(reports: Mapping[str, Report]) -> list[str]:
    """For the terminal: kernel × case, and below, each once, what is not exact."""
    found_by: dict[str, dict[str, str]] = {}
    for name, report in reports.items():
        for case in report.cases:
            how = "" if case.attachment == "auto" else f" by {case.attachment}"
            found_by.setdefault(f"{case.engine}, {case.option}{how}", {})[name] = case.outcome
    first = max(len(row) for row in found_by) if found_by else 0
    notes: dict[str, int] = {}
    found = [" ".join([" " * first, *(f"{name:>10}" for name in reports)])]
    for row, outcomes in found_by.items():
        each = []
        for name in reports:
            outcome = outcomes.get(name, "–")
            if outcome not in (EXACT, "–"):
                outcome = f"{outcome.split(':')[0]} [{notes.setdefault(outcome, len(notes) + 1)}]"
            each.append(f"{outcome:>10}")
        found.append(" ".join([f"{row:{first}}", *each]))
    return [*found, *(f"[{number}] {note}" for note, number in notes.items())]
