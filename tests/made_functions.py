"""Functions of every kind, for one version of CPython: each way to return, to raise, to wait, and to be called.

``tests/targets/made.py`` runs them and counts how their calls end. ``kinds`` are those that somebody thought of;
``tests/random_functions.py`` puts others together by chance.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

CALLS = 6
"""Rounds of calls of each function in one run."""

PRELUDE = """
import contextlib
import functools

LIST, DICT, WRITTEN = [0, 1, 2], {0: 1, "a": 2}, 0


class Thing:
    member = 1

    def __init__(self, value):
        self.value = value

    def method(self, value):
        return value


class Manager:
    def __init__(self, suppresses=False):
        self.suppresses = suppresses

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return self.suppresses


OBJECT = Thing(0)


def identity(value):
    return value


def fails(value):
    raise Failure(value)


def decorated(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        return function(*arguments)

    return wrapper


def quietly(made, *arguments, **keywords):
    try:
        made(*arguments, **keywords)
    except (ArithmeticError, AssertionError, LookupError, NameError, RuntimeError, TypeError, ValueError, Failure):
        pass
"""


class Since(NamedTuple):
    """Source text, and the first version that has its syntax."""

    text: str
    minor: tuple[int, int] = (3, 6)


EXPRESSIONS = {
    "argument": Since("x"),
    "small_constant": Since("7"),
    "none": Since("None"),
    "true": Since("True"),
    "text": Since("'text'"),
    "tuple_constant": Since("(1, 2, 3)"),
    "global_name": Since("WRITTEN"),
    "builtin_name": Since("len"),
    "attribute": Since("OBJECT.member"),
    "instance_attribute": Since("OBJECT.value"),
    "item": Since("LIST[x % 3]"),
    "dict_item": Since("DICT['a']"),
    "slice": Since("LIST[x:]"),
    "stepped_slice": Since("LIST[::2]"),
    "python_call": Since("identity(x)"),
    "keyword_call": Since("identity(value=x)"),
    "star_call": Since("identity(*(x,))"),
    "double_star_call": Since("identity(**{'value': x})"),
    "method_call": Since("OBJECT.method(x)"),
    "c_call": Since("abs(x)"),
    "c_method_call": Since("'a'.upper()"),
    "type_call": Since("int(x)"),
    "str_call": Since("str(x)"),
    "class_call": Since("Thing(x)"),
    "isinstance_call": Since("isinstance(x, int)"),
    "added": Since("x + 1"),
    "added_floats": Since("0.5 + 1.5 * x"),
    "added_texts": Since("'a' + str(x)"),
    "divided": Since("x / 2"),
    "power": Since("x ** 2"),
    "compared": Since("x < 3"),
    "compared_texts": Since("str(x) == 'a'"),
    "compared_in_a_chain": Since("0 <= x < 9"),
    "identical": Since("x is None"),
    "contained": Since("x in LIST"),
    "negated": Since("not x"),
    "negative": Since("-x"),
    "inverted": Since("~x"),
    "both": Since("x and 1"),
    "either": Since("x or 1"),
    "one_or_the_other": Since("1 if x else 2"),
    "made_tuple": Since("(x, 1)"),
    "made_list": Since("[x, 1]"),
    "made_set": Since("{x, 1}"),
    "made_dict": Since("{'a': x}"),
    "made_dict_of_variables": Since("{x: x}"),
    "made_dict_of_constant_keys": Since("{'a': x, 'b': x, 'c': 1}"),
    "unpacked_list": Since("[*LIST, x]"),
    "unpacked_tuple": Since("(*LIST, x)"),
    "unpacked_set": Since("{*LIST, x}"),
    "unpacked_dict": Since("{**DICT, 'b': x}"),
    "formatted": Since("f'{x}'"),
    "formatted_by_a_specification": Since("f'{x:>4}'"),
    "formatted_and_joined": Since("f'{x} and {x!r}'"),
    "made_function": Since("lambda: x"),
    "made_function_with_a_default": Since("lambda y=x: y"),
    "list_comprehension": Since("[y for y in LIST]"),
    "list_comprehension_of_a_closure": Since("[y + x for y in LIST if y]"),
    "set_comprehension": Since("{y for y in LIST}"),
    "dict_comprehension": Since("{y: y for y in LIST}"),
    "nested_comprehension": Since("[[y * z for y in LIST] for z in LIST]"),
    "generator_expression": Since("(y for y in LIST)"),
    "generator_expression_in_a_call": Since("sum(y for y in LIST)"),
    "named": Since("(y := x + 1)", (3, 8)),
    "template": Since("t'{x}'", (3, 14)),
}

_LONG = "\n".join(["if x > 99:", *(f"    v{number} = {number + 1000}, x" for number in range(300)), "return x"])
BODIES = {
    "nothing": Since("pass"),
    "bare_return": Since("return"),
    "two_returns": Since("if x % 2:\n    return 1\nreturn x"),
    "return_or_nothing": Since("if x % 2:\n    return identity(x)"),
    "return_in_for": Since("for y in LIST:\n    if y == x % 3:\n        return y"),
    "return_in_while": Since("while True:\n    x -= 1\n    if x < 0:\n        return x"),
    "loop_first": Since("while x > 0:\n    x -= 1\nreturn x"),
    "return_in_with": Since("with Manager():\n    return x"),
    "return_in_two_withs": Since("with Manager(), Manager():\n    return identity(x)"),
    "return_after_with": Since("with Manager() as y:\n    identity(y)\nreturn y"),
    "return_in_try": Since("try:\n    return x\nfinally:\n    identity(x)"),
    "return_in_except": Since("try:\n    fails(x)\nexcept Failure:\n    return x"),
    "return_of_what_was_caught": Since("try:\n    fails(x)\nexcept Failure as error:\n    return error.args"),
    "return_in_finally": Since("try:\n    fails(x)\nfinally:\n    return x"),
    "return_in_else": Since("try:\n    identity(x)\nexcept Failure:\n    pass\nelse:\n    return x"),
    "return_in_match": Since("match x:\n    case 0:\n        return 'none'\n    case _:\n        return x", (3, 10)),
    "return_in_match_of_a_class": Since(
        "match OBJECT:\n    case Thing(value=y):\n        return y\n    case {'a': y, **z}:\n        return z", (3, 10)
    ),
    "except_star": Since("try:\n    fails(x)\nexcept* Failure:\n    x += 1\nreturn x", (3, 11)),
    "raises": Since("raise Failure(x)"),
    "raises_at_times": Since("if x % 2:\n    raise Failure(x)\nreturn x"),
    "raises_in_a_callee": Since("return fails(x)"),
    "raises_in_c": Since("return int('x')"),
    "raises_in_an_operator": Since("return x / 0"),
    "raises_in_an_item": Since("return DICT[LIST]"),
    "raises_in_a_loop": Since("for y in LIST:\n    if y == x % 3:\n        raise Failure(y)"),
    "raises_in_with": Since("with Manager():\n    raise Failure(x)"),
    "raises_from": Since("raise Failure(x) from None"),
    "raises_anew": Since("try:\n    fails(x)\nexcept Failure:\n    raise"),
    "raises_another": Since("try:\n    fails(x)\nexcept Failure as error:\n    raise ValueError(x) from error"),
    "raises_in_try": Since("try:\n    fails(x)\nfinally:\n    identity(x)"),
    "raises_in_finally": Since("try:\n    identity(x)\nfinally:\n    fails(x)"),
    "raises_in_else": Since("for y in LIST:\n    pass\nelse:\n    fails(x)"),
    "asserts": Since("assert x < 0, x\nreturn x"),
    "unbound": Since("if x < 0:\n    y = 1\nreturn y"),
    "suppressed": Since("with Manager(True):\n    raise Failure(x)"),
    "suppressed_in_a_loop": Since("for y in LIST:\n    with Manager(True):\n        fails(y)\nreturn y"),
    "suppressed_by_contextlib": Since("with contextlib.suppress(Failure):\n    fails(x)\nreturn x"),
    "closure": Since("y = x\n\ndef inner():\n    return y\n\nreturn inner()"),
    "argument_in_a_cell": Since("def inner():\n    return x\n\nreturn inner"),
    "nonlocal_name": Since("def inner():\n    nonlocal x\n    x += 1\n\ninner()\nreturn x"),
    "written_global": Since("global WRITTEN\nWRITTEN = x"),
    "written_attribute": Since("OBJECT.value = x"),
    "written_item": Since("DICT['b'] = x"),
    "deleted_name": Since("y = x\ndel y"),
    "unpacked_names": Since("y, *z = LIST\nreturn z"),
    "imported": Since("import os.path as y\nreturn y"),
    "class_made": Since("class Made:\n    value = x\n\nreturn Made"),
    "sorts_by_itself": Since("return sorted(LIST, key=lambda y: -y)"),
    "long_jumps": Since(_LONG),
    "nested_tries": Since(
        "try:\n    try:\n        fails(x)\n    finally:\n        identity(x)\nexcept Failure:\n    return x\nreturn -x"
    ),
    "breaks_out_of_with": Since("for y in LIST:\n    with Manager():\n        if y:\n            break\nreturn y"),
    "continues_in_try": Since(
        "for y in LIST:\n    try:\n        continue\n    finally:\n        identity(y)\nreturn y"
    ),
}

SIGNATURES = {
    "star_arguments": ("*values", "return values", "call('{name}', x, x)"),
    "keyword_arguments": ("**values", "return values", "call('{name}', a=x, b=x)"),
    "both_arguments": ("*values, **others", "return others", "call('{name}', x, a=x)"),
    "keyword_only": ("*, x, y=1", "return x + y", "call('{name}', x=x)"),
    "default": ("x=1, y=2", "return y", "call('{name}')"),
    "annotated": ("x: int, y: 'str' = ''", "return x", "call('{name}', x)"),
    "no_argument": ("", "return LIST", "call('{name}')"),
    "recursive": ("x", "return call('{name}', x - 1) if x > 0 else 0", "call('{name}', x)"),
    "recursive_and_raises": ("x", "return call('{name}', x - 1) if x > 0 else fails(x)", "call('{name}', x)"),
    "called_by_map": ("x", "return x", "by('{name}', lambda f: list(map(f, [x])))"),
    "called_by_sorted": ("x", "return -x", "by('{name}', lambda f: sorted([x], key=f))"),
    "called_by_partial": ("x", "return x", "by('{name}', lambda f: functools.partial(f, x)())"),
    "called_by_reduce": ("x, y", "return y", "by('{name}', lambda f: functools.reduce(f, [x, 1]))"),
    "called_by_map_and_raises": ("x", "raise Failure(x)", "by('{name}', lambda f: list(map(f, [x])))"),
    "called_by_a_wrapper": ("x", "return x", "by('{name}', lambda f: decorated(f)(x))"),
    "called_by_a_property": ("x", "return 1", "by('{name}', lambda f: type('Of', (), {{'it': property(f)}})().it)"),
    "called_as_a_method": ("self, x", "return x", "by('{name}', lambda f: type('Of', (), {{'it': f}})().it(x))"),
    "called_as_an_operator": ("self, x", "return x", "by('{name}', lambda f: type('Of', (), {{'__add__': f}})() + x)"),
    "called_as_an_iterator": (
        "self",
        "raise Failure",
        "by('{name}', lambda f: next(type('Of', (), {{'__next__': f, '__iter__': id}})()))",
    ),
    "called_by_a_destructor": (
        "self",
        "return 1",
        "by('{name}', lambda f: type('Of', (), {{'__del__': f}})() and None)",
    ),
    "equal_to_another": ("x", "return x ^ 5", "call('{name}', x)"),
    "equal_to_one": ("x", "return x ^ 5", "call('{name}', x)"),
}
"""Of plain functions: parameters, body, and how one call is made."""


@dataclass(frozen=True)
class Made:
    """One function.

    Attributes:
        source: its definition.
        calls: the statements that make one round of calls of it, of a number ``x``.
        suspends: whether it is a generator, a coroutine or an asynchronous generator.
    """

    name: str
    source: str
    calls: str
    suspends: bool = False


class Flavour(NamedTuple):
    """What kind of function a body is put into, and how it first waits."""

    name: str
    define: str
    waits: str
    ends: str = "return {}"


FLAVOURS = (
    Flavour("generator", "def", "yield x"),
    Flavour("coroutine", "async def", "await pause()"),
    Flavour("async_generator", "async def", "yield x", "y = {}\nyield y"),
)
_ENDINGS = ("whole", "close", "throw", "drop", "never")
_SURVIVES = ("whole", "throw", "never")  # what catches GeneratorExit and returns has returned, or was freed before
_WAITING = {
    "plainly": "{waits}\nreturn_here",
    "in_a_loop": "for y in LIST:\n    {waits}\nreturn_here",
    "in_with": "with Manager():\n    {waits}\nreturn_here",
    "in_try": "try:\n    {waits}\nfinally:\n    identity(x)\nreturn_here",
    "in_try_that_catches": "try:\n    {waits}\nexcept Failure:\n    {waits}\nreturn_here",
    "in_except": "try:\n    fails(x)\nexcept Failure:\n    {waits}\nreturn_here",
    "twice": "{waits}\n{waits}\nreturn_here",
    "and_raises": "{waits}\nraise ValueError(x)",
    "in_with_that_suppresses": "with Manager(True):\n    {waits}\n    fails(x)\nreturn_here",
}


def defined(name: str, parameters: str, body: str, define: str = "def") -> str:
    """The definition of a function."""
    return f"{define} {name}({parameters}):\n{textwrap.indent(body, '    ')}\n"


def plain(minor: tuple[int, int]) -> Iterator[Made]:
    """Functions that do not suspend."""
    for kind, expression in EXPRESSIONS.items():
        if expression.minor <= minor:
            name = f"returns_{kind}"
            yield Made(name, defined(name, "x", f"return {expression.text}"), f"call('{name}', x)")
    for kind, body in BODIES.items():
        if body.minor <= minor:
            name = f"plain_{kind}"
            yield Made(name, defined(name, "x", body.text), f"quietly(call, '{name}', x)")
    for kind, (parameters, text, call) in SIGNATURES.items():
        name = f"is_{kind}"
        source = defined(name, parameters, text.replace("{name}", name))
        yield Made(name, source, f"quietly(lambda: {call.format(name=name)})")


def suspending(minor: tuple[int, int]) -> Iterator[Made]:
    """Generators, coroutines and asynchronous generators."""
    for flavour in FLAVOURS:
        for kind, expression in EXPRESSIONS.items():
            if expression.minor <= minor:
                name = f"{flavour.name}_of_{kind}"
                body = f"{flavour.waits}\n{flavour.ends.format(expression.text)}"
                yield _driven(name, body, flavour, ("whole",))
        for kind, since in BODIES.items():
            if since.minor <= minor and flavour.name != "async_generator":
                yield _driven(f"{flavour.name}_{kind}", f"{flavour.waits}\n{since.text}", flavour, ("whole",))
        for kind, text in _WAITING.items():
            ends = "return" if flavour.name == "async_generator" else "return x"
            body = text.format(waits=flavour.waits).replace("return_here", ends)
            endings = _SURVIVES if "suppresses" in kind else _ENDINGS
            yield _driven(f"{flavour.name}_waits_{kind}", body, flavour, endings)


def _driven(name: str, body: str, flavour: Flavour, endings: Sequence[str]) -> Made:
    calls = "\n".join(f"quietly(drive, '{name}', '{how}', x)" for how in endings)
    return Made(name, defined(name, "x", body, flavour.define), calls, suspends=True)


def module(made: Sequence[Made], calls: int = CALLS) -> str:
    """The file that ``tests/targets/made.py`` takes. ``calls``: rounds of each function."""
    return "\n\n".join(
        [
            PRELUDE,
            *(each.source for each in made),
            *(defined(f"round_of_{each.name}", "x", each.calls) for each in made if each.calls),
            f"ROUNDS = {{{', '.join(f'{each.name!r}: round_of_{each.name}' for each in made if each.calls)}}}",
            f"NAMES, CALLS = {[each.name for each in made]}, {calls}\n",
        ]
    )
