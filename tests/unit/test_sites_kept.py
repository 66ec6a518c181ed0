"""Site plans from the cache: of the very same file only, and the same as those that are found."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latency.cache import Cache
from latency.cpython.offsets import load
from latency.cpython.sites import Role, SitePlan
from latency.cpython.sites.kept import kept_or_found
from latency.cpython.survey import build_of_file
from latency.target.build import Build
from tests.unit.own_interpreter import own_interpreter


@pytest.fixture(scope="module")
def original() -> Path:
    return own_interpreter()


@pytest.fixture
def file(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(original, tmp_path / "python"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def plan_of(build: Build, folder: Path, engine: str = "auto") -> SitePlan:
    return kept_or_found(build, load(build.version), engine=engine, cache=Cache(folder))


def kept(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


def change(file: Path, **members: Any) -> None:
    """Changes members of a kept plan, so that it can be told from one that is found."""
    content = json.loads(file.read_text())
    content["value"].update(members)
    file.write_text(json.dumps(content))


def test_a_plan_is_the_same_after_a_file(file: Path, folder: Path) -> None:
    plan = plan_of(build_of_file(file), folder)
    assert SitePlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert plan_of(build_of_file(file), folder) == plan
    assert all(type(site.role) is Role for site in plan.sites)


def test_a_kept_plan_is_not_found_again(file: Path, folder: Path) -> None:
    plan_of(build_of_file(file), folder)
    change(*kept(folder), notes=["from the cache"])
    assert plan_of(build_of_file(file), folder).notes == ("from the cache",)


def test_another_file_with_the_same_build_id_has_a_plan_of_its_own(file: Path, folder: Path, tmp_path: Path) -> None:
    plan = plan_of(build_of_file(file), folder)
    change(*kept(folder), notes=["planted"])
    other = Path(shutil.copy2(file, tmp_path / "other"))
    assert build_of_file(other).build_id == build_of_file(file).build_id
    assert plan_of(build_of_file(other), folder) == plan


def test_a_file_that_was_written_to_is_searched_again(file: Path, folder: Path) -> None:
    plan = plan_of(build_of_file(file), folder)
    change(*kept(folder), notes=["of before"])
    times = file.stat()
    with file.open("r+b") as stream:
        stream.write(b"\x7f")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # which does not turn back the change time
    assert plan_of(build_of_file(file), folder) == plan


def test_a_build_without_a_build_id_is_not_kept(file: Path, folder: Path) -> None:
    plan_of(replace(build_of_file(file), build_id=""), folder)
    assert kept(folder) == []


@pytest.mark.parametrize(
    "members",
    [
        {"sites": None},
        {"sites": [{}]},
        {"sites": [{"role": "entry"}]},
        {"places": 3},
        {"notes": None},
        {"sites": "entry"},
        {"places": {"exit.tstate": {"register": "rsp", "path": ["8"]}}},
        {"places": {"exit.tstate": {"register": "rip", "path": []}}},
        {"resume_opcodes": ["RESUME"]},
    ],
)
def test_a_broken_plan_is_found_again_and_kept(file: Path, folder: Path, members: dict[str, Any]) -> None:
    plan = plan_of(build_of_file(file), folder)
    change(*kept(folder), **members)
    assert plan_of(build_of_file(file), folder) == plan
    assert json.loads(kept(folder)[0].read_text())["value"]["sites"][0]["role"]
