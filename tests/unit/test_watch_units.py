"""The units of a code object: decoded as CPython does, and refused where they cannot be told apart."""

from __future__ import annotations

import dis
import os
import sys
from collections.abc import Iterator
from types import CodeType
from typing import Any

import pytest

from latency.cpython.offsets import load
from latency.cpython.sites.opcodes import caches, opcodes
from latency.cpython.watch_units import Handler, Units, decode, parse_exception_table, read_units
from latency.errors import UnsupportedBuild
from latency.target.process import Process

VERSIONS = tuple((3, minor) for minor in range(11, 16))
own = pytest.mark.skipif(
    sys.implementation.name != "cpython" or sys.version_info < (3, 11), reason="reads its own code"
)


def units(version: tuple[int, int], *names: str) -> bytes:
    """Code of these instructions, caches included, with the oparg 7 each."""
    numbers, cached = opcodes(version), caches(version)
    return b"".join(bytes([numbers[name], 7]) + bytes(2 * cached.get(name, 0)) for name in names)


@pytest.mark.parametrize("version", VERSIONS)
def test_caches_are_no_instructions(version: tuple[int, int]) -> None:
    numbers, cached = opcodes(version), caches(version)
    data = units(version, "LOAD_GLOBAL", "BINARY_OP", "RETURN_VALUE")
    data = data[:2] + bytes([numbers["RETURN_VALUE"], 1]) + data[4:]  # what a cache holds can look like one
    found = list(decode(data, numbers, cached))
    assert [unit.name for unit in found] == ["LOAD_GLOBAL", "BINARY_OP", "RETURN_VALUE"]
    assert 2 * found[-1].place == len(data) - 2


@pytest.mark.parametrize("version", VERSIONS)
def test_a_specialised_or_instrumented_opcode_has_the_cache_of_the_plain_one(version: tuple[int, int]) -> None:
    cached = caches(version)
    assert cached["LOAD_GLOBAL_MODULE"] == cached["LOAD_GLOBAL"]
    assert cached["BINARY_OP_ADD_INT"] == cached["BINARY_OP"]
    if version >= (3, 12):
        assert cached["INSTRUMENTED_CALL"] == cached["CALL"]


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_an_opcode_that_hides_another_is_refused(version: tuple[int, int]) -> None:
    with pytest.raises(UnsupportedBuild, match="tracer, debugger or coverage tool"):
        list(decode(units(version, "INSTRUMENTED_LINE"), opcodes(version), caches(version)))


def test_an_unknown_opcode_is_refused() -> None:
    with pytest.raises(UnsupportedBuild, match="unknown opcode 254"):
        list(decode(b"\xfe\0", {"NOP": 9}, {}))


def test_the_exception_table_of_the_notes() -> None:
    """The example of Objects/exception_handling_notes.txt: 20 to 28 -> 100, depth 3, no lasti."""
    assert list(parse_exception_table(bytes([148, 8, 65, 36, 6]))) == [Handler(20, 28, 100, 3, lasti=False)]


def test_an_exception_table_that_ends_early_gives_what_is_whole() -> None:
    assert list(parse_exception_table(bytes([148, 8, 65, 36, 6, 148, 8]))) == [Handler(20, 28, 100, 3, lasti=False)]


def generator(number: int) -> Iterator[int]:
    try:
        yield number
        if number:
            return
        print(number)
    finally:
        yield 2


@own
def test_the_units_of_a_generator_of_this_process() -> None:
    code: Any = generator.__code__
    assert isinstance(code, CodeType)
    known = list(dis.get_instructions(code))
    found = read_units(Process(os.getpid()), load(sys.version_info[:2]), id(code))
    assert isinstance(found, Units)
    assert 2 * found.entry == next(it.offset for it in known if it.opname == "RESUME" and it.arg == 0)
    assert [2 * at for at in found.returns] == [it.offset for it in known if it.opname.startswith("RETURN_")][1:]
    assert found.yields == sum(it.opname == "YIELD_VALUE" for it in known)
    assert (found.raises is not None) == (sys.version_info >= (3, 12))
    assert 2 * found.number == len(code.co_code)


@own
def test_the_exception_table_of_this_process_is_read_as_dis_reads_it() -> None:
    code: Any = generator.__code__
    known = [
        (it.start // 2, it.end // 2, it.target // 2, it.depth, it.lasti) for it in dis._parse_exception_table(code)
    ]  # type: ignore[attr-defined]
    assert [tuple(handler) for handler in parse_exception_table(code.co_exceptiontable)] == known
