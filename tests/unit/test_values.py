"""Objects are described from memory that may hold anything: here, that of the tests' own process, changed as wanted."""

from __future__ import annotations

import ctypes
import os
import re
import struct
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latency.cpython.offsets import load
from latency.cpython.values import CUT, Captured, Limits, Reader
from latency.errors import TargetGone
from latency.target.build import Build
from latency.target.process import Process

OFFSETS = load(sys.version_info[:2])
WILD = [1 << 63, (1 << 63) - 1, (1 << 64) - 1, 1 << 62, 1 << 41]


class User:
    def __init__(self, **attributes: object) -> None:
        self.__dict__.update(attributes)


class Slotted:
    __slots__ = ("value",)


class Endless:
    """Memory without an end, all of one byte, but for what was captured."""

    def __init__(self, byte: int) -> None:
        self.byte = byte
        self.read_bytes = 0

    def read_some(self, address: int, size: int) -> bytes:
        self.read_bytes += size
        return bytes([self.byte]) * size


def changed(process: Process, it: object, **words: int) -> Captured:
    """The process's memory with other words in one object: ``type__flags=1`` for the meaning ``type.flags``."""
    raw = bytearray(ctypes.string_at(id(it), 64))
    for meaning, word in words.items():
        struct.pack_into("<Q", raw, OFFSETS[meaning.replace("__", ".")], word % (1 << 64))
    return Captured({id(it): bytes(raw)}, process)


def is_unreadable(text: str, it: object) -> bool:
    return text == f"<unreadable at {id(it):#x}>"


@pytest.mark.parametrize("length", WILD)
@pytest.mark.parametrize("it", [b"bytes", bytearray(b"x"), (1, 2), [1, 2]], ids=lambda it: type(it).__name__)
def test_a_wild_length_is_unreadable(process: Process, reader: Reader, it: object, length: int) -> None:
    memory = changed(process, it, var__size=length)
    assert is_unreadable(reader.describe(id(it), memory=memory), it)


@pytest.mark.parametrize("length", [1 << 63, (1 << 63) - 1, 1 << 62, 1 << 44])
def test_a_wild_length_of_a_number_is_unreadable(process: Process, reader: Reader, length: int) -> None:
    it = 10**50
    memory = changed(process, it, **{"long__tag" if "long.tag" in OFFSETS else "var__size": length})
    assert is_unreadable(reader.describe(id(it), memory=memory), it)


@pytest.mark.parametrize("length", WILD)
def test_a_wild_length_of_a_text_is_unreadable(process: Process, reader: Reader, length: int) -> None:
    for it in ("text", "größe", "处"):
        memory = changed(process, it, unicode__length=length)
        assert is_unreadable(reader.describe(id(it), memory=memory), it)


@pytest.mark.parametrize("it", ["text", "größe", "处理", b"bytes"])
def test_a_length_that_does_not_end_at_the_text_s_end_is_unreadable(
    process: Process, reader: Reader, it: str | bytes
) -> None:
    meaning = "unicode__length" if isinstance(it, str) else "var__size"
    memory = changed(process, it, **{meaning: len(it) - 1})
    assert is_unreadable(reader.describe(id(it), memory=memory), it)


@pytest.mark.parametrize("used", [*WILD, 3])
@pytest.mark.parametrize(
    "it", [{1: 2}, {"a": 1}, {1, 2}, frozenset("ab")], ids=["dict", "str-dict", "set", "frozenset"]
)
def test_a_container_that_holds_less_than_it_says_is_unreadable(
    process: Process, reader: Reader, it: object, used: int
) -> None:
    memory = changed(process, it, **{f"{'dict' if isinstance(it, dict) else 'set'}__used": used})
    assert is_unreadable(reader.describe(id(it), memory=memory), it)


