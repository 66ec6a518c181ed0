"""``Build``: the version and the flags of a CPython, from its file alone."""

from __future__ import annotations

import os
import platform
import struct
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from latency.errors import NotCPython, UnsupportedBuild
from latency.target.build import identify, python_version
from latency.target.elf import Image
from latency.target.process import Process
from tests.unit import elf_builder
from tests.unit.elf_builder import ALLOC, CODE, DYN, EXEC, Elf, Section

Make = Callable[[Elf], Image]


@pytest.fixture
def image(tmp_path: Path) -> Make:
    def make(elf: Elf) -> Image:
        path = tmp_path / "image"
        path.write_bytes(elf.build())
        return Image.open(path)

    return make


def lea(at: int, target: int) -> bytes:
    """``lea rcx, [rip + …]`` at an address."""
    return b"\x48\x8d\x0d" + struct.pack("<i", target - at - 7)


def mov(target: int) -> bytes:
    """``mov ecx, imm32``."""
    return b"\xb9" + struct.pack("<I", target)


def before_311(rodata: bytes, operands: list[int], *, kind: int = DYN) -> Elf:
    """An image whose ``Py_GetVersion`` refers to places in ``.rodata``."""
    elf = Elf(
        [
            Section(".text", bytes(64), flags=ALLOC | CODE),
            Section(".rodata", rodata + bytes(64)),
            *elf_builder.symbol_table([("Py_GetVersion", 0, 0, "func")]),
        ],
        kind=kind,
        base=0x400000 if kind == EXEC else 0,
    )
    start = elf[".text"].address
    code = b"\x53\xbe\xfa\x00\x00\x00"
    for operand in operands:
        target = elf[".rodata"].address + operand
        code += mov(target) if kind == EXEC else lea(start + len(code), target)
    code += b"\x5b\xc3"
    elf[".text"].data = code.ljust(64, b"\xcc")
    elf[".dynsym"].data = elf_builder.symbol_table([("Py_GetVersion", start, len(code), "func")])[0].data
    return elf


def since_311(number: int) -> Elf:
    """An image whose ``Py_Version`` holds a number."""
    elf = Elf(
        [
            Section(".text", bytes(16), flags=ALLOC | CODE),
            Section(".rodata", struct.pack("<Q", number)),
            *elf_builder.symbol_table([("Py_Version", 0, 8, "object")]),
        ]
    )
    elf[".dynsym"].data = elf_builder.symbol_table([("Py_Version", elf[".rodata"].address, 8, "object")])[0].data
    return elf


@pytest.mark.parametrize(
    ("number", "version", "text"),
    [
        (0x030B02F0, (3, 11, 2), "3.11.2"),
        (0x030F00C1, (3, 15, 0), "3.15.0rc1"),
        (0x030E00A7, (3, 14, 0), "3.14.0a7"),
        (0x030D00B2, (3, 13, 0), "3.13.0b2"),
        (0x030A0DF0, (3, 10, 13), "3.10.13"),
    ],
)
def test_the_version_number_is_read_as_cpython_writes_it(
    image: Make, number: int, version: tuple[int, int, int], text: str
) -> None:
    assert python_version(image(since_311(number))) == (version, text)


@pytest.mark.parametrize("number", [0, 0x030B0200, 0xFFFFFFFFFFFFFFFF])
def test_a_number_that_is_no_version_is_refused(image: Make, number: int) -> None:
    with pytest.raises(UnsupportedBuild):
        python_version(image(since_311(number)))


@pytest.mark.parametrize("kind", [DYN, EXEC])
def test_the_version_text_is_the_one_that_the_interpreter_formats(image: Make, kind: int) -> None:
    # another version stands in the same section: that of the unicode database, say
    rodata = b"3.2.0\x00%.80s (%.80s) %.80s\x003.9.2\x00"
    assert python_version(image(before_311(rodata, [6, rodata.index(b"3.9.2")], kind=kind))) == ((3, 9, 2), "3.9.2")


def test_a_version_text_that_is_the_tail_of_another_string_is_found(image: Make) -> None:
    rodata = b"/opt/versions/3.6.15\x00"
    assert python_version(image(before_311(rodata, [14]))) == ((3, 6, 15), "3.6.15")


@pytest.mark.parametrize("text", ["3.8.0b4", "3.10.0rc2+", "3.9.18+"])
def test_a_version_text_may_have_a_suffix(image: Make, text: str) -> None:
    version, found = python_version(image(before_311(text.encode() + b"\0", [0])))
    assert found == text
    assert version == tuple(int(part) for part in text.split("b")[0].split("rc")[0].rstrip("+").split("."))


@pytest.mark.parametrize("rodata", [b"3.9\x00", b"3.9.2.1\x00", b"13.9.2", b"(3.9.2)\x00", b"3.9.2 \x00"])
def test_what_only_resembles_a_version_proves_none(image: Make, rodata: bytes) -> None:
    elf = before_311(rodata, [0])
    elf[".rodata"].data = rodata + b"\xff" * 64
    with pytest.raises(UnsupportedBuild, match="found: none"):
        python_version(image(elf))


def test_two_version_texts_are_named_and_refused(image: Make) -> None:
    with pytest.raises(UnsupportedBuild, match=r"3\.8\.1, 3\.9\.2"):
        python_version(image(before_311(b"3.9.2\x003.8.1\x00", [0, 6])))


def test_an_operand_that_is_no_address_is_passed_over(image: Make) -> None:
    assert python_version(image(before_311(b"3.9.2\x00", [0, 1 << 20])))[1] == "3.9.2"


def test_a_file_without_either_symbol_proves_no_version(image: Make) -> None:
    with pytest.raises(UnsupportedBuild):
        python_version(image(Elf([Section(".text", bytes(16), flags=ALLOC | CODE)])))


def test_the_tests_own_interpreter_is_identified() -> None:
    build = identify(Process(os.getpid()))
    assert build.version_text == platform.python_version()
    assert build.version == sys.version_info[:3]
    assert build.implementation == "cpython"
    assert ("debug" in build.flags) == hasattr(sys, "gettotalrefcount")
    assert os.fstat(build.fd).st_ino == build.device_inode[1]


def test_an_address_is_that_of_the_live_object() -> None:
    assert identify(Process(os.getpid())).address("PyCode_Type") == id(types.CodeType)


def test_a_symbol_that_the_build_lacks_is_named() -> None:
    with pytest.raises(UnsupportedBuild, match="no_such_symbol"):
        identify(Process(os.getpid())).address("no_such_symbol")


def test_a_process_that_is_no_python_is_named() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"ready\n")
        process.stdin.flush()
        process.stdout.readline()
        with pytest.raises(NotCPython, match=rf"PID {process.pid} \(cat\) is not a CPython process"):
            identify(Process(process.pid))
        process.kill()


@pytest.mark.parametrize(("name", "implementation"), [("pypy3.10", "PyPy"), ("micropython", "MicroPython")])
def test_another_python_is_named(tmp_path: Path, name: str, implementation: str) -> None:
    other = tmp_path / name
    other.write_bytes(Path("/bin/cat").read_bytes())
    other.chmod(0o755)
    with subprocess.Popen([other], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"ready\n")
        process.stdin.flush()
        process.stdout.readline()
        with pytest.raises(NotCPython, match=implementation):
            identify(Process(process.pid))
        process.kill()
