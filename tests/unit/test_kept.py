"""Functions in whose slots nothing has changed are not read again, and what is read is the same as if they were."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np

from latency.recording import Function
from latency.tracing.counted import wire
from latency.tracing.counted.divided import Splits
from latency.tracing.counted.extremes import Extremes
from latency.tracing.counted.kept import Kept
from latency.tracing.counted.reading import Counted, Reading
from latency.tracing.counted.retired import Retired

SLOTS, FUNCTIONS, SPACES = 64, 5, 4


class Program:
    """Statistics that a program fills, and the names of the slots."""

    def __init__(self) -> None:
        self.statistics = np.zeros(SLOTS, wire.STATISTICS)
        self.names: dict[int, tuple[Function | None, bool]] = {}
        self.table: Any = SimpleNamespace(retired=Retired(), function_of=lambda slot, *_, dead: self.names[slot])
        self.maps: Any = SimpleNamespace(
            extremes=Extremes(),
            splits=Splits(),
            tells_more=False,
            used_slots=lambda: np.flatnonzero(self.statistics["code"]),
            heads=self._heads,
            rows=self._rows,
            counters=dict,
        )
        self.read: list[int] = []
        self.kept: Kept[Counted] = Kept()

    def _heads(self, slots: Any) -> Any:
        names = list(wire.HEAD.names or ())
        found = np.zeros(len(slots), wire.HEAD)
        for name in names:
            found[name] = self.statistics[name][slots]
        return found

    def _rows(self, slots: Any) -> Any:
        self.read += slots.tolist()
        return self.statistics[slots]

    def take(self, slot: int, number: int, space: int = 1, flags: int = 0, *, wanted: bool = True) -> None:
        row = self.statistics[slot]
        row["code"], row["space"], row["flags"] = 1000 + number, space, flags
        # in each process there is an object of its own of a function
        self.names[slot] = (Function(f"f{number}", "app.py", number) if number < FUNCTIONS else None), wanted

    def call(self, slot: int, bucket: int, ns: int, how: str = "returned") -> None:
        row = self.statistics[slot]
        row["counts"][bucket] += 1
        row["sum_ns"] += ns
        row["min_ns"] = min(int(row["min_ns"]) or ns, ns)
        row["max_ns"] = max(int(row["max_ns"]), ns)
        row[how] += 1

    def give_back(self, slot: int) -> None:
        function, wanted = self.names.pop(slot)
        if wanted:
            self.table.retired.add(function, self.statistics[slot].copy(), self.maps.splits.of(slot))
        self.statistics[slot] = np.zeros((), wire.STATISTICS)

    def reading(self) -> Reading:
        self.read.clear()
        return Reading.take(self.maps, self.table, 1, self.kept)

    def anew(self) -> Reading:
        return Reading.take(self.maps, self.table, 1)


def same(one: Reading, other: Reading) -> bool:
    return (one.functions, one.unnamed, one.spaces) == (other.functions, other.unnamed, other.spaces)


def test_only_functions_of_which_a_slot_has_changed_are_read_again() -> None:
    program = Program()
    for slot in range(20):
        program.take(slot, slot % FUNCTIONS, 1 + slot // FUNCTIONS)
        program.call(slot, 100, 50)
    assert sorted(_read(program)) == list(range(20))
    assert _read(program) == []
    program.call(7, 101, 60)
    assert _read(program) == [2, 7, 12, 17]
    assert program.reading().functions[Function("f2", "app.py", 2)].wall.count == 5


def test_while_no_slot_is_in_use_nothing_is_read() -> None:
    program = Program()
    for _ in range(2):
        assert _read(program) == []
    program.take(0, 0)
    program.call(0, 100, 50)
    assert _read(program) == [0]
    program.give_back(0)
    assert _read(program) == []
    assert program.reading().functions[Function("f0", "app.py", 0)].wall.count == 1


def _read(program: Program) -> list[int]:
    found = program.reading()
    read = list(program.read)
    assert same(found, program.anew())
    return read


def test_a_call_that_is_in_its_bucket_and_not_in_the_sum_yet_is_read_once_it_is() -> None:
    program = Program()
    program.take(0, 0)
    program.reading()
    row = program.statistics[0]
    row["counts"][100] += 1
    program.reading()
    row["sum_ns"] += 50
    program.reading()
    for name in ("min_ns", "max_ns"):
        row[name] = 50
        program.reading()
    row["returned"] += 1
    assert same(program.reading(), program.anew())


def test_what_is_read_is_the_same_as_if_all_was_read_whatever_happens() -> None:
    chance = random.Random(7)
    program = Program()
    for _ in range(600):
        for _ in range(chance.choice((0, 0, 1, 3))):
            slot = chance.randrange(SLOTS)
            if slot not in program.names:
                flags = chance.choice((0, 0, 0, wire.ACTIVE))
                number, space = chance.randrange(FUNCTIONS + 1), chance.randrange(1, 1 + SPACES)
                program.take(slot, number, space, flags, wanted=chance.random() < 0.9)
            elif chance.random() < 0.1:
                program.give_back(slot)
            elif chance.random() < 0.1:
                program.statistics[slot]["cut"] += 1
            else:
                how = chance.choice(("returned", "raised"))
                program.call(slot, chance.randrange(50, 60), chance.randrange(1, 10**6), how)
        assert same(program.reading(), program.anew())
    assert program.table.retired.rows


def test_where_more_is_told_of_a_call_all_is_read() -> None:
    program = Program()
    program.take(0, 0)
    program.maps.tells_more = True
    for _ in range(3):
        assert _read(program) == [0]
