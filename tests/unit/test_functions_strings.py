"""Strings are read out of memory: here, those of the tests' own process."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.cpython.offsets import Offsets, load
from latency.cpython.strings import CUT, LIMIT, decode, read_string, read_strings
from latency.target.process import Process

OFFSETS = load(sys.version_info[:2])
# PyASCIIObject.state: interned:2, kind:3, compact:1, ascii:1
COMPACT = 1 << 5


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    with Process(os.getpid()) as own:
        yield own


def memory_of(text: str, size: int | None = None) -> bytes:
    return ctypes.string_at(id(text), sys.getsizeof(text) if size is None else size)


def made_up(length: int, kind: int, data: bytes, offsets: Offsets = OFFSETS) -> bytes:
    """A compact string that is not ASCII."""
    head = bytearray(offsets["unicode.compact_data"])
    struct.pack_into("<q", head, offsets["unicode.length"], length)
    head[offsets["unicode.state"]] = kind << 2 | COMPACT
    return bytes(head) + data


class Text(str):
    """Its characters lie outside the object."""


TEXTS = [
    "",
    "handle_request",
    "Größe",
    "处理请求",
    "handle\N{SNAKE}",
    "\ud83d\ude00",  # two characters, which UTF-16 would make one of
    "\udcff in a file name",
    "\x1b[2J\x00\n",
    "x" * LIMIT,
]


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_a_string_is_read_character_by_character(process: Process, text: str) -> None:
    assert read_string(process, id(text), OFFSETS) == text


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_a_string_is_decoded_from_its_memory(text: str) -> None:
    assert decode(memory_of(text), OFFSETS) == text


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_an_instance_of_a_subclass_is_read_too(process: Process, text: str) -> None:
    instance = Text(text)
    assert read_string(process, id(instance), OFFSETS) == text
    assert decode(memory_of(instance), OFFSETS) is None


@pytest.mark.parametrize("char", ["a", "ö", "处", "\N{SNAKE}"])
def test_a_long_string_is_cut_and_says_so(process: Process, char: str) -> None:
    text = char * (LIMIT + 1)
    assert read_string(process, id(text), OFFSETS) == text[:LIMIT] + CUT
    assert read_string(process, id(text), OFFSETS, limit=3) == text[:3] + CUT


def test_a_string_that_was_captured_in_part_is_cut_and_says_so() -> None:
    text = "处" * 100
    assert decode(memory_of(text, OFFSETS["unicode.compact_data"] + 21), OFFSETS) == text[:10] + CUT


def test_memory_beyond_the_string_is_not_part_of_it() -> None:
    assert decode(memory_of("get") + b"garbage", OFFSETS) == "get"


@pytest.mark.parametrize("value", [b"bytes", ("tuple",), 1 << 200, None, str, [1]], ids=repr)
def test_what_is_no_string_is_none(process: Process, value: object) -> None:
    assert read_string(process, id(value), OFFSETS) is None


@pytest.mark.parametrize("address", [0, 1, 4096, 1 << 47, (1 << 64) - 8])
def test_what_cannot_be_read_is_none(process: Process, address: int) -> None:
    assert read_string(process, address, OFFSETS) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        made_up(-1, 1, b""),
        made_up(1 << 60, 1, b"name"),
        made_up(4, 0, b"name"),
        made_up(4, 3, b"name" * 3),
        made_up(1, 4, b"\x00\x00\x11\x00"),
        made_up(1, 4, b"\xff\xff\xff\xff"),
    ],
    ids=["nothing", "negative", "endless", "not ready", "three bytes each", "no character", "no character at all"],
)
def test_what_cannot_be_a_string_is_none(raw: bytes) -> None:
    assert decode(raw, OFFSETS) is None


@pytest.mark.parametrize("version", [(3, minor) for minor in range(6, 16)], ids=str)
def test_every_version_has_what_a_string_needs(version: tuple[int, int]) -> None:
    offsets = load(version)
    assert decode(made_up(2, 2, "处理".encode("utf-16-le"), offsets), offsets) == "处理"


@given(st.binary(max_size=200))
def test_any_memory_decodes_to_text_or_none(raw: bytes) -> None:
    assert decode(raw, OFFSETS) is None or len(decode(raw, OFFSETS) or "") <= len(raw)


def test_strings_are_read_in_a_batch_by_address(process: Process) -> None:
    texts = [f"name_{number}" * (number % 50) for number in range(3000)]
    wanted = {id(text): text for text in texts}
    assert read_strings(process, [*wanted, *wanted, id(None), 0], OFFSETS) == wanted


def test_in_free_threaded_builds_from_3_14_on_interned_is_a_byte_of_its_own() -> None:
    member = OFFSETS.structs["PyASCIIObject"]["state"]
    structs = {**OFFSETS.structs, "PyASCIIObject": {**OFFSETS.structs["PyASCIIObject"], "state.interned": member}}
    offsets = replace(OFFSETS, structs=structs)
    raw = bytearray(made_up(2, 2, "处理".encode("utf-16-le"), offsets))
    raw[offsets["unicode.state"] : offsets["unicode.state"] + 2] = bytes([3, (2 << 2 | COMPACT) >> 2])
    assert decode(bytes(raw), offsets) == "处理"
    assert decode(bytes(raw), OFFSETS) is None
