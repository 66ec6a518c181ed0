"""Genuine builds that pylat refuses: in these words, by every engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from latency.cpython.build_report import SCHEMA
from latency.cpython.interpreter import Target
from latency.cpython.offsets import load
from latency.cpython.sites.choose import plan_for
from latency.errors import UnsupportedBuild
from tests import lab
from tests.lab import Interpreter
from tests.pylat_command import pylat
from tests.reported_build import ReportedImage
from tests.target_program import TargetProgram

Start = Callable[..., TargetProgram]


@pytest.mark.parametrize("engine", ["auto", "watch"])
def test_a_build_that_cannot_be_followed_is_refused_in_these_words(
    refused: Interpreter, engine: str, start_target: Start
) -> None:
    target = start_target(refused, "recursion.py")
    with pytest.raises(UnsupportedBuild) as raised:
        Target(target.pid, engine=engine)
    assert str(raised.value).endswith(lab.REFUSED[refused.id])
    assert raised.value.hint


def test_a_report_on_a_refused_build_is_enough_to_refuse_it_elsewhere(
    refused: Interpreter, start_target: Start, tmp_path: Path
) -> None:
    target = start_target(refused, "recursion.py")
    checked = pylat("check", "-p", target.pid, "--report", tmp_path / "report.json")
    assert checked.status == 2
    assert f"ok  report      {tmp_path / 'report.json'}, " in checked.out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["schema"] == SCHEMA
    assert report["python"] == refused.version
    assert report["refusal"].endswith(lab.REFUSED[refused.id])
    image = ReportedImage(report)
    with pytest.raises(UnsupportedBuild) as raised:
        plan_for(image, image.version, load(image.version), image.markers)  # type: ignore[arg-type]
    assert str(raised.value) == report["refusal"]


def test_a_build_that_is_measured_has_a_report_too(
    own_interpreter: Interpreter, start_target: Start, tmp_path: Path
) -> None:
    target = start_target(own_interpreter, "recursion.py")
    assert pylat("check", "-p", target.pid, "--report", tmp_path / "report.json").status == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["refusal"] == ""
    assert any("plan" in answer for answer in report["engines"].values())


def test_a_report_that_cannot_be_written_is_said(own_interpreter: Interpreter, start_target: Start) -> None:
    target = start_target(own_interpreter, "recursion.py")
    checked = pylat("check", "-p", target.pid, "--report", "/nowhere/report.json")
    assert checked.status == 2
    assert "NO  report      cannot write /nowhere/report.json: No such file or directory" in checked.out


def test_a_report_is_on_the_build_of_a_process() -> None:
    refused = pylat("check", "--report", "report.json")
    assert refused.status == 2
    assert "give -p PID, too" in refused.err
