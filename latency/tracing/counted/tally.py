"""The columns of ``Totals``, read from the statistics of thousands of functions in a few milliseconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from latency.histogram import BUCKETS, Counts
from latency.recording import PARTS, Function
from latency.recording.totals import NUMBERS, added, gathered, off_cpu_ns
from latency.tracing.counted import wire
from latency.tracing.counted.cells import Cells
from latency.tracing.counted.maps import CallMaps
from latency.tracing.counted.spaces import Spaces
from latency.tracing.counted.table import FunctionTable

_NOT_ASKED, _UNWANTED = -2, -1
_COPIED = ("returned", "raised", "min_ns", "max_ns", "taken_ns")


@dataclass(frozen=True)
class Counted:
    """What was counted by one moment; the columns are those of ``Totals``.

    Attributes:
        unnamed: calls of functions whose name is not known.
        cut: calls that were open when their thread ended.
    """

    functions: list[Function]
    pids: Counts
    numbers: np.ndarray[Any, Any]
    cells: Counts
    counts: Counts
    unnamed: int
    cut: int


@dataclass
class Tally:
    """Who is in which row, and what was read of each slot last.

    Attributes:
        functions, pids: of each row.
    """

    maps: CallMaps
    table: FunctionTable
    spaces: Spaces
    functions: list[Function] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)
    _rows: dict[tuple[int, Function], int] = field(default_factory=dict)
    _pid_of: dict[int, int] = field(default_factory=dict)  # by space: also of those that are forgotten since
    # by slot
    _row: Counts = field(default_factory=lambda: np.zeros(0, np.int64))
    _code: np.ndarray[Any, Any] = field(default_factory=lambda: np.zeros(0, np.uint64))
    _space: np.ndarray[Any, Any] = field(default_factory=lambda: np.zeros(0, np.uint64))
    _cells: Cells = field(default_factory=Cells)

    def forget(self, slots: Iterable[int]) -> None:
        """These serve others from now on."""
        gone = [slot for slot in slots if slot < len(self._row)]
        self._row[gone] = _NOT_ASKED
        self._cells.forget(gone)

    def take(self) -> Counted:
        """Read what has been counted until now."""
        statistics = self.maps.statistics
        self.maps.extremes.look()
        used = self.maps.used_slots()
        heads = {name: statistics[name][used].astype(np.int64) for name in ("flags", "sum_ns", "cut", *_COPIED)}
        self._name(used, statistics, heads["flags"])
        active = heads["flags"] & wire.ACTIVE != 0
        rows = self._row[used]
        self._cells.look(statistics)
        numbers, into = self._numbers(used, heads, rows, active), rows
        retired_numbers, retired_into, retired_cells, unnamed = self._retired()
        without = rows == _NOT_ASKED
        unnamed += int((heads["returned"] + heads["raised"])[without & ~active].sum())
        known = into >= 0
        # A function that suspends has a second slot, of which only the time counts.
        slots = np.full(len(self._row), _UNWANTED, np.int64)
        slots[used[~active]] = rows[~active]
        cells, counts = gathered([(self._cells.cells, self._cells.counts, slots), retired_cells])
        return Counted(
            self.functions,
            np.array(self.pids, np.int64),
            added(len(self.functions), [(numbers[known], into[known]), (retired_numbers, retired_into)]),
            cells,
            counts,
            unnamed,
            int(heads["cut"][~active & (rows >= 0)].sum()) + self._retired_cut(),
        )

    # -- inside ----------------------------------------------------------------------------------

    def _name(self, used: Counts, statistics: np.ndarray[Any, Any], flags: Counts) -> None:
        """Give each slot its row."""
        slots = self.maps.slots
        if not len(self._row):
            self._row = np.full(slots, _NOT_ASKED, np.int64)
            self._code, self._space = np.zeros(slots, np.uint64), np.zeros(slots, np.uint64)
        code, space = statistics["code"][used], statistics["space"][used]
        changed = (self._code[used] != code) | (self._space[used] != space) | (self._row[used] == _NOT_ASKED)
        if not changed.any():
            return
        these = zip(*(each[changed].tolist() for each in (used, code, space, flags)), strict=True)
        for slot, address, number, flag in these:
            function, wanted = self.table.function_of(slot, number, address, dead=bool(flag & wire.DEAD))
            row = _NOT_ASKED if wanted else _UNWANTED
            self._row[slot] = row if function is None else self._row_of(number, function)
            self._code[slot], self._space[slot] = address, number

    def _row_of(self, number: int, function: Function) -> int:
        if number not in self._pid_of:
            space = self.spaces.get(number)
            self._pid_of[number] = space.pid if space else 0
        key = self._pid_of[number], function
        if key not in self._rows:
            self._rows[key] = len(self.functions)
            self.functions.append(function)
            self.pids.append(key[0])
        return self._rows[key]

    def _numbers(
        self, used: Counts, heads: dict[str, Counts], rows: Counts, active: np.ndarray[Any, Any]
    ) -> np.ndarray[Any, Any]:
        """Of each slot, those of what suspends apart from the time that it ran."""
        numbers = np.zeros(len(used), NUMBERS)
        for name in _COPIED:
            numbers[name] = np.where(active, 0, heads[name])
        numbers["wall_ns"] = np.where(active, 0, heads["sum_ns"])
        # Of what suspends the time that it ran is the other slot's.
        suspends = np.array([row >= 0 and self.functions[row].kind != "function" for row in rows.tolist()], bool)
        numbers["busy_ns"] = np.where(active | ~suspends, heads["sum_ns"], 0)
        ends = np.zeros(len(used), wire.EXTREMES)
        ends["min_ns"], ends["max_ns"] = numbers["min_ns"], numbers["max_ns"]
        self.maps.extremes.into(ends, used)
        numbers["min_ns"], numbers["max_ns"] = np.where(active, 0, ends["min_ns"]), np.where(active, 0, ends["max_ns"])
        parts_ns, self_ns = self.maps.splits.sums(used)
        if parts_ns is not None:
            of = {name: np.where(active, 0, parts_ns[:, index]) for index, name in enumerate(PARTS)}
            numbers["off_cpu_ns"] = off_cpu_ns(of)
            numbers["divided_ns"] = sum(of[name] for name in PARTS if name != "suspended")
        if self_ns is not None:
            numbers["self_ns"] = np.where(active, 0, self_ns)
        return numbers

    def _retired(self) -> tuple[np.ndarray[Any, Any], Counts, tuple[Counts, Counts, Counts], int]:
        """(numbers, their rows, the histograms' cells, calls without a name) of what was given back."""
        retired = self.table.retired
        empty = np.zeros(0, np.int64)
        if not retired.rows:
            return np.zeros(0, NUMBERS), empty, (empty, empty, empty), 0
        records = np.concatenate(list(retired.rows.values()))
        numbers = np.zeros(len(records), NUMBERS)
        into = np.full(len(records), _UNWANTED, np.int64)
        unnamed = 0
        for index, ((function, is_active), record) in enumerate(zip(retired.rows, records, strict=True)):
            if function is None:
                unnamed += 0 if is_active else int(record["returned"] + record["raised"])
                continue
            into[index] = self._row_of(self._only, function)
            each = numbers[index]
            if is_active or function.kind == "function":
                each["busy_ns"] = record["sum_ns"]
            if is_active:
                continue
            for name in _COPIED:
                each[name] = record[name]
            each["wall_ns"] = record["sum_ns"]
            divided = retired.divided.get(function)
            if divided and divided.split:
                parts_ns = divided.split.totals_ns
                each["off_cpu_ns"] = off_cpu_ns(parts_ns)
                each["divided_ns"] = divided.split.wall_ns - parts_ns["suspended"]
            each["self_ns"] = divided.self_time.sum_ns if divided and divided.self_time else 0
        place, counter = np.nonzero(records["counts"])
        of_calls = np.array([not is_active for _, is_active in retired.rows])
        cells = (place * BUCKETS + counter, records["counts"][place, counter].astype(np.int64))
        known = into >= 0
        return numbers[known], into[known], (*cells, np.where(of_calls, into, _UNWANTED)), unnamed

    def _retired_cut(self) -> int:
        return sum(
            int(record["cut"][0])
            for (function, is_active), record in self.table.retired.rows.items()
            if function is not None and not is_active
        )

    @property
    def _only(self) -> int:
        """The space of all that is counted, where only one is followed; else one that nobody has."""
        return 0 if 0 in self.spaces else -1
