"""What the distributions hold: the package with its data inside, and nothing beside it; and that it runs from there."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from latency import __version__
from latency.recording import dumps
from latency.report.page import SCRIPTS, STYLE
from tests.installed import build, installed, unpacked
from tests.unit.comparing import run

pytestmark = pytest.mark.xdist_group("packaging")

HELPED = """
import os
from latency.tracing.kernel import apart

reading, writing = os.pipe()
apart.close([writing])
assert apart._helper is not None
assert os.read(reading, 1) == b""
assert apart._helper._process.poll() is None
"""


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", repository, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def wheel_names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def sdist_wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that was built from the sdist."""
    folder = tmp_path_factory.mktemp("sdist")
    project = unpacked(build("sdist", repository, folder / "sdist"), folder / "unpacked")
    return build("wheel", project, folder / "wheel")


@pytest.fixture(scope="module")
def commands(sdist_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(sdist_wheel, tmp_path_factory.mktemp("environment"))


def output(*command: object, cwd: Path) -> str:
    return subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=True).stdout


def test_nothing_but_the_package_lands_in_site_packages(wheel_names: set[str]) -> None:
    tops = {name.split("/")[0] for name in wheel_names if ".dist-info/" not in name and ".data/data/share/" not in name}
    assert tops == {"latency"}


def test_the_man_page_and_the_completions_are_in_the_wheel(wheel_names: set[str], repository: Path) -> None:
    files = {path.relative_to(repository).as_posix() for path in (repository / "share").rglob("*") if path.is_file()}
    assert files
    assert {name.partition(".data/data/")[2] for name in wheel_names if ".data/" in name} == files


def test_the_script_and_the_style_of_pages_are_in_the_wheel(wheel_names: set[str]) -> None:
    assert {f"latency/report/page/{name}" for name in (*SCRIPTS, STYLE)} <= wheel_names


def test_the_bpf_sources_are_in_the_wheel(wheel_names: set[str], repository: Path) -> None:
    sources = {path.relative_to(repository).as_posix() for path in (repository / "bpf").rglob("*.[ch]")}
    assert {f"latency/_data/{name}" for name in sources} <= wheel_names


def test_the_offset_tables_are_in_the_wheel_and_their_generator_is_not(wheel_names: set[str], repository: Path) -> None:
    tables = {f"latency/_data/offsets/{path.name}" for path in (repository / "offsets").glob("*.json")}
    assert {name for name in wheel_names if name.startswith("latency/_data/offsets/")} == tables


def test_the_schema_of_recordings_is_in_the_wheel(wheel_names: set[str]) -> None:
    assert "latency/recording/schema.json" in wheel_names


def test_a_wheel_from_the_sdist_is_the_same(wheel_names: set[str], sdist_wheel: Path) -> None:
    assert set(zipfile.ZipFile(sdist_wheel).namelist()) == wheel_names


def test_its_name_is_not_the_one_that_another_project_has(wheel: Path, sdist_wheel: Path) -> None:
    assert wheel.name == sdist_wheel.name == f"pylat_bpf-{__version__}-py3-none-any.whl"


def test_installed_it_is_the_installed_one_that_runs(commands: Path, tmp_path: Path) -> None:
    assert output(commands / "pylat", "--version", cwd=tmp_path) == f"pylat {__version__}\n"
    package = output(commands / "python", "-c", "import latency; print(latency.__file__)", cwd=tmp_path)
    assert Path(package).is_relative_to(commands.parent)


def test_installed_it_finds_its_offset_tables(commands: Path, repository: Path, tmp_path: Path) -> None:
    arguments = ("probes", Path(sys.executable).resolve())
    said = output(commands / "pylat", *arguments, cwd=tmp_path)
    assert "\nengine " in said
    assert said == output(sys.executable, "-m", "latency", *arguments, cwd=repository)


def test_installed_it_has_its_man_page_and_makes_pages(commands: Path, tmp_path: Path) -> None:
    assert (commands.parent / "share/man/man1/pylat.1").is_file()
    (tmp_path / "saved.json").write_text(dumps([run([])]))
    said = subprocess.run(
        [commands / "pylat", "report", "saved.json", "--format", "html"], cwd=tmp_path, capture_output=True, check=False
    )
    assert said.returncode == 3, said.stderr
    assert said.stdout.startswith(b"<!doctype html>")


def test_installed_it_has_its_helper(commands: Path, tmp_path: Path) -> None:
    output(commands / "python", "-c", HELPED, cwd=tmp_path)
