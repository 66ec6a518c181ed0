"""Where a pointer lies at a site, and that a place of every kind can be made up for the calibration."""

from __future__ import annotations

import ctypes
import mmap
import re
from typing import Any

import pytest

from latency.cpython.sites import Place
from latency.tracing.counted.parameters import PT_REGS, place_flags
from latency.tracing.counted.probed_loop import loop
from latency.tracing.probes.calibration import laid_out

POINTER = 0x1234_5678_9ABC

# Each loads what a place says into rax, which the loop leaves there if it does not count in it.
READS = {
    Place("rbx"): "4889d8",  # mov rax, rbx
    Place("rsp", (0x10,)): "488b442410",  # mov rax, [rsp + 0x10]
    Place("rsp", (0x4008,)): "488b842408400000",  # mov rax, [rsp + 0x4008]: too far, and not laid out
    Place("rbp", (-0x128,)): "488b85d8feffff",  # mov rax, [rbp - 0x128]
    Place("rsp", (0x30, -0x128)): "488b442430 488b80d8feffff",  # mov rax, [rsp + 0x30]; mov rax, [rax - 0x128]
}


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Place("rbx"), "rbx"),
        (Place("rsp", (8,)), "[rsp+0x8]"),
        (Place("rsp", (0x30, -0x128)), "[[rsp+0x30]-0x128]"),
    ],
)
def test_a_place_is_shown_as_it_is_read(place: Place, text: str) -> None:
    assert str(place) == text
    assert Place.from_json({"register": place.register, "path": list(place.path)}) == place


@pytest.mark.parametrize(
    "value",
    [
        {"register": "rip", "path": []},
        {"register": "rsp", "path": [8, 8, 8]},
        {"register": "rsp", "path": ["8"]},
        {"register": "rsp"},
        3,
    ],
)
def test_what_is_no_place_is_not_read_from_a_file(value: Any) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        Place.from_json(value)


def test_the_program_is_told_how_to_read_a_place() -> None:
    assert place_flags("entry.frame", Place("rbx")) == {
        "ENTRY_FRAME": PT_REGS["rbx"],
        "ENTRY_FRAME_LOADS": 0,
        "ENTRY_FRAME_AT": 0,
        "ENTRY_FRAME_BESIDE": 0,
    }
    assert place_flags("value", Place("rsp", (0x30, -8))) == {
        "VALUE": 152,
        "VALUE_LOADS": 2,
        "VALUE_AT": 0x30,
        "VALUE_BESIDE": -8,
    }


def read_by(code: bytes) -> int:
    """What rax is behind this machine code."""
    with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as memory:
        memory.write(code)
        window = ctypes.c_char.from_buffer(memory)
        answer = int(ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(window))())
        del window
    return answer


@pytest.mark.parametrize("place", READS, ids=str)
def test_a_calibration_has_every_kind_of_place(place: Place) -> None:
    values, stack, kept = laid_out(
        {"entry.frame": place, "exit.frame": Place("rsi")}, {"entry.frame": POINTER, "exit.frame": 0}
    )
    assert "rsp" not in values
    near = all(abs(offset) < 1 << 14 for offset in place.path)
    # rax is spoken for, so that the loop counts in another register
    code, _, _ = loop({"rax": 0, **values}, bytes.fromhex(READS[place]) if near else b"\x90", b"\x90", stack)
    assert read_by(code) == (POINTER if near else 0)
    del kept


def test_two_places_beside_one_register_are_both_there() -> None:
    places = {"entry.frame": Place("rbp", (-0x20,)), "exit.tstate": Place("rbp", (-0x40,))}
    values, stack, kept = laid_out(places, {"entry.frame": POINTER, "exit.tstate": 7})
    code, _, _ = loop({"rax": 0, **values}, bytes.fromhex("488b45e0"), bytes.fromhex("480345c0"), stack)
    assert read_by(code) == POINTER + 7
    assert len(kept) == 1


def test_a_place_whose_register_another_place_is_is_left_out() -> None:
    values, stack, _ = laid_out(
        {"entry.frame": Place("rbp", (-0x20,)), "exit.frame": Place("rbp")}, {"entry.frame": 1, "exit.frame": 2}
    )
    assert (values, stack) == ({"rbp": 2}, {})


def test_a_loop_gives_the_stack_back() -> None:
    code, entry, _ = loop({}, b"\x90", b"\x90", {0: 1, 0x18: 2})
    room = {int.from_bytes(size, "little") for size in re.findall(rb"\x48\x81[\xec\xc4](....)", code, re.DOTALL)}
    assert len(room) == 1
    assert room.pop() % 16 == 0
    assert code[entry] == 0x90