def test_an_object_that_was_freed_is_unreadable(process: Process, reader: Reader) -> None:
    it = 0.5
    # dead, or the first word of a free block: a pointer to the next one
    for count in (0, 0x7F00_DEAD_BEE0):
        assert is_unreadable(reader.describe(id(it), memory=changed(process, it, object__refcnt=count)), it)


@pytest.mark.parametrize(
    "type_", [0, 8, id(1.5), id("no type"), (1 << 64) - 8], ids=["null", "low", "float", "str", "high"]
)
def test_an_object_of_no_type_is_unreadable(process: Process, reader: Reader, type_: int) -> None:
    it = User()
    assert is_unreadable(reader.describe(id(it), memory=changed(process, it, object__type=type_)), it)


@pytest.mark.parametrize("base", [id(User), 0, 8], ids=["itself", "null", "low"])
def test_a_type_whose_bases_do_not_lead_to_object_is_unreadable(process: Process, reader: Reader, base: int) -> None:
    size = OFFSETS["type.sizeof"]
    raw = bytearray(ctypes.string_at(id(User), size))
    struct.pack_into("<Q", raw, OFFSETS["type.base"], base)
    it = User()
    assert is_unreadable(reader.describe(id(it), memory=Captured({id(User): bytes(raw)}, process)), it)


@pytest.mark.parametrize(
    "address",
    [0, 1, 8, id(None) + 1, 1 << 47, (1 << 64) - 8, 1 << 70],
    ids=["null", "1", "8", "odd", "kernel", "last", "beyond"],
)
def test_an_address_at_which_there_is_nothing_is_unreadable(reader: Reader, address: int) -> None:
    assert reader.describe(address) == f"<unreadable at {address:#x}>"


def test_a_part_that_is_unreadable_does_not_hide_the_others(process: Process, reader: Reader) -> None:
    gone = 0.25
    text = reader.describe(id(it := [1, gone, "x"]), memory=changed(process, gone, object__refcnt=0))
    assert text == f"[1, <unreadable at {id(gone):#x}>, 'x']"
    assert it


def test_what_lies_too_deep_is_cut(reader: Reader) -> None:
    it: list[Any] = []
    for _ in range(10_000):
        it = [it]
    assert reader.describe(id(it), limits=Limits(depth=3)) == "[[[[…]]]]"
    assert reader.describe(id(it), limits=Limits(depth=10**9, time_s=60)).count("[") == 101


def test_items_beyond_the_bound_are_cut(reader: Reader) -> None:
    limits = Limits(items=2)
    user = User(a=1, b=2, c=3)
    for it, text in (([1, 2], "[1, 2]"), ((1, 2, 3), "(1, 2, …)"), ({1: 1, 2: 2, 3: 3}, "{1: 1, 2: 2, …}")):
        assert reader.describe(id(it), limits=limits) == text
    assert reader.describe(id(user), limits=limits).endswith(" a=1 b=2 …>")


def test_a_long_text_or_number_is_cut(reader: Reader) -> None:
    limits = Limits(characters=10)
    number = int("1" * 21)
    assert reader.describe(id(text := "x" * 11), limits=limits) == "'xxxxxxxxxx'…"
    assert reader.describe(id(text := "x" * 10), limits=limits) == repr(text)
    assert reader.describe(id(data := bytearray(b"x" * 11)), limits=limits) == "bytearray(b'xxxxxxxxxx'…)"
    assert reader.describe(id(number), limits=Limits(characters=20)) == "1" * 20 + CUT
    assert data


@given(st.integers(min_value=1 << 400), st.integers(min_value=1, max_value=80))
@settings(max_examples=200)
def test_the_first_digits_of_a_huge_number_are_its_hexadecimal_ones(
    reader: Reader, number: int, characters: int
) -> None:
    text = reader.describe(id(number), limits=Limits(characters=characters))
    assert text == f"{number:#x}"[:characters] + CUT


