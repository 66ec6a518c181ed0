"""What is measured has a name: a function, or what lies between two markers."""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    qualname: str
    filename: str
    line: int
    kind: str = "function"
