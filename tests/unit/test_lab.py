"""How the lab finds and makes interpreters: without a network, and without starting one of them."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests import lab
from tests.lab import Interpreter, launcher, wheels
from tests.lab.wheels import MUSL, WHEELS, Wheel

OWN = Interpreter(".".join(map(str, sys.version_info[:3])), sys.executable, None, "own")


def executable(place: Path, name: str) -> Path:
    place.mkdir(parents=True)
    (place / name).touch()
    return place / name


def launched(*arguments: str, source: str = "") -> subprocess.CompletedProcess[str]:
    """The launcher in this interpreter, with these arguments of the program that it is made for."""
    text = "import sys, runpy; sys.argv[0] = 'python3'; runpy.run_path({!r})['run']('__main__python3')"
    command = [sys.executable, "-c", text.format(launcher.__file__), *arguments]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("place", "origin"),
    [
        (".local/share/uv/python/cpython-3.13.1-linux-x86_64-gnu/bin", "uv"),
        ("miniconda3/bin", "conda"),
        ("miniconda3/envs/science/bin", "conda"),
        ("google-cloud-sdk/platform/bundledpythonunix/bin", "google-cloud"),
    ],
)
def test_what_other_tools_brought_is_found_and_tried_only_where_all_are_asked_for(
    tmp_path: Path, place: str, origin: str
) -> None:
    path = executable(tmp_path / place, "python3.13")
    found = {it.path: it for it in lab.candidates({"HOME": str(tmp_path)})}
    assert (found[path].origin, found[path].in_every_run) == (origin, False)


def test_what_is_given_is_part_of_every_run(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "PYLAT_LAB_PYTHONS": f"/opt/python:{tmp_path}//usr/bin/python3.13"}
    given = [it for it in lab.candidates(environ) if it.origin == "given"]
    assert [(it.path, it.root) for it in given] == [
        (Path("/opt/python"), None),
        (tmp_path / "usr/bin/python3.13", tmp_path),
    ]
    assert all(it.in_every_run for it in given)


def test_what_was_made_is_found_and_two_wheels_are_part_of_every_run(tmp_path: Path) -> None:
    for wheel in WHEELS:
        path = wheel.executable(tmp_path)
        executable(path.parent, path.name)
    found = list(wheels.made(tmp_path))
    assert len(found) == len(WHEELS)
    assert {it.origin for it in found if it.in_every_run} == {"manylinux2014", "musllinux_1_2"}
    assert all((it.root == tmp_path / "musl") == (it.origin == MUSL) for it in found)


def test_no_two_wheels_become_one_folder_and_each_has_its_hash() -> None:
    assert len({it.name for it in WHEELS}) == len({it.sha256 for it in WHEELS}) == len(WHEELS)
    assert set(wheels.IN_EVERY_RUN) <= {it.name for it in WHEELS}
    assert all(len(bytes.fromhex(it.sha256)) == 32 for it in WHEELS)


def test_what_cannot_be_downloaded_is_left_out_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    wheel = Wheel("no-such-distribution", "1.0", sys.version_info[1], "manylinux2014", "0" * 64)
    wheels.make(tmp_path, [wheel], [OWN])
    (making, left_out) = capsys.readouterr().err.splitlines()
    assert making == f"lab: making an interpreter of {wheel.name}"
    assert left_out.startswith(
        f"lab: {wheel.name} is left out: pip cannot download it: ERROR: No matching distribution"
    )
    assert list(wheels.made(tmp_path)) == []


def test_a_wheel_whose_standard_library_nobody_has_is_left_out_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheels.make(tmp_path, [Wheel("cx-Freeze", "1.0", 5, "manylinux2014", "0" * 64)], [OWN])
    assert capsys.readouterr().err == (
        "lab: cx-Freeze-1.0-cp35-manylinux2014 is left out: no CPython 3.5 is here to take the standard library from\n"
    )


def test_what_a_wheel_holds_comes_to_where_its_program_looks(tmp_path: Path) -> None:
    names = {
        "freeze_core/bases/console-cpython-313-x86_64-linux-gnu": "app/python3.13",
        "freeze_core/lib/zlib.cpython-313-x86_64-linux-gnu.so": "app/lib/zlib.cpython-313-x86_64-linux-gnu.so",
        "freeze_core/initscripts/__startup__.py": "app/lib/__startup__.py",
        "freeze_core.libs/libffi-af4ed708.so.6.0.1": "freeze_core.libs/libffi-af4ed708.so.6.0.1",
        "freeze_core.libs/libtk8-b117a508.6.so": None,
        "freeze_core/initscripts/console.py": None,
        "freeze_core/lib/../../../outside.so": None,
        "freeze_core/util.c": None,
    }
    with zipfile.ZipFile(tmp_path / "it.whl", "w") as content:
        for name in names:
            content.writestr(name, name)
    wheel = Wheel("freeze-core", "0.8.1", 13, "manylinux2014", "")
    with zipfile.ZipFile(tmp_path / "it.whl") as content:
        made = wheels.unpacked(wheel, content, tmp_path / "made")
    files = {str(path.relative_to(made)): path.read_text() for path in made.rglob("*") if path.is_file()}
    assert {place: name for name, place in names.items() if place} == {
        place: name for place, name in files.items() if not place.startswith("lib/")
    }
    assert (made / "lib" / "libffi-af4ed708.so.6.0.1").exists()


def test_the_launcher_runs_a_script_with_its_arguments(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("word = 'beside'")
    script = tmp_path / "script.py"
    script.write_text("import sys, beside; print(__name__, __file__, beside.word, sys.argv)")
    done = launched("-B", "-X", "dev", str(script), "-c", "2")
    assert done.stdout == f"__main__ {script} beside {[str(script), '-c', '2']}\n"


def test_the_launcher_runs_text_and_modules_and_passes_the_status_on() -> None:
    assert launched("-E", "-S", "-c", "import sys; print(sys.argv)", "more").stdout == "['-c', 'more']\n"
    assert launched("-m", "json.tool", source='{"a": 1}').stdout == '{\n    "a": 1\n}\n'
    assert launched("-c", "raise SystemExit(5)").returncode == 5
    assert launched().stderr == "neither -c, -m nor a file\n"
