"""What ``pylat check --report`` writes of a build, refused or not, is enough to look at it elsewhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from latency.cpython.offsets import load
from latency.cpython.sites.choose import plan_for
from latency.cpython.sites.opcodes import find_table, opcodes
from latency.errors import UnsupportedBuild
from latency.target.elf import Image
from tests.lab import Interpreter
from tests.pylat_command import pylat
from tests.reported_build import ReportedImage
from tests.target_program import TargetProgram

Start = Callable[..., TargetProgram]


def test_a_report_says_what_was_missing(own_interpreter: Interpreter, start_target: Start, tmp_path: Path) -> None:
    copy = tmp_path / Path(own_interpreter.path).name
    shutil.copy(own_interpreter.path, copy)
    with Image.open(copy) as image:
        if image.is_pie:
            pytest.skip("the machine's own interpreter is position-independent: its table is in its relocations")
        table, handlers = find_table(image, opcodes(own_interpreter.minor))
        unassigned = max(set(range(256)) - set(opcodes(own_interpreter.minor).values()))
        place = image.offset_of(table) + 8 * unassigned
    with copy.open("r+b") as file:  # never run, and so it runs as before; but the table is no longer known by it
        file.seek(place)
        file.write(handlers[opcodes(own_interpreter.minor)["NOP"]].to_bytes(8, "little"))
    target = start_target(replace(own_interpreter, path=str(copy)), "recursion.py")
    assert pylat("check", "-p", target.pid, "--report", tmp_path / "report.json").status == 2
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["refusal"] == f"{copy} holds 0 tables of opcode handlers, not one"
    assert report["opcode_table"] is None
    assert report["symbols"]["_PyEval_EvalFrameDefault"][0] in [it["address"] for it in report["code"]]
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
