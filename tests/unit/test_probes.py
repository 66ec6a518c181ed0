"""``pylat probes`` of a file: what it shows of the interpreter that runs the tests, and of what is none."""

from __future__ import annotations

import json
import re
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from latency.cache import Cache
from latency.cli import main
from latency.cli.arguments import parse
from latency.cpython.survey import Spot, Survey, survey_file
from latency.errors import NotCPython, UnsupportedBuild
from tests.unit.elf_builder import DYNAMIC, STRTAB, Elf, Section, symbol_table
from tests.unit.own_interpreter import own_interpreter

NOP5 = bytes.fromhex("0f1f440000")


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    return survey_file(own_interpreter(), cache=Cache(tmp_path_factory.mktemp("kept") / "cache"))


def test_every_engine_has_its_sites_or_a_reason(survey: Survey) -> None:
    assert survey.engine in survey.plans
    assert {*survey.plans, *survey.refused} == {"usdt", "eval", "handlers"}
    for plan, sites in survey.plans.values():
        assert [site for site, _ in sites] == list(plan.sites)
        assert all(place.address == site.address and place.offset == site.offset for site, place in sites)
        assert all(place.instruction == site.instruction for site, place in sites)


def test_the_code_of_a_place_is_what_the_file_has_there(survey: Survey) -> None:
    data = Path(survey.build.file).read_bytes()
    places = [place for _, sites in survey.plans.values() for _, place in sites]
    for place in [*places, *(place for _, place, _ in survey.markers)]:
        assert place.code
        assert data[place.offset : place.offset + len(place.code)] == place.code
        assert place.memory is None
        assert place.state == ""


def test_the_command_shows_as_json_what_was_found(survey: Survey, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probes", survey.build.file, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["build_id"] == survey.build.build_id
    assert shown["pid"] is None
    assert len(shown["markers"]) == len(survey.build.markers)
    assert shown["engines"].keys() == survey.plans.keys()
    sites = shown["engines"][shown["engine"]]
    assert [site["address"] for site in sites] == [site.address for site in survey.plans[survey.engine][0].sites]
    assert any(site["role"] == "entry" and site["registers"]["frame"] for site in sites)


def test_the_command_shows_a_person_each_site_and_why_an_engine_is_not_offered(
    survey: Survey, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probes", survey.build.file]) == 0
    shown = capsys.readouterr().out
    assert survey.build.version_text in shown
    assert f"engine {survey.engine}: " in shown
    for site in survey.plans[survey.engine][0].sites:
        assert f"{site.address:#x}, file {site.offset:#x}" in shown
    for engine in survey.refused:
        assert f"engine {engine}: refused: " in shown
    assert max(map(len, shown.splitlines())) <= 120


def test_a_build_that_cannot_be_measured_is_shown_with_the_reason(tmp_path: Path) -> None:
    # as a version of the future: the version is a number in the file
    file = Path(shutil.copy(own_interpreter(), tmp_path / "python"))
    build = survey_file(file, cache=Cache(tmp_path / "cache")).build
    symbol = build.image.symbol("Py_Version")
    if symbol is None:
        pytest.skip("this version has no Py_Version")
    with file.open("r+b") as stream:
        stream.seek(build.image.offset_of(symbol.address))
        stream.write((0x036300F0).to_bytes(4, "little"))
    survey = survey_file(file, cache=Cache(tmp_path / "cache"))
    assert (survey.plans, survey.engine) == ({}, "")
    assert "3.99" in survey.refused["any"]
    assert len(survey.markers) == len(build.markers)


def test_a_file_without_cpython_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(Elf([Section(".rodata", bytes(64))]).build())
    with pytest.raises(NotCPython, match="holds no CPython"):
        survey_file(tmp_path / "image")


def needing(path: Path, *entries: tuple[int, str]) -> Path:
    """An executable of these entries of its dynamic section: 1 needs a library, 15 and 29 say where."""
    strings, numbers = b"\0", []
    for tag, text in entries:
        numbers += [tag, len(strings)]
        strings += text.encode() + b"\0"
    dynamic = struct.pack(f"<{len(numbers) + 2}Q", *numbers, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    sections = [Section(".dynamic", dynamic, DYNAMIC, link=".dynstr"), Section(".dynstr", strings, STRTAB)]
    path.write_bytes(Elf(sections).build())
    return path


def libpython(path: Path) -> Path:
    """A file that holds a CPython, as far as anybody asks; its version is in no place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(Elf(symbol_table([("PyCode_Type", 0x1000, 8, "object")])).build())
    return path


NAME = "libpython3.99.so.1.0"


@pytest.mark.parametrize(
    ("entries", "place"),
    [
        ([(1, "libc.so.6"), (1, NAME), (29, "$ORIGIN/../beside")], "beside"),
        ([(1, NAME), (15, "/nowhere:${ORIGIN}/../beside")], "beside"),
        ([(1, NAME), (15, "$ORIGIN/../no"), (29, "$ORIGIN/../beside")], "beside"),
        ([(1, NAME)], "lib"),
        ([(1, NAME), (29, "/nowhere")], "lib64"),
    ],
    ids=["RUNPATH", "RPATH", "both", "the prefix", "lib64"],
)
def test_an_executable_is_looked_at_in_the_libpython_that_it_needs(
    tmp_path: Path, entries: list[tuple[int, str]], place: str
) -> None:
    library = libpython(tmp_path / place / NAME)
    with pytest.raises(UnsupportedBuild, match=re.escape(NAME)):  # which shows that it was opened
        survey_file(needing(tmp_path / "bin" / "python3", *entries))
    library.unlink()
    with pytest.raises(NotCPython, match="python3 holds no CPython"):
        survey_file(tmp_path / "bin" / "python3")


@pytest.mark.parametrize(
    "entries",
    [
        [(1, "libc.so.6"), (29, "$ORIGIN")],
        [(1, f"../bin/{NAME}"), (29, "$ORIGIN")],
        [(1, NAME), (29, "bin")],
        [(1, NAME), (29, "")],
    ],
    ids=["no libpython", "a path", "a folder that depends on where one is", "no folder"],
)
def test_no_other_library_is_taken_for_it(tmp_path: Path, entries: list[tuple[int, str]]) -> None:
    libpython(tmp_path / "bin" / NAME)
    libpython(tmp_path / "bin" / "libc.so.6")
    with pytest.raises(NotCPython, match="holds no CPython"):
        survey_file(needing(tmp_path / "bin" / "python3", *entries))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (tmp_path / "none", tmp_path):
        assert main(["probes", str(path)]) == 2
        assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["/usr/bin/python3", "-p", "42"], ["-p", "0"]])
def test_either_a_path_or_a_process_is_shown(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["probes", *words])


@pytest.mark.parametrize(
    ("code", "memory", "state"),
    [
        (b"\x90", None, ""),
        (b"\x90", b"\x90", "as in the file"),
        (b"\x90", b"\xcc", "int3"),
        (b"\x41\x55", b"\xcc\x55", "int3"),
        (b"\x41\x55", b"\xcc\x00", "changed"),
        (b"\x41\x55", b"\x90\x90", "changed"),
        (NOP5, b"\xe8\x01\x02\x03\x04", "call"),
        (b"\xe8\x01\x02\x03\x04", b"\xe8\x01\x02\x03\x05", "changed"),
    ],
)
def test_a_probe_is_told_from_other_changes_of_memory(code: bytes, memory: bytes | None, state: str) -> None:
    place = Spot(address=1, offset=1, symbol="", instruction="nop", emulated=True, code=code, memory=None)
    assert replace(place, memory=memory).state == state
