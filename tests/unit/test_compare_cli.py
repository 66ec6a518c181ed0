"""``pylat compare`` as a command: what it reads, prints, writes, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from latency.cli import main
from latency.recording import dump
from tests.unit.comparing import runs

Sides = tuple[str, str]


def sides(
    folder: Path, base: Mapping[str, float], head: Mapping[str, float], number: int = 10, *, wobble: float = 1.0
) -> Sides:
    """Two files: the runs of each side, with these medians in nanoseconds."""
    paths = folder / "base.json", folder / "head.json"
    dump(runs(base, number, wobble=wobble), paths[0])
    dump(runs(head, number, head=True, wobble=wobble), paths[1])
    return str(paths[0]), str(paths[1])


@pytest.fixture
def slower(tmp_path: Path) -> Sides:
    return sides(tmp_path, {"f": 1e6, "other": 1e6}, {"f": 1.1e6, "other": 1e6})


def test_text_is_the_default_and_a_regression_ends_with_1(slower: Sides, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *slower]) == 1
    said = capsys.readouterr()
    assert "1 slower, 1 same" in said.out
    assert max(map(len, said.out.splitlines())) <= 80
    assert said.err == ""


@pytest.mark.parametrize(
    ("gate", "status"), [("p50:3%", 1), ("p50:15%", 0), ("mean:1ms", 0), ("mean:10us", 1), ("other=p50:3%", 0)]
)
def test_a_gate_says_what_matters(slower: Sides, gate: str, status: int) -> None:
    assert main(["compare", *slower, "--fail", gate]) == status


def test_gates_can_be_repeated(slower: Sides) -> None:
    assert main(["compare", *slower, "--fail", "p50:15%", "--fail", "p90:3%"]) == 1


@pytest.mark.parametrize("gate", ["p50", "p50:3", "p50:0%", "p50:-3%", "p101:3%", "max:3%", "=p50:3%", "p50:3%%", ""])
def test_what_is_no_gate_is_refused_before_anything_is_printed(
    slower: Sides, gate: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *slower, "--fail", gate]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 2


def test_strict_ends_with_3_where_a_gate_is_not_decided(tmp_path: Path) -> None:
    undecided = sides(tmp_path, {"f": 1e6}, {"f": 1e6}, wobble=20)
    assert main(["compare", *undecided]) == 0
    assert main(["compare", *undecided, "--strict"]) == 3


def test_nothing_in_common_ends_with_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *sides(tmp_path, {"f": 1e6}, {"g": 1e6})]) == 3
    assert "no function was called on both sides" in capsys.readouterr().out


def test_json_is_one_document(slower: Sides, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *slower, "--format", "json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "pylat-compare/1"
    assert document["verdicts"]["slower"] == 1
    assert document["exit_status"]["default"] == 1


def test_benchmark_is_what_github_action_benchmark_reads(slower: Sides, capsys: pytest.CaptureFixture[str]) -> None:
    main(["compare", *slower, "--format", "benchmark"])
    document = json.loads(capsys.readouterr().out)
    assert {"name", "unit", "value"} <= set(document[0])


@pytest.mark.parametrize("form", ["markdown", "github"])
def test_markdown_is_a_table(slower: Sides, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["compare", *slower, "--format", form])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("|") and "---" in line for line in lines)


def test_the_picture_is_written_beside_the_text(slower: Sides, tmp_path: Path) -> None:
    assert main(["compare", *slower, "--html", str(tmp_path / "shift.html")]) == 1
    assert '"kind":"compare"' in (tmp_path / "shift.html").read_text(encoding="utf-8")


def test_a_picture_that_cannot_be_written_is_said(
    slower: Sides, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *slower, "--html", str(tmp_path / "none" / "shift.html")]) == 2
    assert "No such file or directory" in capsys.readouterr().err


def test_top_shows_those_that_need_it_most(slower: Sides, capsys: pytest.CaptureFixture[str]) -> None:
    main(["compare", *slower, "--top", "1"])
    shown = capsys.readouterr().out
    assert "… and 1 more" in shown
    assert "f  /srv" in shown


def test_a_file_that_is_no_recording_is_refused(
    slower: Sides, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text('{"schema": "pylat/1", "runs": [{"id": 1}]}')
    for pair in ((slower[0], str(broken)), (str(broken), slower[1]), (slower[0], str(tmp_path / "none.json"))):
        assert main(["compare", *pair]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("pylat: ")
