"""Which functions are followed, and which function each set of statistics belongs to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from latency.cpython.functions import LiveFunction, describe, from_capture
from latency.cpython.offsets import Offsets
from latency.cpython.patterns import Matcher
from latency.errors import TargetError
from latency.recording import Function
from latency.target.build import Build
from latency.tracing import wire
from latency.tracing.program import Program
from latency.tracing.spaces import Space, Spaces


class FunctionTable:
    """The functions of the processes that are followed, as user space knows them, and their slots of statistics.

    Args:
        spaces: who is followed; the code objects that were found in them are in there.
        matcher: which functions are wanted; None for all of them.
    """

    def __init__(self, spaces: Spaces, build: Build, offsets: Offsets, matcher: Matcher | None) -> None:
        self._spaces = spaces
        self._build = build
        self._offsets = offsets
        self._matcher = matcher
        self._slots: dict[int, Function | None] = {}  # None: met while running, and not wanted

    @property
    def wanted(self) -> list[tuple[Space, LiveFunction]]:
        """The functions that were alive when pylat looked, and match."""
        return [
            (space, live)
            for space in self._spaces.values()
            for live in space.lives.values()
            if self._matcher is None or self._matcher.matches(live)
        ]

    def slots_for(self, wanted: list[tuple[Space, LiveFunction]]) -> int:
        """How many slots these functions take."""
        return sum(2 if _suspends(live) else 1 for _, live in wanted)

    def fill(self, program: Program) -> None:
        """Tell the program what is wanted and what is not, before anything is attached."""
        everything = [(space, live) for space in self._spaces.values() for live in space.lives.values()]
        keys = np.zeros(len(everything), wire.FUNCTION_KEY)
        values = np.zeros(len(everything), wire.FUNCTION)
        keys["code"] = np.fromiter((live.address for _, live in everything), np.uint64, len(everything))
        keys["space"] = np.fromiter((space.number for space, _ in everything), np.uint64, len(everything))
        values["slot"] = values["active_slot"] = wire.NO_SLOT
        values["flags"] = [wire.SUSPENDS if _suspends(live) else 0 for _, live in everything]
        first_free = 0
        if self._matcher is None:
            values["flags"] |= wire.WANTED  # and they take a slot at their first call
        else:
            for value, (space, live) in zip(values, everything, strict=True):
                if not self._matcher.matches(live):
                    continue
                value["flags"] |= wire.WANTED
                value["slot"] = self._assign(program, first_free, space, live, 0)
                first_free += 1
                if _suspends(live):
                    value["active_slot"] = self._assign(program, first_free, space, live, wire.ACTIVE)
                    first_free += 1
        program.functions.update_many(keys, values)
        program.give_slots(range(first_free, program.capacity.slots))

    def forget(self, program: Program, space: Space, addresses: Iterable[int]) -> None:
        """Code objects that were not there any more when the probes stood: what lives there now is met anew."""
        gone = set(addresses)
        space.lives = {address: live for address, live in space.lives.items() if address not in gone}
        for address in gone:
            key = np.zeros(1, wire.FUNCTION_KEY)
            key["code"], key["space"] = address, space.number
            program.functions.delete(key)

    def met(self, program: Program, event: np.ndarray[Any, Any]) -> None:
        """A code object that was not known is running; the program has begun to measure it."""
        address, number = int(event["code"]), int(event["space"])
        live = self._described(number, address)
        function = live.function if live else self._captured(event)
        if function is None:
            return
        wanted = self._matcher is None or self._matcher.matches_function(function, live.module if live else "")
        self._slots[int(event["slot"])] = function if wanted else None
        if not wanted:
            key, value = np.zeros(1, wire.FUNCTION_KEY), np.zeros(1, wire.FUNCTION)
            key["code"], key["space"] = address, number
            value["slot"] = value["active_slot"] = wire.NO_SLOT
            program.functions.update(key, value)

    def function_of(self, slot: int, code: int, space: int, *, dead: bool) -> tuple[Function | None, bool]:
        """(the function of a slot or None if its name is not known, whether it is wanted).

        Args:
            code: the code object's address.
            space: the number of its address space.
            dead: it was freed, so its name cannot be read any more.
        """
        if slot in self._slots:
            function = self._slots[slot]
            return function, function is not None
        live = self._spaces.known_code(space, code) or (None if dead else self._described(space, code))
        if live is None:
            return None, True
        wanted = self._matcher is None or self._matcher.matches(live)
        self._slots[slot] = live.function if wanted else None
        return self._slots[slot], wanted

    def _assign(self, program: Program, slot: int, space: Space, live: LiveFunction, flags: int) -> int:
        of = program.statistics[slot : slot + 1]
        of["code"], of["space"], of["flags"] = live.address, space.number, flags
        self._slots[slot] = live.function
        return slot

    def _described(self, number: int, address: int) -> LiveFunction | None:
        space = self._spaces.get(number)
        process = space.readable if space else None
        if process is None:
            return None
        try:
            return describe(process, self._build, self._offsets, address)
        except TargetError:
            return None  # it ended meanwhile

    def _captured(self, event: np.ndarray[Any, Any]) -> Function | None:
        return from_capture(
            event["qualname"].tobytes(),
            event["filename"].tobytes(),
            int(event["line"]),
            int(event["co_flags"]),
            self._offsets,
        )


def _suspends(live: LiveFunction) -> bool:
    return live.function.kind != "function"