def test_a_number_that_str_refuses_is_described(reader: Reader) -> None:
    number = 10**50_000 + 7
    assert reader.describe(id(number), limits=Limits(characters=60_000, total=60_000)) == f"1{'0' * 49_999}7"


def test_the_whole_text_is_cut(reader: Reader) -> None:
    it = ["x" * 50] * 20
    text = reader.describe(id(it), limits=Limits(total=120))
    assert text == repr(it)[:120] + CUT


@pytest.mark.parametrize("byte", [0, 1, 0x7F, 0xFF])
def test_memory_without_an_end_is_read_within_the_bounds(
    process: Process, build: Build, reader: Reader, byte: int
) -> None:
    keys = bytearray(OFFSETS["keys.indices"])
    for meaning, number in {"keys.size": 1 << 38, "keys.log2_size": 38, "keys.nentries": 1 << 38}.items():
        if meaning in OFFSETS:
            keys[OFFSETS[meaning] : OFFSETS[meaning] + OFFSETS.size(meaning)] = number.to_bytes(
                OFFSETS.size(meaning), "little"
            )
    it = {1: 2}
    head = bytearray(ctypes.string_at(id(it), OFFSETS["dict.sizeof"]))
    struct.pack_into("<Q", head, OFFSETS["dict.keys"], 1 << 40)
    endless = Endless(byte)
    memory = Captured({id(it): bytes(head), 1 << 40: bytes(keys)}, endless)
    text = reader.describe(id(it), limits=Limits(reads=1000, time_s=60), memory=memory)
    assert "unreadable" in text or CUT in text
    assert endless.read_bytes < 10 << 20


def test_a_description_ends_when_its_time_is_over(process: Process, build: Build) -> None:
    now_s = 0.0

    def clock() -> float:
        nonlocal now_s
        now_s += 0.001
        return now_s

    reader = Reader(process, build, OFFSETS, limits=Limits(items=10**6, total=10**9, reads=10**9), clock=clock)
    it = [float(number) for number in range(100_000)]
    text = reader.describe(id(it))
    assert text.startswith("[0.0, 1.0, ")
    assert text.endswith(", …]")
    assert len(text) < 1000


def test_names_are_described_without_control_characters(reader: Reader) -> None:
    it = type("a\x1b[2J", (), {"__module__": "m\n"})()
    setattr(it, "k\x07", "v\x1b")
    text = reader.describe(id(it))
    assert re.fullmatch(r"<m\\n\.a\\x1b\[2J at 0x[0-9a-f]+ k\\x07='v\\x1b'>", text)


def test_an_attribute_that_is_not_set_is_left_out(reader: Reader) -> None:
    assert re.fullmatch(r"<\S+\.Slotted at 0x[0-9a-f]+>", reader.describe(id(it := Slotted())))
    assert it


def test_a_process_that_is_gone_is_an_error(build: Build, reader: Reader) -> None:
    class Gone:
        def read_some(self, address: int, size: int) -> bytes:
            raise TargetGone("process 1 ended")

    with pytest.raises(TargetGone):
        reader.describe(id(object), memory=Gone())


@given(st.data())
@settings(max_examples=300)
def test_random_memory_is_described_within_the_bounds(process: Process, reader: Reader, data: st.DataObject) -> None:
    objects = [User(a=1, b=[2]), {1: "a"}, {"a": (1, 2.5)}, {1, "x"}, "处理", 10**40, ValueError("x"), User, len, os]
    it = data.draw(st.sampled_from(objects))
    raw = bytearray(ctypes.string_at(id(it), 96))
    for at in data.draw(st.lists(st.integers(0, 11), max_size=3)):
        raw[8 * at : 8 * at + 8] = data.draw(st.binary(min_size=8, max_size=8))
    limits = Limits(time_s=60)
    text = reader.describe(id(it), limits=limits, memory=Captured({id(it): bytes(raw)}, process))
    assert len(text) <= limits.total + 1
    assert text.isprintable()
