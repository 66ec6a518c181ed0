"""Captured bytes stand for the memory as it was; all others are asked of the memory as it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from latency.cpython.values import Captured


class Bytes:
    """A memory of some bytes from an address on."""

    def __init__(self, start: int, data: bytes) -> None:
        self.start = start
        self.data = data

    def read_some(self, address: int, size: int) -> bytes:
        at = address - self.start
        return self.data[at : at + size] if 0 <= at < len(self.data) else b""


def test_captured_bytes_are_taken_before_those_of_now() -> None:
    memory = Captured({104: b"CAPT"}, Bytes(100, b"nownownownow"))
    assert memory.read_some(100, 12) == b"nownCAPTwnow"
    assert memory.read_some(106, 4) == b"PTwn"


def test_ranges_that_touch_are_read_as_one() -> None:
    assert Captured({8: b"ab", 10: b"cd"}).read_some(8, 8) == b"abcd"


def test_what_was_not_captured_is_unreadable_without_a_memory_beneath() -> None:
    memory = Captured({8: b"ab", 16: b"cd"})
    assert memory.read_some(8, 16) == b"ab"
    assert memory.read_some(12, 2) == b""


def test_nothing_is_read_beyond_a_hole() -> None:
    assert Captured({110: b"late"}, Bytes(100, b"early")).read_some(100, 20) == b"early"


@given(st.dictionaries(st.integers(0, 60), st.binary(min_size=1, max_size=4)), st.integers(0, 60), st.integers(0, 20))
def test_every_byte_is_the_captured_one_or_the_one_beneath(ranges: dict[int, bytes], start: int, size: int) -> None:
    apart: dict[int, bytes] = {}
    truth = bytearray(range(100, 180))
    for address in sorted(ranges):
        if all(address >= other + len(data) for other, data in apart.items()):
            apart[address] = ranges[address]
            truth[address : address + len(ranges[address])] = ranges[address]
    memory = Captured(apart, Bytes(0, bytes(range(100, 180))))
    assert memory.read_some(start, size) == truth[start : start + size]
