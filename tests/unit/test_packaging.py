"""What a wheel holds: the package with its data inside, and nothing beside it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("packaging")


def build(kind: str, project: Path, to: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(to)],
        cwd=project,
        check=True,
    )
    (artifact,) = to.iterdir()
    return artifact


@pytest.fixture(scope="module")
def wheel_names(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    wheel = build("wheel", repository, tmp_path_factory.mktemp("wheel"))
    return set(zipfile.ZipFile(wheel).namelist())


def test_nothing_but_the_package_lands_in_site_packages(wheel_names: set[str]) -> None:
    tops = {name.split("/")[0] for name in wheel_names if ".dist-info/" not in name}
    assert tops == {"latency"}


def test_the_bpf_sources_are_in_the_wheel(wheel_names: set[str], repository: Path) -> None:
    sources = {path.relative_to(repository).as_posix() for path in (repository / "bpf").rglob("*.[ch]")}
    assert {f"latency/_data/{name}" for name in sources} <= wheel_names


def test_the_offset_tables_are_in_the_wheel_and_their_generator_is_not(wheel_names: set[str], repository: Path) -> None:
    tables = {f"latency/_data/offsets/{path.name}" for path in (repository / "offsets").glob("*.json")}
    assert {name for name in wheel_names if name.startswith("latency/_data/offsets/")} == tables


def test_the_schema_of_recordings_is_in_the_wheel(wheel_names: set[str]) -> None:
    assert "latency/recording/schema.json" in wheel_names


def test_a_wheel_from_the_sdist_is_the_same(wheel_names: set[str], repository: Path, tmp_path: Path) -> None:
    sdist = build("sdist", repository, tmp_path / "sdist")
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "--extract", "--file", sdist, "--directory", tmp_path / "unpacked"], check=True)
    (project,) = (tmp_path / "unpacked").iterdir()
    wheel = build("wheel", project, tmp_path / "wheel")
    assert set(zipfile.ZipFile(wheel).namelist()) == wheel_names
