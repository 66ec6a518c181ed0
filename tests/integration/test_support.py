"""The command that writes ``docs/support.md``, and what stands there."""

from __future__ import annotations

import re

import pytest

from benchmarks import support
from latency.cpython.interpreter import Target
from tests.lab import KNOWN, Interpreter


def row(seen: int, differences: dict[str, object]) -> support.Counts:
    known = dict.fromkeys(support.KINDS, 10)
    return support.Counts("3.11.2-here", "handlers", known, {**known, "raising": seen}, 0, differences)


def test_a_row_is_measured_with_calls_of_every_kind(own_interpreter: Interpreter) -> None:
    measured = support.counts_of(own_interpreter, "handlers")
    assert measured.differences == {}
    assert measured.exact
    assert measured.seen == measured.known
    assert all(measured.known.values())


def test_a_build_is_described(own_interpreter: Interpreter) -> None:
    with support.TargetProgram(own_interpreter, "recursion.py") as program:
        build = support.build_of(own_interpreter, Target(program.pid), ["handlers"])
    assert build.name == own_interpreter.id
    assert build.offsets.endswith("table {}.{}".format(*own_interpreter.minor))
    assert "entry.frame" in build.registers


def test_a_row_that_is_not_exact_is_told_and_names_both_numbers() -> None:
    (*_, line) = support.counts_table([row(9, {"raising.py": "9"})]).splitlines()
    assert "**9 of 10**" in line
    assert line.endswith("| 70 | 69 | 0 | **no** |")


def test_equal_sums_are_not_enough() -> None:
    assert not row(10, {"raising.py": "returned instead of raised"}).exact


def test_only_the_tables_of_the_page_are_replaced() -> None:
    page = f"above\n{support.BEGIN}old\n{support.END}below\n"
    assert support.written_into(page, "new") == f"above\n{support.BEGIN}\nnew\n{support.END}below\n"


def test_a_page_without_a_place_for_the_tables_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks the lines"):
        support.written_into("only text\n", "new")


def test_the_page_has_every_version_and_only_exact_rows() -> None:
    tables = support.PAGE.read_text().partition(support.BEGIN)[2].partition(support.END)[0]
    rows = [line for line in tables.splitlines() if re.match(r"\| \d", line)]
    exact = [line for line in rows if line.endswith("| yes |")]
    assert {re.match(r"\| (\d+)\.(\d+)\.", line).groups() for line in exact} == {  # type: ignore[union-attr]
        (str(major), str(minor)) for major, minor in KNOWN
    }
    assert "**" not in tables
