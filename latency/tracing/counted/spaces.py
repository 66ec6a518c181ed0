"""The processes that a measurement follows: one ``Space`` for each address space that code objects live in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from latency.cpython.functions import LiveFunction
from latency.errors import TargetError
from latency.recording import Function
from latency.target.build import Build
from latency.target.process import Process
from latency.target.vm import Bytes, Flags

Series: TypeAlias = tuple[str, ...]
"""By what whoever measures tells processes apart; ``()`` for all those that a measurement began with."""

_MOST_NAMES = 10_000
"""Of so many it is remembered that they are equal."""


@dataclass(frozen=True, slots=True)
class OwnFunction(Function):
    """A function of processes that joined a measurement, and are told apart from those that it began with.

    Attributes:
        series: whose.
    """

    series: Series = ()

    @property
    def plain(self) -> Function:
        """The same, whoever's it is."""
        return Function(self.qualname, self.filename, self.line, self.kind, self.module)


@dataclass
class Space:
    """A process from its fork or its last exec to its next exec or its end.

    Attributes:
        number: as the BPF side tells it from others (``pylat_space``).
        pid: of the process.
        process: to read from; None where it ended before pylat could look.
        parent: number of the space that it was forked from, 0 for none.
        lives: the code objects that were alive in it when pylat attached, by address.
        ended: ``""``, ``"exited"`` or ``"exec"``.
        build: the target's, as it is mapped in this process; None where it is as in the target, or not known yet.
        foreign: it runs another program, and is followed for what it will fork.
        series: whose its functions are.
    """

    number: int
    pid: int
    process: Process | None
    parent: int = 0
    lives: Mapping[int, LiveFunction] = field(default_factory=dict)
    ended: str = ""
    image: tuple[int, ...] = ()
    build: Build | None = None
    foreign: bool = False
    series: Series = ()

    def __post_init__(self) -> None:
        self.image = self.process.image_identity() if self.process else ()
        if not self.process:
            self.ended = "exited"

    @classmethod
    def of_pid(cls, number: int, pid: int, parent: int, build: Build | None = None) -> Space:
        """The space of a process that has just begun, or has ended again already."""
        try:
            process = Process(pid)
        except TargetError:
            return cls(number, pid, None, parent)
        return cls(number, pid, process, parent, build=build)

    def look(self) -> str:
        """Whether it is still there: ``""``, or why not."""
        if not self.ended and self.process:
            self.ended = self.process.ending(self.image)
        return self.ended

    @property
    def readable(self) -> Process | None:
        """The process, while this space is what runs in it."""
        return None if self.look() else self.process


@dataclass
class Joining:
    """What was found of a process, with its children, that may be measured together with others.

    Attributes:
        spaces: theirs; ``lives`` are the code objects that are wanted.
        heads: the beginnings of these, by the number of the space.
        others: addresses of the code objects that are not wanted, where the program has to be told of them.
    """

    spaces: list[Space] = field(default_factory=list)
    heads: dict[int, tuple[Bytes, Flags]] = field(default_factory=dict)
    others: dict[int, list[int]] = field(default_factory=dict)

    @property
    def pids(self) -> set[int]:
        """Of all of them."""
        return {space.pid for space in self.spaces}


class Spaces(dict[int, Space]):
    """All spaces by number, those that ended included."""

    def __init__(self) -> None:
        super().__init__()
        # A thousand processes have the same function a thousand times, and to compare all that it is takes its time.
        self._names: dict[Function, Function] = {}

    def known_code(self, number: int, address: int) -> LiveFunction | None:
        """The code object at an address when pylat attached, in this space or in one that it was forked from."""
        for each in (number, *self.ancestors(number)):
            if each in self and address in self[each].lives:
                return self[each].lives[address]
        return None

    def named(self, number: int, function: Function) -> Function:
        """A function as it is counted in this space; the same object for those that are equal."""
        space = self.get(number)
        if space is not None and space.series:
            function = OwnFunction(
                function.qualname, function.filename, function.line, function.kind, function.module, space.series
            )
        if len(self._names) >= _MOST_NAMES:
            self._names.clear()
        return self._names.setdefault(function, function)

    def ancestors(self, number: int, most: int | None = None) -> list[int]:
        """The spaces that this one was forked from, the nearest first, at most so many."""
        found: list[int] = []
        while (space := self.get(number)) and space.parent in self and (most is None or len(found) < most):
            if not space.parent:
                break  # 0 is no parent, but it is the number of a process that is followed alone
            number = space.parent
            found.append(number)
        return found

    def heirs(self, numbers: Collection[int]) -> list[Space]:
        """Those that were forked from some of these, and are none of them."""
        return [space for space in self.values() if space.parent in numbers and space.number not in numbers]

    @property
    def lives(self) -> list[LiveFunction]:
        """The code objects of all of them that were alive when pylat attached."""
        return [live for space in self.values() for live in space.lives.values()]

    @property
    def running(self) -> list[Space]:
        """Those that have not ended."""
        return [space for space in self.values() if not space.look()]
