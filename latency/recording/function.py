"""What is measured has a name: a function, or what lies between two markers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import ClassVar

KINDS = ("function", "generator", "coroutine", "async_generator", "marker", "event")
"""What a :class:`Function` can be."""


@dataclass(frozen=True, slots=True)
class Function:
    """One Python function: one code object. All text comes from the target, as it stands there.

    Attributes:
        qualname: ``Api.get``; the plain name before CPython 3.11, which keeps no qualname in the code object.
        filename: ``co_filename``.
        line: ``co_firstlineno``.
        kind: one of ``KINDS``. Two are no functions of Python: a ``"marker"`` is what happens between two USDT markers,
            an ``"event"`` a single one, which has calls and no latency; their line is 0, unless they are of a line.
        module: of code that the program itself has written (``<string>``), where no file tells functions apart: the
            ``__module__`` of the function; ``""`` where that is not known, and of all other code.
    """

    qualname: str
    filename: str
    line: int
    kind: str = "function"
    module: str = ""

    @classmethod
    def many(
        cls, qualnames: Sequence[str], filenames: Iterable[str], lines: Iterable[int], kinds: Iterable[str]
    ) -> list[Function]:
        """One of each row, all modules ``""``: what ``__init__`` makes, in less than half of its time, for a process
        has hundreds of thousands."""
        made = [object.__new__(cls) for _ in qualnames]
        columns = (qualnames, filenames, lines, kinds, repeat(""))
        for member, values in zip(cls.__slots__, columns, strict=True):
            deque(map(getattr(cls, member).__set__, made, values), maxlen=0)
        return made

    @property
    def source(self) -> str:
        """Where its code comes from: the file, after the module where that is no file."""
        return f"{self.module} {self.filename}" if self.module else self.filename


@dataclass(frozen=True, slots=True)
class Owners:
    """The functions of different names that share one code object, whose calls nothing tells apart: those that a
    decorator or a function like ``namedtuple`` has made of one function within it, and named anew.

    Attributes:
        count: how many.
        names: the qualnames of the first of them by the alphabet, at most ``MOST_NAMES``.
    """

    MOST_NAMES: ClassVar[int] = 20

    count: int
    names: tuple[str, ...]

    @classmethod
    def of(cls, names: Iterable[str]) -> Owners:
        """Of the qualname of each."""
        everyone = sorted(names)
        return cls(len(everyone), tuple(everyone[: cls.MOST_NAMES]))
