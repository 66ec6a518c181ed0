"""Where code can go from a handler's start: over both ways of every conditional jump, up to where a frame ends.

That is how it is shown that a build has no way out of a frame that pylat does not see.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from latency.cpython.sites.code import Line
from latency.cpython.sites.dispatch import Handlers, never_returns

_MOST_STEPS = 50_000
_LONGEST_PART_BYTES = 1 << 20
_MOST_PARTS = 64  # stretches of code beside those of the handlers: tail-call builds have functions for labels


@dataclass(frozen=True)
class Ways:
    """What is reached from one place, up to the first end of a frame on each way.

    Attributes:
        ends: addresses of the instructions at which a frame ends.
        returns: of those that leave the function before any such end.
        dispatches: of those that go on at another unit.
        handlers: starts of other opcodes' handlers that are jumped or run into.
    """

    ends: frozenset[int]
    returns: frozenset[int]
    dispatches: frozenset[int]
    handlers: frozenset[int]


class Flow:
    """Follows the code of an interpreter.

    Args:
        found: its handlers.
        ends: whether a frame ends at an instruction.
    """

    def __init__(self, found: Handlers, ends: Callable[[Line], bool]) -> None:
        self._found, self._ends = found, ends
        self._lines = {line.address: line for line in found.sweep.lines}
        self._parts: set[tuple[int, int]] = set()
        self._never: dict[str, bool] = {}
        self.at_ends = {line.address: line for line in found.sweep.lines if ends(line)}
        """The instructions at which frames end, by address: of the handlers' parts, and those that were reached."""

    def ways(self, start: int) -> Ways:
        """Follow the code from there. Raises UnsupportedBuild where an address holds no instruction."""
        ends, returns, dispatches, handlers = set[int](), set[int](), set[int](), set[int]()
        waiting, seen = [start], {start}
        while waiting and len(seen) < _MOST_STEPS:
            line = self._line(waiting.pop())
            if self._ends(line):
                ends.add(line.address)
                self.at_ends[line.address] = line
                continue
            *_, word = line.mnemonic.split()
            goal = int(line.operands, 16) if word[0] == "j" and line.operands.startswith("0x") else None
            if word in ("ret", "retf", "iretq"):
                returns.add(line.address)
                continue
            if word == "jmp" and goal is None:
                dispatches.add(line.address)
                continue
            nexts = [] if goal is None else [goal]
            if word not in ("jmp", "ud2", "hlt", "int3") and not (word == "call" and self._is_last(line)):
                nexts.append(line.address + line.size)
            for address in nexts:
                if address in self._found.starts and address != start:
                    handlers.add(address)
                elif address not in seen:
                    seen.add(address)
                    waiting.append(address)
        if waiting:  # not all of it was seen: as if it could leave
            returns.add(start)
        return Ways(frozenset(ends), frozenset(returns), frozenset(dispatches), frozenset(handlers))

    def _line(self, address: int) -> Line:
        line = self._lines.get(address)
        if line is not None:
            return line
        around = self._found.code.image.code_range(address)
        known = around is None or around in self._parts or len(self._parts) == _MOST_PARTS
        if around and not known and around[1] - around[0] <= _LONGEST_PART_BYTES:
            self._parts.add(around)
            for each in self._found.code.sweep([around]).lines:
                self._lines.setdefault(each.address, each)
        line = self._lines.get(address)
        if line is None:
            step = self._found.code.at(address)
            line = Line(address, step.size, step.mnemonic, step.op_str)
            self._lines[address] = line
        return line

    def _is_last(self, call: Line) -> bool:
        if call.operands not in self._never:
            self._never[call.operands] = never_returns(self._found, call)
        return self._never[call.operands]
