"""What the objects of a target say: arguments and values as text, from its memory alone (CPython 3.6 to 3.15).

    reader = Reader(process, build, offsets)
    reader.describe(address)                     # "{'id': 7, 'name': 'Ada'}"
    reader.arguments(frame_address, code_address)  # [("self", "<app.Api at 0x7f… …>"), ("id", "7")]

A text is what the target's own ``repr`` says for the types of the language: ``None``, ``bool``, ``int``, ``float``,
``complex``, ``str``, ``bytes``, ``bytearray``, ``tuple``, ``list``, ``dict``, ``frozendict``, ``set``, ``frozenset``,
those of ``datetime``, members of enums, exceptions, functions, methods, generators, code, modules and classes; and for
instances of subclasses that inherit their ``__repr__``. Every other object is ``<app.User at 0x7f… id=7>``: its
attributes as they lie in memory, since pylat runs no code of the target; ``<app.Point at 0x7f… tuple=(1, 2)>`` for a
named tuple. ``…`` stands where a bound cut a text, and
``<unreadable at 0x7f…>`` where memory is gone or holds no such object; ``<hidden>`` for a secret, by its name
(``latency.cpython.hiding``), unless the reader is to show them.

Two things are pylat's own: which characters of a ``str`` are escaped follows the Unicode version of pylat's Python, and
names with unprintable characters are escaped everywhere, so that no text holds a control character.
"""

from __future__ import annotations

from latency.cpython.values.arguments import Signature
from latency.cpython.values.memory import Captured, Memory
from latency.cpython.values.reader import Reader
from latency.cpython.values.walk import CUT, Limits

__all__ = ["CUT", "Captured", "Limits", "Memory", "Reader", "Signature"]
