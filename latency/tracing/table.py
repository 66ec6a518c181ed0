"""Which functions are followed, and which function each set of statistics belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from latency.cpython.functions import LiveFunction, describe, from_capture
from latency.cpython.offsets import Offsets
from latency.cpython.patterns import Matcher
from latency.recording import Function
from latency.target.build import Build
from latency.target.process import Process
from latency.tracing import wire
from latency.tracing.program import Program


class FunctionTable:
    """The target's functions, as user space knows them, and the slots of statistics that they have.

    Args:
        matcher: which functions are wanted; None for all of them.
        lives: all code objects that live in the target now.
    """

    def __init__(
        self,
        process: Process,
        build: Build,
        offsets: Offsets,
        matcher: Matcher | None,
        lives: Sequence[LiveFunction],
    ) -> None:
        self._process = process
        self._build = build
        self._offsets = offsets
        self._matcher = matcher
        self._lives = {live.address: live for live in lives}
        self._slots: dict[int, Function | None] = {}  # None: met while running, and not wanted
        self.wanted = [live for live in lives if matcher is None or matcher.matches(live)]

    @property
    def addresses(self) -> list[int]:
        """Of all code objects that were alive when pylat looked."""
        return list(self._lives)

    @property
    def slots_needed(self) -> int:
        """Slots for the functions that are asked for by name."""
        if self._matcher is None:
            return 0
        return sum(2 if live.function.kind != "function" else 1 for live in self.wanted)

    def fill(self, program: Program) -> None:
        """Tell the program what is wanted and what is not, before anything is attached."""
        keys = np.zeros(len(self._lives), wire.FUNCTION_KEY)
        values = np.zeros(len(self._lives), wire.FUNCTION)
        keys["code"] = np.fromiter(self._lives, np.uint64, len(self._lives))
        values["slot"] = values["active_slot"] = wire.NO_SLOT
        suspends = np.fromiter((live.function.kind != "function" for live in self._lives.values()), bool)
        values["flags"][suspends] = wire.SUSPENDS
        first_free = 0
        if self._matcher is None:
            values["flags"] |= wire.WANTED  # and they take a slot at their first call
        else:
            places = {address: place for place, address in enumerate(self._lives)}
            for live in self.wanted:
                place = places[live.address]
                values["flags"][place] |= wire.WANTED
                values["slot"][place] = self._assign(program, first_free, live, 0)
                first_free += 1
                if suspends[place]:
                    values["active_slot"][place] = self._assign(program, first_free, live, wire.ACTIVE)
                    first_free += 1
        program.functions.update_many(keys, values)
        program.give_slots(range(first_free, program.capacity.slots))

    def forget(self, program: Program, addresses: Iterable[int]) -> None:
        """Code objects that were not there any more when the probes stood: what lives there now is met anew."""
        for address in addresses:
            self._lives.pop(address, None)
            key = np.zeros(1, wire.FUNCTION_KEY)
            key["code"] = address
            program.functions.delete(key)

    def met(self, program: Program, event: np.ndarray[Any, Any]) -> None:
        """A code object that was not known is running; the program has begun to measure it."""
        address, slot = int(event["code"]), int(event["slot"])
        live = describe(self._process, self._build, self._offsets, address)
        function = live.function if live else self._captured(event)
        if function is None:
            return
        wanted = self._matcher is None or self._matcher.matches_function(function, live.module if live else "")
        self._slots[slot] = function if wanted else None
        if not wanted:
            key, value = np.zeros(1, wire.FUNCTION_KEY), np.zeros(1, wire.FUNCTION)
            key["code"], key["process"] = address, event["process"]
            value["slot"] = value["active_slot"] = wire.NO_SLOT
            program.functions.update(key, value)

    def function_of(self, slot: int, code: int, *, dead: bool) -> tuple[Function | None, bool]:
        """(the function of a slot or None if its name is not known, whether it is wanted).

        Args:
            code: the code object's address.
            dead: it was freed, so its name cannot be read any more.
        """
        if slot in self._slots:
            function = self._slots[slot]
            return function, function is not None
        if code in self._lives:
            return self._lives[code].function, True
        live = None if dead else describe(self._process, self._build, self._offsets, code)
        if live is None:
            return None, True
        wanted = self._matcher is None or self._matcher.matches(live)
        self._slots[slot] = live.function if wanted else None
        return self._slots[slot], wanted

    def _assign(self, program: Program, slot: int, live: LiveFunction, flags: int) -> int:
        statistics = program.statistics
        statistics["code"][slot] = live.address
        statistics["flags"][slot] = flags
        self._slots[slot] = live.function
        return slot

    def _captured(self, event: np.ndarray[Any, Any]) -> Function | None:
        return from_capture(
            event["qualname"].tobytes(),
            event["filename"].tobytes(),
            int(event["line"]),
            int(event["co_flags"]),
            self._offsets,
        )
