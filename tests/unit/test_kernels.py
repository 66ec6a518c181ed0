"""The lab of kernels takes the kernel that was asked for, and its table hides nothing."""

from __future__ import annotations

import pytest

from tests.kernels.__main__ import asked, table
from tests.kernels.debian import newest
from tests.kernels.guest import EXACT, Case, Report

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


def test_a_mode_of_preemption_is_a_parameter_of_the_kernel() -> None:
    assert asked("6.18-full") == ("6.18", ["preempt=full"])
    assert asked("6.18") == ("6.18", [])


def test_what_a_kernel_refuses_stands_below_the_table_once() -> None:
    refused = "refused: the kernel refused the BPF program"
    reports = {
        "6.1": Report(
            "6.1.0-56-amd64", cases=[Case("eval", "plain", "perf", refused), Case("watch", "plain", "auto", refused)]
        ),
        "6.12": Report("6.12.107-amd64", cases=[Case("eval", "plain", "perf", EXACT)]),
    }
    lines = table(reports)
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
