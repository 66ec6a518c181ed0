"""The lab of kernels takes the kernel that was asked for, and its table hides nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernels import page
from tests.kernels.__main__ import asked
from tests.kernels.debian import newest
from tests.kernels.guest import EXACT, Case, Report
from tests.kernels.machine import emulated_badly, fault

PACKAGES = (
    "linux-image-6.1.0-9-amd64",
    "linux-image-6.1.0-56-amd64",
    "linux-image-6.1.0-57-rt-amd64",
    "linux-image-6.1.0-57-cloud-amd64",
    "linux-image-6.1.0-57-amd64-unsigned",
    "linux-image-6.12.107+deb13-amd64",
    "linux-image-6.12.43+deb12-amd64",
    "linux-image-7.3.4+deb13-amd64",
    "linux-image-amd64",
)


@pytest.mark.parametrize(
    ("version", "package"),
    [
        ("6.1", "linux-image-6.1.0-56-amd64"),
        ("6.12", "linux-image-6.12.107+deb13-amd64"),
        ("6.12.43", "linux-image-6.12.43+deb12-amd64"),
        ("newest", "linux-image-7.3.4+deb13-amd64"),
        ("6.11", None),
    ],
)
def test_the_newest_ordinary_kernel_of_a_version_is_taken(version: str, package: str | None) -> None:
    assert newest(version, PACKAGES) == package


def test_a_mode_of_preemption_or_lockdown_is_a_parameter_of_the_kernel() -> None:
    assert asked("6.18-full") == ("6.18", ["preempt=full"])
    assert asked("6.18") == ("6.18", [])
    assert asked("newest-confidentiality") == ("newest", ["lockdown=confidentiality"])


def test_what_a_kernel_refuses_stands_below_the_table_once() -> None:
    refused = "refused: the kernel refused the BPF program"
    reports = {
        "6.1": Report(
            "6.1.0-56-amd64", cases=[Case("eval", "plain", "perf", refused), Case("watch", "plain", "auto", refused)]
        ),
        "6.12": Report("6.12.107-amd64", cases=[Case("eval", "plain", "perf", EXACT)]),
    }
    lines = page.lines(reports)
    assert lines[1].split() == ["eval,", "plain", "by", "perf", "refused", "[1]", "exact"]
    assert lines[2].split()[-3:] == ["refused", "[1]", "–"]
    assert lines[3:] == [f"[1] {refused}"]


def test_a_report_comes_back_as_it_was() -> None:
    report = Report("6.1.0-56-amd64", ["ok kernel: Linux"], [Case("eval", "plain", "perf", EXACT, "perf", 1.5)])
    assert Report.from_json(report.to_json()) == report


@pytest.mark.parametrize(("release", "fine"), [("5.10.0-32-amd64", True), ("6.1.0-56-amd64", False)])
def test_what_an_engine_is_known_to_need_is_no_fault_of_an_older_kernel_alone(release: str, fine: bool) -> None:
    lacks = Case("watch", "plain", "auto", "lacks: this kernel cannot watch all threads of a process; …")
    assert Report(release, cases=[lacks, Case("eval", "plain", "auto", EXACT)]).as_it_should_be == fine
    assert not Report(release, cases=[Case("eval", "plain", "auto", lacks.outcome)]).as_it_should_be


def test_a_cell_is_exact_only_where_each_engine_and_each_way_to_attach_is() -> None:
    cases = [
        Case("eval", "plain", "auto", EXACT, "perf"),
        Case("usdt", "plain", "auto", EXACT, "perf"),
        Case("handlers 3.11", "slices", "auto", "different: {'worker': 1}"),
        Case("eval", "all of these", "auto", "seen 1, known 2"),
        Case("eval", "slower", "auto", EXACT),
        Case("watch", "children", "auto", "lacks: inherit_thread; measure without"),
    ]
    assert page.cells(cases) == {
        "plain": "different: {'worker': 1}",
        **dict.fromkeys(("children", "slower", "self", "offcpu"), "seen 1, known 2"),
        "watch": "lacks: inherit_thread; measure without",
    }
    failed = page.Tests(passed=3, failed=["test_run::test_it"])
    old, new = page.Kept("5.10", "5.10.0-39", "2026-11-29", cases), page.Kept("6.18-full", "6.18.15", tests=failed)
    lines = page.page([page.Row.from_kept(each) for each in (new, old)]).splitlines()
    assert lines[2].startswith("| 5.10.0-39 | perf | not exact [1] | not exact [2] | not exact [2] |")
    assert "| lacks [3] |" in lines[2]
    assert lines[3].startswith("| 6.18.15, full |  | – |")
    assert lines[3].endswith("| 3 of 4 [4] |  |")
    assert lines[-1] == "4. failed: `test_run::test_it`"


def test_the_table_is_written_where_it_was(tmp_path: Path) -> None:
    text = tmp_path / "support.md"
    text.write_text(f"before\n{page.BEGIN}old\n{page.END}after\n")
    for _ in range(2):
        page.write(text, [page.Kept("6.1", "6.1.0-56", cases=[Case("eval", "plain", "auto", EXACT)])])
    assert text.read_text().startswith(f"before\n{page.BEGIN}\n| kernel |")
    assert text.read_text().endswith(f"| – |  |\n\n\n{page.END}after\n")


def test_what_other_machines_have_found_stays_in_the_table(tmp_path: Path) -> None:
    def known(name: str, release: str, outcome: str, date: str, tests: page.Tests | None = None) -> page.Kept:
        return page.Kept(name, release, date, [Case("eval", "plain", "auto", outcome, "perf")], tests)

    text = tmp_path / "support.md"
    text.write_text(f"before\n{page.BEGIN}{page.END}after\n")
    lacks = "lacks: this; measure without"
    page.write(text, [known("newest", "7.3.4", EXACT, "1"), known("5.10", "5.10.0-32", lacks, "1")])
    page.write(text, [known("6.18-full", "6.18.15", "seen 1, known 2", "2", page.Tests(1, failed=["a"]))])
    page.write(text, [known("6.18", "6.18.15", EXACT, "2"), known("5.10", "5.10.0-39", lacks, "3")])
    page.write(text, [known("6.18-full", "6.18.16", EXACT, "4")])
    kernels = [line.split(" | ") for line in text.read_text().splitlines() if line.startswith("| ")][2:]
    assert [(row[0].strip("| "), row[2], row[-2], row[-1].strip(" |")) for row in kernels] == [
        ("5.10.0-39", "lacks [1]", "–", "3"),
        ("6.18.15", EXACT, "–", "2"),
        ("6.18.16, full", EXACT, "1 of 2 (2) [2]", "4"),
        ("7.3.4", EXACT, "–", "1"),
    ]
    assert f"1. {lacks}\n2. failed: `a`\n" in text.read_text()


def test_what_was_found_is_kept(tmp_path: Path) -> None:
    found = page.Kept("6.1", "6.1.0-56", "2026-11-29", [Case("eval", "plain", "auto", EXACT)], page.Tests(1, 2, ["x"]))
    assert page.kept(tmp_path, "6.1") == page.Kept("6.1")
    page.keep(tmp_path, found)
    assert page.kept(tmp_path, "6.1") == found
    assert page.all_kept(tmp_path) == [found]


def test_failures_errors_and_skips_of_tests_are_told_apart() -> None:
    cases = "".join(
        f'<testcase classname="tests.integration.test_run" name="{name}">{inside}</testcase>'
        for name, inside in (("a", ""), ("b", "<failure/>"), ("c", "<error/>"), ("d", "<skipped/>"))
    )
    found = page.Tests.from_junit(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    assert found == page.Tests(1, 1, ["test_run::b", "test_run::c"])


_PATCHED = (
    "booted\n[  573.8] Oops: int3: 0000 [#1] PREEMPT SMP\n[  573.9] Kernel panic - not syncing: Fatal exception\n"
)
_OWN = "booted\n[  9.1] BUG: unable to handle page fault for address: 1d8f\n[  9.3] int3: 0000 [#2]\n"


def test_only_a_kernel_that_stopped_in_its_own_changing_code_is_started_again() -> None:
    assert emulated_badly(_PATCHED)
    assert not emulated_badly(_OWN)
    assert not emulated_badly("booted\nthe time was up\n")


def test_a_fault_of_a_kernel_is_shown_from_its_first_line() -> None:
    assert fault(_OWN).startswith("[  9.1] BUG:")
    assert fault("no fault, but no end") == "no fault, but no end"
