"""Who is followed by a measurement with probes: the target, and with ``--children`` those that it forks."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from latency.cpython.functions import live_functions
from latency.cpython.interpreter import Target
from latency.errors import TargetError, TargetGone
from latency.recording import ProcessCalls
from latency.target.build import identify
from latency.target.process import Process
from latency.target.vm import Bytes, Flags
from latency.tracing.counted import wire
from latency.tracing.counted.maps import CallMaps
from latency.tracing.counted.parameters import GENERATIONS
from latency.tracing.counted.reading import Reading
from latency.tracing.counted.retired import Retired
from latency.tracing.counted.spaces import Joining, Space, Spaces
from latency.tracing.counted.table import FunctionTable
from latency.tracing.kernel import clock

_CODE_BYTES = 136  # covers the members below in all versions
_FEW, _ALL_S = 4, 5.0
"""Of more processes only those are looked at each time that the programs follow no longer; all, as often as that."""
_LASTING = (
    "object.type",
    "code.consts",
    "code.names",
    "code.filename",
    "code.name",
    "code.qualname",
    "code.firstlineno",
)


def _number(pid: int) -> int:
    """Of a new space, as the programs make them (``new_space`` in bpf/processes.h)."""
    return (clock.now_ns() << 22 | (pid & 0x3FFFFF)) & 0xFFFF_FFFF_FFFF_FFFF


class Following:
    """The processes of one measurement.

    Args:
        children: those that the target has, and will have, too.

    Attributes:
        spaces: who is followed.
        strangers: PIDs of those that run another program since, which may be a CPython of another build.
    """

    def __init__(self, target: Target, *, children: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.spaces = Spaces()
        self.strangers: list[int] = []
        self._target = target
        self._children = children
        self._heads: dict[int, tuple[Bytes, Flags]] = {}
        self._mine: list[int] = []
        self._gone: list[tuple[int, int]] = []
        self._clock, self._all_due_s = clock, 0.0

    @property
    def processes(self) -> list[Process]:
        """Those that have not ended, as far as it was seen."""
        return [space.process for space in self.spaces.values() if space.process and not space.ended]

    def find(self) -> None:
        """The target's code objects, and those of the children that it has already. Raises TargetError."""
        process, around = self._target.process, self._target.around
        self._heads, self._mine = {}, self._places(process)
        if not self._children:
            self._add(Space(0, process.pid, process))
            return
        self._add(Space(1, process.pid, process))
        if around:
            self.spaces[2] = Space(2, around.pid, around, foreign=True)
        for pid in self._descendants():
            self._add_child(pid)

    def begin(self, maps: CallMaps, table: FunctionTable) -> None:
        """Everything is attached: see to what may have changed since the search."""
        if self._children:
            for space in self.spaces.values():
                maps.follow(space.pid, space.number)
            self._adopt_late_children(maps)
        # From here on the program itself strikes out code objects that are freed; those freed and replaced since
        # they were found are told by their contents.
        for number, heads in self._heads.items():
            self._forget_changed(self.spaces[number], heads, maps, table)

    def look_at(self, pid: int, table: FunctionTable, *, search: bool) -> Joining | None:
        """Another process with its children; None where it does not run the same interpreter. From any thread.

        Args:
            search: for their functions, which are else met when they are called, where the interpreter lies as in the
                target.

        Raises:
            TargetError: it cannot be read.
        """
        joining = Joining()
        first = self._seen(pid, joining, table, search=search)
        if first is None or first.foreign:
            return None
        assert first.process
        for child in first.process.children(recursive=True):
            self._seen(child, joining, table, search=search)
        return joining

    def join(self, joining: Joining, maps: CallMaps, table: FunctionTable) -> None:
        """They are measured, too, from now on. What they have forked since the look is met as it runs."""
        for space in joining.spaces:
            if space.pid not in self._there:
                self._enter(space, maps, table, joining.others.get(space.number, ()))
                if space.number in joining.heads:
                    self._forget_changed(space, joining.heads[space.number], maps, table)
        first = joining.spaces[0].process
        for pid in first.children(recursive=True) if first else ():
            if pid not in self._there:
                late = Space.of_pid(_number(pid), pid, 0)
                late.series = joining.spaces[0].series
                self._enter(late, maps, table, ())

    def take(self, kind: int, event: np.ndarray[Any, Any]) -> None:
        """A ``wire.PROCESS_EVENT``: a process was forked, or has replaced its program."""
        number, pid, other = int(event["space"]), int(event["tgid"]), int(event["parent"])
        if kind == wire.EVENT_FORK:
            parent = self.spaces.get(other)
            self.spaces[number] = Space.of_pid(number, pid, other, parent.build if parent else None)
            self.spaces[number].series = parent.series if parent else ()
        elif kind == wire.EVENT_EXEC:
            self.spaces[number] = Space.of_pid(number, pid, 0)
            if before := self.spaces.get(other):
                before.ended = before.ended or "exec"
                self.spaces[number].series = before.series
            self.strangers.append(pid)

    def look(self, maps: CallMaps) -> None:
        """See who has ended by now. The programs know it of those that they follow, and tell of all at once."""
        there = [space for space in self.spaces.values() if not space.ended]
        if len(there) > _FEW:
            now_s = self._clock()
            if now_s < self._all_due_s:
                followed = maps.followed_spaces()
                there = [space for space in there if space.number not in followed]
            else:
                self._all_due_s = now_s + _ALL_S
        for space in there:
            space.look()

    def ended(self) -> str:
        """``""`` while anybody is there, or how the target ended: ``"exited"``, or ``"exec"`` where only its
        own program is followed; at the last ``look``."""
        ends = [space.ended for space in self.spaces.values()]
        if "" in ends:
            return ""
        return "exited" if self._children else ends[0]

    @property
    def over(self) -> list[int]:
        """The numbers of those that had ended at the last look, but for the target itself."""
        return [space.number for space in list(self.spaces.values())[1:] if space.ended]

    def finished(self, over: Collection[int], least: int) -> set[int]:
        """The numbers of those of which nothing need be known any longer: nobody that comes from them is there, who
        would ask the program what they knew (``parameters.GENERATIONS``).

        Args:
            over: those that had ended before all was taken in that the program has told.
            least: of fewer none.
        """
        if len(over) < least:
            return set()
        asked = {number for space in self.spaces.running for number in self.spaces.ancestors(space.number, GENERATIONS)}
        found = set(over) - asked
        return found if len(found) >= least else set()

    def forget(self, numbers: set[int]) -> None:
        """Only their calls are known from now on."""
        for space in self.spaces.heirs(numbers):
            ancestors = self.spaces.ancestors(space.number)
            space.parent = next((number for number in ancestors if number not in numbers), 0)
        self._gone += [(number, self.spaces.pop(number).pid) for number in numbers]

    def forget_gone(self, retired: Retired) -> None:
        """Of those that are forgotten already, not even their calls are known one by one any more."""
        for number, _ in self._gone:
            retired.spaces.pop(number, None)
        self._gone.clear()

    def calls(self, reading: Reading) -> tuple[ProcessCalls, ...]:
        """The calls of each process, those before and after an exec together."""
        found: dict[int, ProcessCalls] = {}
        here = [
            (space.number, space.pid, bool(space.ended))
            for space in self.spaces.values()
            if not space.foreign or space.number in reading.spaces
        ]
        for number, pid, ended in sorted([*here, *((number, pid, True) for number, pid in self._gone)]):
            returned, raised = reading.spaces.get(number, (0, 0))
            before = found.get(pid, ProcessCalls(pid))
            found[pid] = ProcessCalls(
                pid=pid, returned=before.returned + returned, raised=before.raised + raised, ended=ended
            )
        return tuple(found.values())

    # -- inside ----------------------------------------------------------------------------------

    @property
    def _there(self) -> set[int]:
        return {space.pid for space in self.spaces.values() if not space.ended}

    def _enter(self, space: Space, maps: CallMaps, table: FunctionTable, others: Sequence[int]) -> None:
        if space.process is None:
            return
        if space.foreign:
            self.strangers.append(space.pid)
        self.spaces[space.number] = space
        table.fill_more(maps, space, others)
        maps.follow(space.pid, space.number)

    def _seen(self, pid: int, joining: Joining, table: FunctionTable, *, search: bool) -> Space | None:
        """One process for ``look_at``; None where it has ended."""
        space = Space.of_pid(_number(pid), pid, 0)
        process = space.process
        if process is None:
            return None
        joining.spaces.append(space)
        places = self._places(process)
        if not places:
            space.foreign = True
            return space
        if places != self._mine:
            space.build = identify(process)
        if not search and places == self._mine:
            return space  # elsewhere the program tells a code object by its type's name, which may not be paged in yet
        lives = live_functions(process, space.build or self._target.build, self._target.offsets)
        wanted, others = table.chosen(lives)
        space.lives = {live.address: live for live in wanted}
        joining.heads[space.number] = process.read_table(np.fromiter(space.lives, np.uint64), _CODE_BYTES)
        joining.others[space.number] = others
        return space

    def _add_child(self, pid: int) -> None:
        """A child that exists already, if it runs the same interpreter."""
        space = Space.of_pid(len(self.spaces) + 1, pid, 0)
        if space.process is None:
            return
        try:
            places = self._places(space.process)
            if places and places != self._places(self._target.process):
                # Another exec made it: the addresses of the same interpreter are others there.
                space.build = identify(space.process)
            if places:
                self._add(space)
                return
        except TargetError:
            return  # it ended meanwhile
        self.strangers.append(pid)
        space.foreign = True
        self.spaces[space.number] = space

    def _places(self, process: Process) -> list[int]:
        """Where the interpreter's file is mapped."""
        mine = self._target.build.device_inode
        return [mapping.start for mapping in process.maps() if mapping.device_inode == mine]

    def _descendants(self) -> list[int]:
        """The PIDs below what is followed, without the target."""
        process, around = self._target.process, self._target.around
        return [pid for pid in (around or process).children(recursive=True) if pid != process.pid]

    def _add(self, space: Space) -> None:
        target = self._target
        assert space.process is not None
        lives = live_functions(space.process, space.build or target.build, target.offsets)
        space.lives = {live.address: live for live in lives}
        self._heads[space.number] = space.process.read_table(np.fromiter(space.lives, np.uint64), _CODE_BYTES)
        self.spaces[space.number] = space

    def _adopt_late_children(self, maps: CallMaps) -> None:
        """Children that were forked between the look at the process tree and the moment that forks are followed."""
        known = {space.pid for space in self.spaces.values()} | set(self.strangers)
        followed = maps.followed()
        for pid in self._descendants():
            if pid not in known and pid not in followed:
                number = len(self.spaces) + 1
                self._add_child(pid)
                if number in self.spaces:  # its code objects are met as they run
                    maps.follow(pid, number)

    def _forget_changed(self, space: Space, before: tuple[Bytes, Flags], maps: CallMaps, table: FunctionTable) -> None:
        process = space.readable
        if process is None:
            return
        addresses = np.fromiter(space.lives, np.uint64)
        with suppress(TargetGone):  # it may end at any moment
            same = self._same_code(before, process.read_table(addresses, _CODE_BYTES))
            table.forget(maps, space, addresses[~same].tolist())

    def _same_code(self, one: tuple[Bytes, Flags], two: tuple[Bytes, Flags]) -> Flags:
        """Whether two readings of each code object's head are of one object, by the members that never change."""
        fields = self._target.offsets.fields
        same = one[1] & two[1]
        for field in (fields[name] for name in _LASTING if name in fields):
            part = slice(field.offset, field.offset + field.size)
            same &= (one[0][:, part] == two[0][:, part]).all(axis=1)
        return same
