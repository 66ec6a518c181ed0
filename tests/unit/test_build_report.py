"""What ``pylat check --report`` writes of a build: enough to find the same again elsewhere, within its bounds."""

from __future__ import annotations

import base64
import json
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from latency.cpython import build_report as module
from latency.cpython.build_report import SCHEMA, build_report
from latency.cpython.offsets import load
from latency.cpython.sites.choose import plan_for
from latency.cpython.sites.opcodes import opcodes
from latency.cpython.survey import build_of_file
from latency.cpython.watch_sites import watch_plan
from latency.errors import UnsupportedBuild
from latency.target.build import Build
from latency.target.elf import Image
from tests.reported_build import ReportedImage
from tests.unit.elf_builder import ALLOC, CODE, WRITE, Elf, Section
from tests.unit.own_interpreter import own_interpreter

VERSION = (3, 13, 0)
HANDLER_BYTES, UNASSIGNED = 16, 0
HANDLERS = 256 * HANDLER_BYTES
RETURN_VALUE = opcodes((3, 13))["RETURN_VALUE"]
RET = b"\xc3"


def build(directory: Path, code: bytes, *, table: bool = True) -> Build:
    """A 3.13 made up: one handler of 16 bytes for each opcode, in a code of that many bytes, and no symbols."""
    data = Section(".data", bytes(256 * 8), flags=ALLOC | WRITE)
    elf = Elf([Section(".text", code.ljust(2 * HANDLERS, RET), flags=ALLOC | CODE), data])
    numbers = set(opcodes((3, 13)).values())
    targets = [elf[".text"].address + HANDLER_BYTES * (each if each in numbers else UNASSIGNED) for each in range(256)]
    if table:
        data.data = b"".join(each.to_bytes(8, "little") for each in targets)
    path = directory / "python3.13"
    path.write_bytes(elf.build())
    return Build(
        version=VERSION,
        version_text="3.13.0",
        file=str(path),
        build_id="",
        bias=0,
        image=Image.open(path),
        device_inode=("00:00", 0),
        flags=frozenset(),
        where="executable",
        executable=str(path),
        markers=(),
    )


def handler(code: bytes, number: int = RETURN_VALUE) -> bytes:
    """All code, with this handler at its place."""
    return (RET * HANDLER_BYTES * number) + code.ljust(HANDLER_BYTES, RET)


def read_back(report: dict[str, Any]) -> dict[str, Any]:
    """As it is in a file."""
    return json.loads(json.dumps(report))  # type: ignore[no-any-return]


def code_of(report: dict[str, Any]) -> dict[int, bytes]:
    """Address to bytes."""
    return {it["address"]: zlib.decompress(base64.b64decode(it["zlib"])) for it in report["code"]}


def test_what_is_found_in_a_build_is_found_in_its_report() -> None:
    own = build_of_file(own_interpreter())
    offsets = load(sys.version_info[:3])
    image = ReportedImage(read_back(build_report(own)))
    for engine, answer in build_report(own)["engines"].items():
        if "plan" in answer:
            if engine == "watch":
                plan = watch_plan(image, own.version, offsets)  # type: ignore[arg-type]
            else:
                plan = plan_for(image, own.version, offsets, image.markers, engine=engine)  # type: ignore[arg-type]
            assert plan.to_json() == answer["plan"]


def test_a_build_is_named_with_all_that_its_file_says() -> None:
    own = build_of_file(own_interpreter())
    report = read_back(build_report(own, refusal="because"))
    assert (report["schema"], report["refusal"]) == (SCHEMA, "because")
    assert (report["python"], report["build_id"]) == (own.version_text, own.build_id)
    assert sys.version.partition("[")[2].rstrip("]") in report["compilers"][0]
    assert report["file_bytes"] == own_interpreter().stat().st_size
    assert report["symbols"]["_PyRuntime"][1] > 0
    assert not report["left_out"]


def test_what_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    report = read_back(build_report(build(tmp_path, b"", table=False)))
    assert report["opcode_table"] is None
    assert set(report["symbols"].values()) == {None}
    assert report["engines"]["handlers"]["refused"].endswith("holds 0 tables of opcode handlers, not one")
    assert (report["code"], report["compilers"], report["debug_offsets"]) == ([], [], "")


def test_the_handlers_are_there_although_nothing_says_where_functions_end(tmp_path: Path) -> None:
    made = build(tmp_path, handler(b"\x90\x90"))
    report = read_back(build_report(made))
    table = report["opcode_table"]["handlers"]
    assert len(table) == 256
    reported = ReportedImage(report)
    assert all(reported.read(at, HANDLER_BYTES) == made.image.read(at, HANDLER_BYTES) for at in table)
    with pytest.raises(UnsupportedBuild, match="outside the unwinder's table"):
        plan_for(reported, VERSION, load(VERSION), (), engine="handlers")  # type: ignore[arg-type]


def test_what_a_handler_calls_is_there_too(tmp_path: Path) -> None:
    far = 2 * HANDLERS - HANDLER_BYTES
    call = b"\xe8" + (far - RETURN_VALUE * HANDLER_BYTES - 5).to_bytes(4, "little")
    code = handler(call).ljust(far, RET) + b"\x0f\x1f\x00" + RET
    made = build(tmp_path, code)
    called = [it for it in build_report(made)["code"] if it["of"] == "called by RETURN_VALUE"]
    begin = build_report(made)["opcode_table"]["handlers"][0]
    assert [it["address"] for it in called] == [begin + far]


def test_code_that_leads_nowhere_or_in_circles_ends_no_report(tmp_path: Path) -> None:
    for code in (b"\xeb\xfe", b"\xe9\xff\xff\xff\x7f", b"\xe8\x00\x00\x00\x80", b"\x06\x06\x06", b"\xff\x25\0\0\0\0"):
        report = build_report(build(tmp_path, handler(code)))
        assert report["opcode_table"] is not None


def test_code_beyond_the_bound_is_left_out_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CODE_BYTES", 600)
    report = read_back(build_report(build(tmp_path, b"")))
    assert sum(map(len, code_of(report).values())) == 512
    assert report["left_out"]
    assert all(of == "opcode handlers" and size == 256 for of, _, size in report["left_out"])


def test_an_unknown_version_has_a_report_without_plans(tmp_path: Path) -> None:
    made = build(tmp_path, b"")
    unknown = Build(**{**vars(made), "version": (3, 99, 0)})
    report = read_back(build_report(unknown))
    assert "3.99" in report["offsets"]["refused"]
    assert (report["engines"], report["opcode_table"]) == ({}, None)
