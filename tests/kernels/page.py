"""What was found on each kernel: kept beside the kernels, and written into ``docs/support.md``."""

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


def page(results: Sequence[Kept]) -> str:
    """The table, in Markdown, and below it what is not exact."""
    notes: dict[str, int] = {}
    rows = []
    for each in results:
        there = cells(each.cases)
        used = sorted(
            {case.used for case in each.cases if case.used in ("multi", "perf") and case.attachment == "auto"}
        )
        row = [f"{each.release}{_mode(each.asked)}", ", ".join(used)]
        for column in COLUMNS:
            outcome = there.get(column, "–")
            known = outcome in (EXACT, "–")
            row.append(outcome if known else f"{_short(outcome)} [{notes.setdefault(outcome, len(notes) + 1)}]")
        tests = str(each.tests) if each.tests else "–"
        if each.tests and each.tests.failed:
            said = "failed: " + ", ".join(f"`{name}`" for name in each.tests.failed)
            tests += f" [{notes.setdefault(said, len(notes) + 1)}]"
        rows.append([*row, tests, each.date])
    heads = ["kernel", "attached by", *COLUMNS, "tests", "on"]
    lines = [f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *rows]]
    return "\n".join([*lines, "", *(f"{number}. {note}" for note, number in notes.items())]) + "\n"


def write(path: Path, results: Sequence[Kept]) -> None:
    """Put the table where the page has it now."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{page(results)}\n{END}{after}")


def in_order(results: Sequence[Kept]) -> list[Kept]:
    """Oldest kernel first."""
    return sorted(results, key=lambda each: [int(number) for number in re.findall(r"\d+", each.release)[:3]])


def all_kept(cache: Path) -> list[Kept]:
    """Of every kernel that was tried, the oldest first."""
    found = [kept(cache, path.stem) for path in (cache / "results").glob("*.json")]
    return in_order([each for each in found if each.cases])


def _mode(asked: str) -> str:
    _, dash, mode = asked.rpartition("-")
    return f", {mode}" if dash else ""


def _short(outcome: str) -> str:
    first = outcome.split(":")[0]
    return first if first in ("refused", "lacks") else "not exact"


def lines(reports: Mapping[str, Report]) -> list[str]:
    """For the terminal: kernel × case, and below, each once, what is not exact."""
    rows: dict[str, dict[str, str]] = {}
    for name, report in reports.items():
        for case in report.cases:
            how = "" if case.attachment == "auto" else f" by {case.attachment}"
            rows.setdefault(f"{case.engine}, {case.option}{how}", {})[name] = case.outcome
    first = max(len(row) for row in rows) if rows else 0
    notes: dict[str, int] = {}
    found = [" ".join([" " * first, *(f"{name:>10}" for name in reports)])]
    for row, outcomes in rows.items():
        each = []
        for name in reports:
            outcome = outcomes.get(name, "–")
            if outcome not in (EXACT, "–"):
                outcome = f"{outcome.split(':')[0]} [{notes.setdefault(outcome, len(notes) + 1)}]"
            each.append(f"{outcome:>10}")
        found.append(" ".join([f"{row:{first}}", *each]))
    return [*found, *(f"[{number}] {note}" for note, number in notes.items())]
