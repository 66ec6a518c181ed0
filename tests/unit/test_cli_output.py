"""A recording on its way out: the exit status, and the file that is asked for."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from latency.cli import main, output
from latency.errors import RecordingError
from latency.histogram import Histogram
from latency.recording import Function, FunctionLatency, Losses, Options, Recording, TargetInfo, dump

TARGET = TargetInfo((42,), "app", "3.11.2", "ab", "/usr/bin/python3", "handlers", "table 3.11", "6.18", "x86_64", 2)


def recording(calls: int, **changes: Any) -> Recording:
    wall = Histogram.from_values([1000] * calls)
    latency = FunctionLatency(Function("f", "f.py", 1), calls, 0, wall, open=changes.pop("open", 0))
    return Recording(TARGET, 1.0, (latency,), options=Options(("f",)), **changes)


def test_calls_are_a_success() -> None:
    assert output.exit_status(recording(1), max_loss_pct=0.1) == 0


def test_functions_that_were_not_watched_are_a_loss_however_many_calls_were_seen() -> None:
    assert output.exit_status(recording(100_000, losses=Losses(unwatched=1)), max_loss_pct=50.0) == 4


def test_no_call_is_nothing_measured() -> None:
    assert output.exit_status(recording(0), max_loss_pct=0.1) == 3


def test_a_call_that_still_runs_is_something() -> None:
    assert output.exit_status(recording(0, open=1), max_loss_pct=0.1) == 0


@pytest.mark.parametrize(("allowed_pct", "status"), [(0.1, 4), (1.0, 0)])
def test_more_loss_than_is_allowed_has_a_status_of_its_own(allowed_pct: float, status: int) -> None:
    lossy = recording(999, losses=Losses(too_deep=5))
    assert output.exit_status(lossy, max_loss_pct=allowed_pct) == status


def test_what_cannot_be_written_is_found_without_writing(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none" / "r.json"):
        with pytest.raises(RecordingError, match="cannot write"):
            output.require_writable(str(place))
    output.require_writable(str(tmp_path / "r.json"))
    assert list(tmp_path.iterdir()) == []


def test_only_a_recording_is_appended_to(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    output.require_writable(str(file), to_append=True)
    file.write_text("{}")
    output.require_writable(str(file))
    with pytest.raises(RecordingError):
        output.require_writable(str(file), to_append=True)


def test_a_file_is_replaced_or_appended_to(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    for appends, runs in ((False, 1), (False, 1), (True, 2)):
        output.save(recording(1), argparse.Namespace(output=str(file), append=appends))
        assert len(json.loads(file.read_text())["runs"]) == runs


def test_nothing_is_saved_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    output.save(recording(1), argparse.Namespace(output=None, append=False))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("calls", "status"), [(1, 0), (0, 3)])
def test_a_saved_recording_is_rendered_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], calls: int, status: int
) -> None:
    dump([recording(calls)], tmp_path / "r.json")
    assert main(["report", str(tmp_path / "r.json")]) == status
    assert "f.py:1" in capsys.readouterr().out


def test_json_is_the_same_recording_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dump([recording(1)], tmp_path / "r.json")
    assert main(["report", str(tmp_path / "r.json"), "-j"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "r.json").read_text())
