"""Calls that go on, one within the other, with arguments of every kind; the innermost speaks the protocol.

``run`` answers with ``[[address of the frame object, address of the code, [[name, text], …]], …]``.
"""

import sys

from protocol import serve

UNBOUND = "<unbound>"
CALLS = []
AHEAD = []
KEPT = []


def go_on(**arguments):
    """Notes the arguments of its caller, in the order in which the code names them, and makes the next call."""
    frame = sys._getframe(1)
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
    names = code.co_varnames[:count]
    assert set(names) == set(arguments)
    texts = [[name, UNBOUND if arguments[name] is UNBOUND else repr(arguments[name])] for name in names]
    CALLS.append([id(frame), id(code), texts])
    KEPT.append(frame)
    AHEAD.pop()()


def nothing():
    go_on()


def everything(a, b=2, *args, k, word="w", **kwargs):
    unused = "no argument"
    go_on(a=a, b=b, args=args, k=k, word=word, kwargs=kwargs)
    return unused


def in_cells(a, *rest, k=1, **more):
    def inner():
        return a, rest, k, more

    go_on(a=a, rest=rest, k=k, more=more)
    return inner


def some_in_cells(a, b, c):
    free = c

    def inner():
        return b, free

    go_on(a=a, b=b, c=c)
    return inner


def changed(a, b, gone, gone_from_cell):
    def inner():
        return b, gone_from_cell  # noqa: F821 (it is deleted below)

    a, b = [a], {b: b}
    del gone, gone_from_cell
    go_on(a=a, b=b, gone=UNBOUND, gone_from_cell=UNBOUND)
    return inner


def many(*numbers):
    go_on(numbers=numbers)


def generating(a, *, b):
    go_on(a=a, b=b)
    yield


class Api(list):
    def get(self, id):
        go_on(self=self, id=id)

    def closed_over(self, id):
        super().append(id)
        go_on(self=self, id=id)


def positional_only():
    """A function whose syntax is not of every version."""
    namespace = {"go_on": go_on}
    if sys.version_info >= (3, 8):
        exec("def function(a, /, b, *, c):\n go_on(a=a, b=b, c=c)", namespace)
    else:
        exec("def function(a, b, *, c):\n go_on(a=a, b=b, c=c)", namespace)
    return namespace["function"]


def run():
    return CALLS


if __name__ == "__main__":
    AHEAD += [
        lambda: serve(run),
        nothing,
        lambda: everything(1, k="k"),
        lambda: everything(None, 2.5, (), 10**100, k=b"", word="größe", extra=[1], more={}),
        lambda: in_cells("a", 1, 2, k=3, x=4),
        lambda: some_in_cells(1, (2,), "3"),
        lambda: changed(1, 2, 3, 4),
        lambda: many(*range(300)),
        lambda: next(generating([], b={1: 2})),
        lambda: Api([1]).get(7),
        lambda: Api([1]).closed_over(7),
        lambda: positional_only()(1, 2, c=3),
    ]
    AHEAD.pop()()
