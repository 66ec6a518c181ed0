"""Digests of the code of what is measured, taken while the processes live: comparisons know functions again by them."""

from __future__ import annotations

from typing import NamedTuple

from latency.cpython.code_digest import CodeDigests
from latency.cpython.functions import is_written
from latency.cpython.offsets import Offsets
from latency.errors import TargetError
from latency.recording import Function, Owners
from latency.target.build import Build
from latency.tracing.counted.spaces import Spaces

_AT_ONCE = 300
"""So many are taken between two looks at the events: about a tenth of a second."""
AT_THE_END = 4_000
_MOST_OF_ONE = 4
"""So many code objects of one function are looked at: whether they are all alike."""


class About(NamedTuple):
    """What a recording says of the code of a function: ``code`` and ``owners`` of ``FunctionLatency``."""

    code: str = ""
    owners: Owners | None = None


class Codes:
    """What is known of the code of functions.

    Args:
        spaces: whose memory the code objects lie in.

    Raises:
        UnsupportedBuild: the build lacks a symbol or a struct member.
    """

    def __init__(self, spaces: Spaces, build: Build, offsets: Offsets) -> None:
        self._spaces = spaces
        self._digests = CodeDigests(build, offsets)
        self._line = offsets.fields["code.firstlineno"]
        self._waiting: dict[tuple[int, int], Function] = {}  # by space and address
        # Tuples, and no sets: of ten thousand functions these are megabytes.
        self._seen: dict[Function, tuple[tuple[int, int], ...]] = {}
        self._found: dict[Function, tuple[str, ...]] = {}
        self._owners: dict[Function, Owners] = {}

    def want(self, function: Function, space: int, address: int, owners: Owners | None = None) -> None:
        """Look at this code object of the function when there is time."""
        if owners:
            self._owners[function] = owners
        seen = self._seen.get(function, ())
        if len(seen) < _MOST_OF_ONE and (space, address) not in seen:
            self._seen[function] = *seen, (space, address)
            self._waiting[space, address] = function

    def take(self, most: int = _AT_ONCE) -> None:
        """Look at some of those that wait; first at those whose names many functions have, lambdas and local ones."""
        if not self._waiting:
            return
        chosen = sorted(self._waiting, key=lambda key: "<" not in self._waiting[key].qualname)[:most]
        by_space: dict[int, dict[int, Function]] = {}
        for space, address in chosen:
            by_space.setdefault(space, {})[address] = self._waiting.pop((space, address))
        for number, functions in by_space.items():
            self._take_of(number, functions)

    def about(self, function: Function) -> About:
        """What is known of it; no digest where its code objects differ."""
        found = self._found.get(function, ())
        return About(found[0] if len(found) == 1 else "", self._owners.get(function))

    @property
    def mixed(self) -> list[Function]:
        """Those that stand for several code objects of one process that the program has written, whose functions say
        the same of themselves, or nothing."""
        return [
            function
            for function, seen in self._seen.items()
            if is_written(function.filename) and len(seen) > len({space for space, _ in seen})
        ]

    def _take_of(self, number: int, functions: dict[int, Function]) -> None:
        space = self._spaces.get(number)
        process = space.readable if space else None
        if process is None:
            return
        try:
            digests = self._digests.take(process, functions)
            # Read behind the digests: what was freed before may be another function by now.
            lines = process.read_many([address + self._line.offset for address in functions], self._line.size)
        except TargetError:
            return  # it ended meanwhile
        for (address, function), line in zip(functions.items(), lines, strict=True):
            if address in digests and line is not None and int.from_bytes(line, "little") == function.line:
                found = self._found.get(function, ())
                if digests[address] not in found:
                    self._found[function] = *found, digests[address]
