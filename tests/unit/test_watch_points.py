"""Where a function is watched, on code objects of made-up memory and of this very process."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Sequence
from types import CodeType
from typing import Any

import pytest

from latency.cpython.functions import LiveFunction
from latency.cpython.offsets import Offsets, load
from latency.cpython.sites import Place
from latency.cpython.sites.opcodes import caches, opcodes
from latency.cpython.watch_points import (
    COUNT_BYTES,
    WatchPlan,
    WatchPoints,
    are_alive,
    groups_of,
    has_ended,
    registers_needed,
    watch_points,
)
from latency.errors import UnsupportedBuild, UsageError
from latency.recording import Function
from latency.target.process import Process

CODE, UNITS, FRAME = 0x10000, 0x20000, 0x30000


class Memory(Process):
    """A process of a few words."""

    def __init__(self) -> None:
        self.bytes: dict[int, int] = {}

    def __del__(self) -> None:
        """Nothing is open."""

    def put(self, address: int, value: int, size: int = 8) -> None:
        self.bytes.update({address + place: byte for place, byte in enumerate(value.to_bytes(size, "little"))})

    def read_many(self, addresses: Sequence[int], size: int) -> list[bytes | None]:
        return [self.read_some(address, size) for address in addresses]

    def read_some(self, address: int, size: int) -> bytes:
        return bytes(self.bytes.get(address + place, 0) for place in range(size))


def live(address: int = CODE, kind: str = "function") -> LiveFunction:
    return LiveFunction(address, Function("f", "f.py", 1, kind), "")


def memory(offsets: Offsets, *, count: int = 3, first: int = 2) -> Memory:
    made = Memory()
    made.put(CODE + offsets["object.refcnt"], count)
    if "code.code_object" in offsets:
        made.put(CODE + offsets["code.code_object"], UNITS)
    else:
        made.put(CODE + offsets["code.first_traceable"], first, 4)
    return made


@pytest.mark.parametrize("minor", range(11, 16))
def test_from_3_11_the_entry_is_the_oparg_of_the_first_resume(minor: int) -> None:
    offsets = load((3, minor))
    points = watch_points(memory(offsets), offsets, live())
    assert points.units == CODE + offsets["code.code_adaptive"]
    assert points.entry == points.units + 2 * 2 + 1
    assert points.count == CODE


@pytest.mark.parametrize("minor", range(6, 11))
def test_to_3_10_the_entry_is_the_oparg_of_the_first_unit(minor: int) -> None:
    offsets = load((3, minor))
    points = watch_points(memory(offsets), offsets, live())
    assert points.units == UNITS + offsets["bytes.data"]
    assert points.entry == points.units + 1


@pytest.mark.parametrize("minor", range(6, 16))
def test_the_count_is_aligned_as_the_processor_demands(minor: int) -> None:
    offsets = load((3, minor))
    assert watch_points(memory(offsets), offsets, live()).count % COUNT_BYTES == 0


@pytest.mark.skipif(sys.implementation.name != "cpython" or sys.version_info < (3, 11), reason="reads its own code")
def test_the_entry_of_a_function_of_this_process_is_a_resume_unit() -> None:
    def function() -> int:
        return 1

    code: Any = function.__code__
    assert isinstance(code, CodeType)
    process = Process(os.getpid())
    points = watch_points(process, load(sys.version_info[:2]), live(id(code)))
    index = points.entry - 1 - points.units
    assert process.read(points.entry, 1) == code.co_code[index + 1 : index + 2] == b"\0"
    before = int.from_bytes(process.read(points.count, COUNT_BYTES), "little")
    more = [code] * 5
    assert int.from_bytes(process.read(points.count, COUNT_BYTES), "little") == before + len(more)
    gc.collect()


@pytest.mark.parametrize("kind", ["generator", "coroutine", "async_generator"])
def test_to_3_10_what_suspends_is_refused_by_its_name(kind: str) -> None:
    offsets = load((3, 10))
    with pytest.raises(UsageError, match=rf"f is a {kind.replace('_', ' ')}: up to CPython 3.10"):
        watch_points(memory(offsets), offsets, live(kind=kind))


def resume_cache(minor: int) -> int:
    return caches((3, minor)).get("RESUME", 0)  # 3.15: one unit


def suspending(minor: int, returns: int) -> tuple[Memory, Offsets]:
    """Memory with a generator that returns in so many places, behind RETURN_GENERATOR, POP_TOP, RESUME 0."""
    offsets, numbers = load((3, minor)), opcodes((3, minor))
    names = ["RETURN_GENERATOR", "POP_TOP", "RESUME", *["NOP"] * (1 - resume_cache(minor))]
    units = b"".join(bytes([numbers[name], 0]) for name in names)
    units += bytes(2 * resume_cache(minor)) + bytes([numbers["RETURN_VALUE"], 0]) * returns
    units += bytes([numbers["CALL_INTRINSIC_1"], 3, numbers["RERAISE"], 1]) if minor > 11 else b""
    made = memory(offsets)
    made.put(CODE + offsets["var.size"], len(units) // 2)
    made.put(CODE + offsets["code.code_adaptive"], int.from_bytes(units, "little"), len(units))
    made.put(CODE + offsets["code.exceptiontable"], UNITS)
    table = bytes([0x80 | 2, returns + 2, returns + 4, 1])
    made.put(UNITS + offsets["var.size"], len(table))
    made.put(UNITS + offsets["bytes.data"], int.from_bytes(table, "little"), len(table))
    made.put(CODE + offsets["code.nlocalsplus"], 5, 4)
    return made, offsets


@pytest.mark.parametrize("minor", range(11, 16))
def test_what_suspends_is_watched_by_its_units(minor: int) -> None:
    made, offsets = suspending(minor, 2)
    points = watch_points(made, offsets, live(kind="generator"))
    assert (points.entry, points.count) == (points.units + 2 * 2 + 1, 0)
    assert points.returns == (points.units + 2 * 4 + 1, points.units + 2 * 5 + 1)
    assert points.raises == (points.units + 2 * 6 + 1 if minor > 11 else 0)
    if minor > 11:  # behind five slots of local variables and the index of the unit that raised
        assert points.exception == offsets["frame.localsplus"] + 8 * (5 + 1)
    assert registers_needed([points]) == (4 if minor > 11 else 3)


@pytest.mark.parametrize("minor", range(11, 16))
def test_more_returns_than_registers_are_refused(minor: int) -> None:
    made, offsets = suspending(minor, 4)
    with pytest.raises(UsageError, match=r"f is a coroutine that returns in 4 places.*the processor has 4"):
        watch_points(made, offsets, live(kind="coroutine"))


@pytest.mark.parametrize("minor", range(11, 16))
def test_a_suspended_call_is_alive_only_if_all_of_its_memory_says_so(minor: int) -> None:
    made, offsets = suspending(minor, 1)
    points = watch_points(made, offsets, live(kind="generator"))
    generator = FRAME - offsets["gen.iframe"]
    words = {
        FRAME + offsets["frame.code"]: (CODE, 8),
        FRAME + offsets["frame.instr"]: (points.entry + 1, 8),
        FRAME + offsets["frame.owner"]: (offsets.constants["FRAME_OWNED_BY_GENERATOR"], 1),
        generator + offsets["gen.frame_state"]: (offsets.constants["FRAME_SUSPENDED"] & 0xFF, 1),
        generator + offsets["object.refcnt"]: (1, 4),
    }
    for address, (value, size) in words.items():
        made.put(address, value, size)
    assert are_alive(made, offsets, [(points, FRAME)]) == [True]
    for address, (value, size) in words.items():
        made.put(address, 0x77, size)
        if size == 4:
            made.put(address, 0, size)
        assert are_alive(made, offsets, [(points, FRAME)]) == [False]
        made.put(address, value, size)


@pytest.mark.parametrize(("minor", "count"), [(13, 0xFFFF_FFFF), (14, 0xC000_0000)])
def test_after_3_12_code_with_an_immortal_count_is_refused(minor: int, count: int) -> None:
    offsets = load((3, minor))
    with pytest.raises(UsageError, match="immortal"):
        watch_points(memory(offsets, count=count), offsets, live())


def test_in_3_12_code_with_an_immortal_count_is_watched_by_its_units() -> None:
    made, offsets = suspending(12, 2)
    made.put(CODE + offsets["object.refcnt"], 0xFFFF_FFFF)
    points = watch_points(made, offsets, live())
    assert (points.count, len(points.returns), points.raises, points.needs_probe) == (0, 2, 0, True)
    made, offsets = suspending(12, 4)
    made.put(CODE + offsets["object.refcnt"], 0xFFFF_FFFF)
    with pytest.raises(UsageError, match="returns in 4 places"):
        watch_points(made, offsets, live())


def test_before_3_12_no_count_is_immortal() -> None:
    offsets = load((3, 11))
    assert watch_points(memory(offsets, count=0xFFFF_FFFF), offsets, live()).count


def test_a_code_object_that_begins_nowhere_is_refused() -> None:
    offsets = load((3, 12))
    with pytest.raises(UnsupportedBuild, match="begins at unit"):
        watch_points(memory(offsets, first=1 << 31), offsets, live())


def test_functions_that_share_their_units_share_a_register() -> None:
    offsets = load((3, 9))
    made = memory(offsets)
    other = 0x50000
    made.put(other + offsets["code.code_object"], UNITS)
    points = [watch_points(made, offsets, live(address)) for address in (CODE, other)]
    assert registers_needed(points) == 3


def points(address: int, name: str, registers: int) -> WatchPoints:
    others = tuple(range(address + 100, address + 98 + registers))
    return WatchPoints(live(address)._replace(function=Function(name, "a.py", 1)), 0, address, address + 1, others)


def test_functions_that_fit_are_watched_together_and_the_widest_group_comes_first() -> None:
    sizes = {"d": 2, "c": 3, "b": 2, "a": 2, "e": 4}
    made = [points(1000 * number, name, size) for number, (name, size) in enumerate(sizes.items(), 1)]
    assert groups_of(made) == [[4], [3, 2], [1], [0]]
    assert [registers_needed(made[at] for at in group) for group in groups_of(made)] == [4, 4, 3, 2]


def test_the_code_objects_of_one_function_are_watched_together() -> None:
    made = [points(1000 * (number + 1), name, 2) for number, name in enumerate("abba")]
    assert groups_of(made) == [[0, 3], [1, 2]]


def plan(**more: Any) -> WatchPlan:
    return WatchPlan(engine="watch", sites=(), places={}, start_by="oparg", **more)


@pytest.mark.parametrize(
    ("minor", "member", "running", "ended"),
    [(6, "frame.executing", 1, 0), (9, "frame.executing", 1, 0), (10, "frame.state", 0, 1), (10, "frame.state", 0, 3)],
)
def test_to_3_10_a_frame_says_whether_it_runs(minor: int, member: str, running: int, ended: int) -> None:
    offsets = load((3, minor))
    made = Memory()
    made.put(FRAME + offsets["frame.code"], CODE)
    for state, expected in (running, False), (ended, True):
        made.put(FRAME + offsets[member], state, 1)
        assert has_ended(made, offsets, plan(), FRAME, CODE) is expected


def test_in_3_11_a_frame_that_stands_at_a_return_has_ended() -> None:
    offsets = load((3, 11))
    made = Memory()
    made.put(FRAME + offsets["frame.code"], CODE)
    made.put(FRAME + offsets["frame.instr"], UNITS)
    for opcode, expected in (1, False), (83, True):
        made.put(UNITS, opcode, 1)
        assert has_ended(made, offsets, plan(returns=(83,)), FRAME, CODE) is expected


def test_a_frame_that_is_anothers_by_now_has_ended() -> None:
    offsets = load((3, 11))
    made = Memory()
    made.put(FRAME + offsets["frame.code"], CODE + 8)
    assert has_ended(made, offsets, plan(), FRAME, CODE)


def test_from_3_12_every_end_is_seen() -> None:
    offsets = load((3, 12))
    assert not has_ended(Memory(), offsets, plan(leave=((1, 2),)), FRAME, CODE)


def test_a_plan_is_the_same_after_a_file() -> None:
    whole = plan(leave=((1, 2),), parts=((3, 4), (5, 6)), again=(7,), homes=((8, Place("rsp", (16,))),), returns=(9,))
    assert WatchPlan.from_json(json.loads(json.dumps(whole.to_json()))) == whole


@pytest.mark.parametrize(
    "homes", [[[1, {"register": "rsp", "path": []}]], [["1", {"register": "rsp", "path": [8]}]], [[1]], None]
)
def test_a_plan_whose_homes_are_none_is_not_read(homes: Any) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        WatchPlan.from_json({**json.loads(json.dumps(plan().to_json())), "homes": homes})
