"""Functions put together by chance, with their calls of one another: a strategy for hypothesis."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import strategies

from tests.made_functions import EXPRESSIONS, FLAVOURS, Flavour, Made, defined

_MOST_STATEMENTS, _DEEPEST, _MOST_FUNCTIONS = 4, 3, 8
_PLAIN = Flavour("plain", "def", "")
_HOW = ("whole", "whole", "close", "throw", "drop", "never")


@dataclass(frozen=True)
class _Place:
    """Where a statement stands.

    Attributes:
        known: the functions that may be called there.
    """

    minor: tuple[int, int]
    flavour: Flavour
    known: Sequence[Made]
    depth: int = 0
    in_loop: bool = False

    def inside(self, *, in_loop: bool = False) -> _Place:
        return replace(self, depth=self.depth + 1, in_loop=self.in_loop or in_loop)


@strategies.composite
def functions(draw: strategies.DrawFn, minor: tuple[int, int]) -> list[Made]:
    """Some functions for one version of CPython; later ones call earlier ones."""
    made: list[Made] = []
    for number in range(draw(strategies.integers(2, _MOST_FUNCTIONS))):
        flavour = draw(strategies.sampled_from((_PLAIN, _PLAIN, *FLAVOURS)))
        name = f"{flavour.name}_{number}"
        body = draw(_block(_Place(minor, flavour, tuple(made))))
        if flavour is not _PLAIN:
            body = f"if x > 99:\n    {flavour.waits}\n{body}"  # it is one, whatever else it does
        suspends = flavour is not _PLAIN
        each = Made(name, defined(name, "x", body, flavour.define), "", suspends)
        calls = f"quietly({draw(_call(each))})"
        made.append(Made(name, each.source, calls, suspends))
    return made


@strategies.composite
def _block(draw: strategies.DrawFn, at: _Place) -> str:
    number = draw(strategies.integers(1, _MOST_STATEMENTS if at.depth == 0 else 2))
    return "\n".join(draw(_statement(at)) for _ in range(number))


@strategies.composite
def _statement(draw: strategies.DrawFn, at: _Place) -> str:
    kinds = ["assign", "assign", "return", "raise", "write", "inner"]
    kinds += ["call", "call"] if at.known else []
    kinds += ["wait", "wait"] if at.flavour.waits else []
    kinds += ["break", "continue"] if at.in_loop else []
    if at.depth < _DEEPEST:
        kinds += ["if", "if", "for", "while", "try", "finally", "with", "suppress"]
        kinds += ["match"] if at.minor >= (3, 10) else []
    kind = draw(strategies.sampled_from(kinds))
    if kind in ("break", "continue"):
        return kind
    if kind == "wait":
        return at.flavour.waits
    if kind == "raise":
        return draw(strategies.sampled_from(("raise Failure(x)", "if x % 2:\n    raise Failure(x)", "fails(x)")))
    if kind == "write":
        return draw(strategies.sampled_from(("OBJECT.value = x", "DICT['b'] = x", "y = x\ndel y", "x += 1")))
    if kind == "inner":
        return "def inner():\n    return x\n\ninner()"
    if kind == "call":
        return draw(_call(draw(strategies.sampled_from(at.known)), apart=False))
    if kind == "return":
        return draw(_return(at))
    if kind == "assign":
        return f"y = {draw(_expression(at.minor))}"
    return draw(_compound(kind, at))


@strategies.composite
def _compound(draw: strategies.DrawFn, kind: str, at: _Place) -> str:
    def block(place: _Place) -> str:
        return textwrap.indent(draw(_block(place)), "    ")

    number = draw(strategies.integers(0, 3))
    if kind == "if":
        return f"if x % 3 == {number % 3}:\n{block(at.inside())}\nelse:\n{block(at.inside())}"
    if kind == "for":
        return f"for y in range({number}):\n{block(at.inside(in_loop=True))}"
    if kind == "while":
        head = f"z{at.depth} = {number}\nwhile z{at.depth} > 0:\n    z{at.depth} -= 1\n"
        return head + block(at.inside(in_loop=True))
    if kind == "try":
        body, handler = block(at.inside()), block(at.inside())
        otherwise = f"\nelse:\n{block(at.inside())}" if number > 2 else ""
        return f"try:\n{body}\nexcept Failure:\n{handler}{otherwise}"
    if kind == "finally":
        # what waits or returns in "finally" has survived GeneratorExit, and is told in more than one way
        last = textwrap.indent(f"y = {draw(_expression(at.minor))}", "    ")
        return f"try:\n{block(at.inside())}\nfinally:\n{last}"
    if kind == "with":
        return f"with Manager():\n{block(at.inside())}"
    if kind == "suppress":
        return f"with contextlib.suppress(Failure):\n{block(at.inside())}"
    return f"match x:\n    case {number}:\n{textwrap.indent(block(at.inside()), '    ')}\n    case _:\n        y = x"


@strategies.composite
def _return(draw: strategies.DrawFn, at: _Place) -> str:
    if at.flavour.name == "async_generator":
        return "return"
    return f"return {draw(_expression(at.minor))}"


@strategies.composite
def _call(draw: strategies.DrawFn, of: Made, *, apart: bool = True) -> str:
    """The call of a function: as a statement, or (apart) as arguments."""
    if not of.suspends:
        return f"call, '{of.name}', x" if apart else f"call('{of.name}', x)"
    how = draw(strategies.sampled_from(_HOW))
    return f"drive, '{of.name}', '{how}', x" if apart else f"drive('{of.name}', '{how}', x)"


def _expression(minor: tuple[int, int]) -> strategies.SearchStrategy[str]:
    return strategies.sampled_from([each.text for each in EXPRESSIONS.values() if each.minor <= minor])
