"""Which functions are followed, and which function each set of statistics belongs to."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from latency.cpython.functions import LiveFunction, describe, of_owner
from latency.cpython.offsets import Offsets
from latency.cpython.patterns import Matcher
from latency.cpython.strings import CUT
from latency.errors import TargetError
from latency.recording import Function
from latency.target.build import Build
from latency.tracing.counted import wire
from latency.tracing.counted.announced import Announced
from latency.tracing.counted.codes import Codes
from latency.tracing.counted.maps import CallMaps
from latency.tracing.counted.retired import Given, Retired
from latency.tracing.counted.spaces import Space, Spaces

_MOST_NAMED = 5


class FunctionTable:
    """The functions of the processes that are followed, as user space knows them, and their slots of statistics.

    Args:
        spaces: who is followed; the code objects that were found in them are in there.
        matcher: which functions are wanted; None for all of them.

    Attributes:
        retired: what was counted in slots that were given back.
        codes: digests of their code.
        announced: what was told of code objects that are met next.
    """

    def __init__(self, spaces: Spaces, build: Build, offsets: Offsets, matcher: Matcher | None) -> None:
        self._spaces = spaces
        self._build = build
        self._offsets = offsets
        self._matcher = matcher
        self._slots: dict[int, Function | None] = {}  # None: met while running, and not wanted
        self._met: dict[tuple[int, int], Function] = {}  # wanted, by space and address: forked children have them too
        self._left_out: set[Function] = set()  # may match, but that could not be told
        self._ripe: set[int] = set()  # slots that were of no more use at the last look
        self._missing: list[str] | None = None
        self.retired = Retired()
        self.codes = Codes(spaces, build, offsets)
        self.announced = Announced(offsets)

    @property
    def wanted(self) -> list[tuple[Space, LiveFunction]]:
        """The functions that were alive when pylat looked, and match."""
        return [
            (space, live)
            for space in self._spaces.values()
            for live in space.lives.values()
            if self._matcher is None or self._matcher.matches(live)
        ]

    @property
    def undecided(self) -> list[LiveFunction]:
        """The functions that were alive when pylat looked, and match in some modules, but no function object told the
        module: those that are not made yet. They are met when they run."""
        return [live for space in self._spaces.values() for live in space.lives.values() if self._waits(live)]

    @property
    def missing(self) -> list[str]:
        """The patterns that have meant no function yet, whether it was alive when pylat looked or has run since."""
        if self._missing is None:
            self._missing = self._matcher.unmatched(self._spaces.lives) if self._matcher else []
        return self._missing

    @property
    def unseen(self) -> tuple[str, ...]:
        """What was left out, one line each."""
        left_out, mixed = _some(self._left_out), _some(self.codes.mixed)
        said = f"left out, since their module or qualname could not be told: {left_out}" if left_out else ""
        more = f"which of several functions that the program has written was called: {mixed}" if mixed else ""
        return tuple(filter(None, (said, more)))

    def _waits(self, live: LiveFunction) -> bool:
        return self._matcher is not None and not live.module and self._matcher.may_mean(live.function, "")

    def slots_for(self, wanted: list[tuple[Space, LiveFunction]]) -> int:
        """How many slots these functions take."""
        return sum(2 if _suspends(live) else 1 for _, live in wanted)

    def fill(self, maps: CallMaps) -> None:
        """Tell the program what is wanted and what is not, before anything is attached."""
        everything = [
            (space, live) for space in self._spaces.values() for live in space.lives.values() if not self._waits(live)
        ]
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
                value["slot"] = self._assign(maps, first_free, space, live, 0)
                first_free += 1
                if _suspends(live):
                    value["active_slot"] = self._assign(maps, first_free, space, live, wire.ACTIVE)
                    first_free += 1
        maps.functions.update_many(keys, values)
        maps.give_slots(range(first_free, maps.slots))

    def fill_more(self, maps: CallMaps, space: Space, others: Sequence[int]) -> None:
        """The same of a process that joins those that are measured; its functions take slots at their first calls."""
        found = [*space.lives, *others]
        keys = np.zeros(len(found), wire.FUNCTION_KEY)
        values = np.zeros(len(found), wire.FUNCTION)
        keys["code"], keys["space"] = np.array(found, np.uint64), space.number
        values["slot"] = values["active_slot"] = wire.NO_SLOT
        for value, live in zip(values, space.lives.values(), strict=False):
            value["flags"] = wire.WANTED | (wire.SUSPENDS if _suspends(live) else 0)
        maps.functions.update_many(keys, values)

    def chosen(self, lives: Iterable[LiveFunction]) -> tuple[list[LiveFunction], list[int]]:
        """(Those that are wanted, the addresses of those that are not.) Of others only their first call will tell."""
        wanted, others = [], []
        for live in lives:
            if self._matcher is None or self._matcher.matches(live):
                wanted.append(live)
            elif not self._waits(live):
                others.append(live.address)
        return wanted, others

    def forget(self, maps: CallMaps, space: Space, addresses: Iterable[int]) -> None:
        """Code objects that were not there any more when the probes stood: what lives there now is met anew."""
        gone = set(addresses)
        space.lives = {address: live for address, live in space.lives.items() if address not in gone}
        for address in gone:
            key = np.zeros(1, wire.FUNCTION_KEY)
            key["code"], key["space"] = address, space.number
            maps.functions.delete(key)

    def met(self, maps: CallMaps, event: np.ndarray[Any, Any]) -> None:
        """A code object that was not known is running; the program has begun to measure it."""
        address, number, slot = int(event["code"]), int(event["space"]), int(event["slot"])
        captured = self.announced.captured(event)
        live = self._described(number, address)
        if live and captured and not same(live.function, captured):
            live = None  # the address is another's by now
        function = live.function if live else captured
        if function is None:
            self.announced.forget((number, address))
            return  # told from memory when it is asked for, or counted as unnamed
        function, module = self.announced.completed(function, (number, address))
        wanted = self._wants(function, module)
        self._slots[slot] = self._spaces.named(number, function) if wanted else None
        active_slot = int(event["active_slot"])
        if active_slot != wire.NO_SLOT:
            self._slots[active_slot] = self._slots[slot]
        key, value = np.zeros(1, wire.FUNCTION_KEY), np.zeros(1, wire.FUNCTION)
        key["code"], key["space"] = address, number
        value["slot"] = value["active_slot"] = wire.NO_SLOT
        value["flags"] = wire.STRUCK_OUT
        if wanted:
            if number:  # where children are followed
                self._met[number, address] = self._spaces.named(number, function)
            self.codes.want(function, number, address)
            value["slot"], value["active_slot"] = slot, active_slot
            value["flags"] = wire.WANTED | (wire.SUSPENDS if function.kind != "function" else 0)
        self._decide(maps, slot, key, value)

    def owner(self, slot: int, row: np.void) -> tuple[Function | None, bool]:
        """:meth:`function_of`, from the slot's record of ``wire.STATISTICS``."""
        return self.function_of(slot, int(row["space"]), int(row["code"]), dead=bool(row["flags"] & wire.DEAD))

    def function_of(self, slot: int, space: int, code: int, *, dead: bool) -> tuple[Function | None, bool]:
        """(the function of a slot or None if its name is not known, whether it is wanted).

        Args:
            space, code: whose slot it is.
            dead: the code object was freed.
        """
        if slot in self._slots:
            function = self._slots[slot]
            return function, function is not None
        if inherited := self._inherited(space, code):
            self._slots[slot] = inherited
            return inherited, True
        live = self._spaces.known_code(space, code) or (None if dead else self._described(space, code))
        if live is None:
            return None, True
        wanted = self._wants(live.function, live.module)
        self._slots[slot] = self._spaces.named(space, live.function) if wanted else None
        if wanted and not dead:
            self.codes.want(live.function, space, code, live.owners)
        return self._slots[slot], wanted

    def _wants(self, function: Function, module: str) -> bool:
        """Whether it matches; one that may, were its module or its qualname known, does not."""
        matcher = self._matcher
        if matcher is None:
            return True
        if matcher.matches_function(function, module):
            self._missing = matcher.still_unmatched(self.missing, function, module)
            return True
        # To 3.10 only the bare name is known of what is met while it runs.
        if matcher.may_mean(function, module, bare="code.qualname" not in self._offsets):
            self._left_out.add(function)
        return False

    @property
    def ripens(self) -> bool:
        """Whether ``give_back`` has found slots that it can give back when it is asked once more."""
        return bool(self._ripe)

    def give_back(self, maps: CallMaps, in_use: Callable[[], set[int]]) -> list[Given]:
        """Let the program use the slots again that serve no more: of freed code objects, and of functions not wanted.

        Args:
            in_use: the slots of calls that are open now; asked for only where there is something to give back.
        """
        used = maps.used_slots()
        struck_out = [slot for slot, function in self._slots.items() if function is None]
        candidates = {*struck_out, *used[maps.statistics["flags"][used] & wire.DEAD != 0].tolist()}
        # A call may be on its way to a slot: only what was of no use at the last look, too, is taken.
        ready = candidates & self._ripe
        self._ripe = candidates
        if not ready:
            return []
        ready -= in_use()
        self._ripe -= ready
        return [self._give_back(maps, slot) for slot in sorted(ready)]

    def give_back_spaces(self, maps: CallMaps, numbers: set[int]) -> list[Given]:
        """The same of everything that was known of processes that ended. Those that come from them, and are there, are
        so far from them that the program does not ask what they knew; their names are handed down."""
        if not numbers:
            return []
        statistics = maps.statistics
        for slot, calls in maps.forget_spaces(numbers).items():
            statistics["cut"][slot] += calls
        used = maps.used_slots()
        gone = used[np.isin(statistics["space"][used], list(numbers))].tolist()
        given = [self._give_back(maps, slot) for slot in gone]
        self._hand_down(maps, numbers)
        for key in [key for key in self._met if key[0] in numbers]:
            del self._met[key]
        self.announced.forget_spaces(numbers)
        self._ripe.difference_update(gone)
        return given

    def _hand_down(self, maps: CallMaps, numbers: set[int]) -> None:
        """What these spaces know by name is known of those from now on that were forked from them."""
        heirs = self._spaces.heirs(numbers)
        if not heirs:
            return
        statistics = maps.statistics
        used = maps.used_slots()
        of_heirs = used[np.isin(statistics["space"][used], [space.number for space in heirs])]
        for slot in of_heirs.tolist():
            self.owner(slot, statistics[slot])  # told while it is known whom they have it from
        met: dict[int, dict[int, Function]] = {}
        for (number, address), function in self._met.items():
            met.setdefault(number, {})[address] = function
        for space in heirs:
            for number in itertools.takewhile(numbers.__contains__, self._spaces.ancestors(space.number)):
                for address, function in met.get(number, {}).items():
                    self._met.setdefault((space.number, address), function)
                if self._spaces[number].lives:
                    space.lives = {**self._spaces[number].lives, **space.lives}

    def _give_back(self, maps: CallMaps, slot: int) -> Given:
        statistics = maps.statistics
        maps.extremes.look()
        row = maps.rows(np.array([slot]))[0]
        function, wanted = self.owner(slot, row)
        place = self.retired.add(function, row, maps.splits.of(slot)) if wanted else None
        self._slots.pop(slot, None)
        statistics[slot : slot + 1] = np.zeros(1, wire.STATISTICS)
        maps.splits.clear([slot])
        maps.extremes.clear(slot)
        maps.give_slots([slot])  # one by one: a program that makes functions all the time may be short of them now
        return Given(slot, place, row["counts"])

    @staticmethod
    def _decide(maps: CallMaps, slot: int, key: np.ndarray[Any, Any], value: np.ndarray[Any, Any]) -> None:
        """Tell the program what it is to do with a code object that it has met.

        The code object may be freed at any moment, and the address be another's: what is marked must still be it.
        """
        flags = maps.statistics["flags"]
        if flags[slot] & wire.DEAD:
            return
        maps.functions.update(key, value)
        if flags[slot] & wire.DEAD:
            maps.functions.delete(key)  # freed meanwhile: whatever lives there now is met anew

    def _assign(self, maps: CallMaps, slot: int, space: Space, live: LiveFunction, flags: int) -> int:
        of = maps.statistics[slot : slot + 1]
        of["code"], of["space"], of["flags"] = live.address, space.number, flags
        self._slots[slot] = self._spaces.named(space.number, live.function)
        self.codes.want(live.function, space.number, live.address, live.owners)
        return slot

    def _inherited(self, number: int, address: int) -> Function | None:
        """What a process that this one was forked from has met there: the program asks for no name a second time."""
        for each in self._spaces.ancestors(number):
            if (each, address) in self._met:
                return self._met[each, address]
        return None

    def _described(self, number: int, address: int) -> LiveFunction | None:
        space = self._spaces.get(number)
        process = space.readable if space else None
        if space is None or process is None:
            return None
        try:
            return describe(process, space.build or self._build, self._offsets, address)
        except TargetError:
            return None  # it ended meanwhile


def _some(functions: Iterable[Function]) -> str:
    names = sorted({function.qualname for function in functions})
    return ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")


def same(live: Function, captured: Function) -> bool:
    """Whether a name read from memory can be the captured one, which may be cut short or lack the outer names."""
    head, name = captured.qualname.removesuffix(CUT), live.qualname.rpartition(".")[2]
    alike = live.qualname.startswith(head) or name.startswith(head) or of_owner(captured, live.qualname, "") is not None
    return alike and live.line == captured.line and live.filename.startswith(captured.filename.removesuffix(CUT))


def _suspends(live: LiveFunction) -> bool:
    return live.function.kind != "function"
