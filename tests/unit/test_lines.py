"""The line of an instruction, in the three forms of table that CPython has had."""

from __future__ import annotations

import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.cpython.lines import line_of
from latency.cpython.offsets import Offsets, load

LNOTAB, DELTAS, LOCATIONS = load((3, 9)), load((3, 10)), load((3, 12))
CODE = 0x7F00_0000_1000


def code_of(source: str) -> types.CodeType:
    return compile(source, "made.py", "exec")


SOURCES = [
    "x = 1\n\n\ny = (\n 2 +\n x)\n",
    "\n" * 500 + "def f():\n  pass\nf()\n",
    "for i in range(3):\n  try:\n    1 / i\n  except ZeroDivisionError:\n    pass\n  finally:\n    print(\n  i\n )\n",
    "with open('/dev/null') as a, open('/dev/null') as b:\n  pass\n",
    "x = [\n" + ",\n".join(str(number) for number in range(400)) + "\n]\n",
]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="this interpreter has another table")
@pytest.mark.parametrize("source", SOURCES)
def test_each_instruction_has_the_line_that_this_cpython_says(source: str) -> None:
    offsets = load(sys.version_info[:2])
    code = code_of(source)
    first = CODE + offsets["code.code_adaptive"]
    for start, end, line in code.co_lines():
        for at in range(start, end, 2):
            found = line_of(
                code.co_linetable, offsets, code=CODE, first_line=code.co_firstlineno, instruction=first + at
            )
            assert found == (line or None)  # a module begins with an instruction of line 0


def test_a_line_table_is_followed_past_its_gaps() -> None:
    # Objects/lnotab_notes.txt of 3.10: 0 to 6 line 10, then 44 bytes without a line, then line 12
    table = bytes([6, 0, 44, 0x80, 2, 2])

    def line(lasti: int) -> int | None:
        return line_of(table, DELTAS, code=CODE, first_line=10, instruction=lasti)

    assert [line(at) for at in (0, 2, 3, 24, 25, 26)] == [10, 10, None, None, 12, None]


def test_a_line_number_table_of_3_9_goes_back_too() -> None:
    # co_lnotab: from byte 2 line 15, from byte 4 line 13 (-2), from byte 304 line 14 (the step does not fit one byte)
    table = bytes([2, 5, 2, 0xFE, 255, 0, 45, 1])

    def line(lasti: int) -> int | None:
        return line_of(table, LNOTAB, code=CODE, first_line=10, instruction=lasti)

    assert [line(at) for at in (0, 2, 4, 303, 304, 900)] == [10, 15, 13, 13, 14, 14]


def test_before_the_first_instruction_the_line_is_the_first() -> None:
    assert line_of(b"\2\5", LNOTAB, code=CODE, first_line=10, instruction=(1 << 32) - 1) == 10


def test_beyond_the_part_of_a_table_that_is_there_no_line_is_guessed() -> None:
    whole = bytes([2, 5, 2, 1])
    assert line_of(whole[:2], LNOTAB, code=CODE, first_line=10, instruction=0, whole=False) == 10
    assert line_of(whole[:2], LNOTAB, code=CODE, first_line=10, instruction=8, whole=False) is None
    assert line_of(b"", LOCATIONS, code=CODE, first_line=1, instruction=CODE + LOCATIONS["code.code_adaptive"]) is None


@pytest.mark.parametrize("offsets", [LNOTAB, DELTAS, LOCATIONS], ids=["3.9", "3.10", "3.12"])
@given(table=st.binary(max_size=200), at=st.integers(0, (1 << 64) - 1))
def test_any_table_ends(offsets: Offsets, table: bytes, at: int) -> None:
    found = line_of(table, offsets, code=CODE, first_line=1, instruction=at)
    assert found is None or 0 < found < 1 << 31
