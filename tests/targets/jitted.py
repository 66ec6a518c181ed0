"""Plain functions of many kinds, called in loops that are hot enough for CPython's JIT (3.14 and later).

``run`` takes their names, and loops through the calls of these; it does so once before it says that it is ready.
"""

import functools
import operator
import sys

from protocol import call_in_threads, serve, truth

TIMES = 4500  # of a loop: more than make it hot (JUMP_BACKWARD_INITIAL_VALUE, pycore_backoff.h)
loops = {}


class Failure(Exception):
    pass


def loop(*names):
    """Decorates a loop over the calls of functions with these names; it returns what became of these."""

    def register(function):
        for name in names:
            loops[name] = function
        return function

    return register


def constant():
    return 7


@loop("constant")
def constants():
    total = 0
    for _ in range(TIMES):
        total += constant()
    return {"constant": truth(TIMES)}


def adds(one, other=2, *more, key=3, **rest):
    return one + other + key


@loop("adds")
def additions():
    for number in range(TIMES):
        adds(number)
        adds(number, 5)
        adds(number, 5, 6, 7)
        adds(number, key=1)
        adds(number, key=1, further=2)
        adds(*(1, 2), **{"key": 4})
    return {"adds": truth(6 * TIMES)}


def outer(number):
    return inner(number) + inner(number + 1)


def inner(number):
    return number * 2


@loop("outer", "inner")
def nested():
    for number in range(TIMES):
        outer(number)
    return {"outer": truth(TIMES), "inner": truth(2 * TIMES)}


def fib(number):
    if number < 2:
        return number
    return fib(number - 1) + fib(number - 2)


@loop("fib")
def fibs():
    for _ in range(100):
        fib(9)
    return {"fib": truth(100 * 109)}


def descend(depth):
    return 0 if not depth else 1 + descend(depth - 1)


@loop("descend")
def descents():
    for _ in range(60):
        descend(150)
    return {"descend": truth(60 * 151)}


def returns_what_it_called(number):
    return number if not number else returns_what_it_called(number - 1)


@loop("returns_what_it_called")
def deep_in_the_hot():
    for _ in range(TIMES):
        returns_what_it_called(20)
    return {"returns_what_it_called": truth(21 * TIMES)}


def raises(number):
    if number % 3 == 0:
        raise Failure(number)
    return number


@loop("raises")
def failures():
    failed = 0
    for number in range(TIMES):
        try:
            raises(number)
        except Failure:
            failed += 1
    return {"raises": truth(TIMES - failed, raised=failed)}


def passes_on(number):
    return raises_always(number)


def raises_always(number):
    raise Failure(number)


@loop("passes_on", "raises_always")
def passed_on():
    for number in range(TIMES):
        try:
            passes_on(number)
        except Failure:
            pass
    return {"passes_on": truth(raised=TIMES), "raises_always": truth(raised=TIMES)}


def catches(number):
    try:
        if number & 1:
            raise Failure
        return 1
    except Failure:
        return 2
    finally:
        number = None


@loop("catches")
def catching():
    for number in range(TIMES):
        catches(number)
    return {"catches": truth(TIMES)}


def fails_inside(values, number):
    return values[number]


@loop("fails_inside")
def failing_inside():
    failed, values = 0, [1, 2, 3]
    for number in range(TIMES):
        try:
            fails_inside(values, number & 3)
        except IndexError:
            failed += 1
    return {"fails_inside": truth(TIMES - failed, raised=failed)}


def loops_itself(number):
    total = 0
    for each in range(number):
        total += each
    return total


@loop("loops_itself")
def looping():
    for _ in range(TIMES // 10):
        loops_itself(200)
    return {"loops_itself": truth(TIMES // 10)}


def by_c(value):
    return -value


@loop("by_c")
def called_by_c():
    values = list(range(500))
    for _ in range(4):
        sorted(values, key=by_c)
        list(map(by_c, values))
        functools.reduce(lambda one, other: one + by_c(other), values, 0)
    return {"by_c": truth(4 * 3 * 500)}


class Thing:
    def __init__(self, value):
        self.value = value

    def method(self, more):
        return self.value + more

    @property
    def shown(self):
        return self.value

    @staticmethod
    def static(value):
        return value

    def __add__(self, other):
        return self.value + other

    def __getitem__(self, index):
        return self.value + index

    def __call__(self, value):
        return value

    def __bool__(self):
        return self.value > 0


@loop("Thing.__init__", "Thing.method")
def things():
    for number in range(TIMES):
        Thing(number).method(1)
    return {"Thing.__init__": truth(TIMES), "Thing.method": truth(TIMES)}


@loop("Thing.shown", "Thing.static")
def shown():
    thing = Thing(1)
    for number in range(TIMES):
        thing.shown
        Thing.static(number)
    return {"Thing.shown": truth(TIMES), "Thing.static": truth(TIMES)}


@loop("Thing.__add__", "Thing.__getitem__")
def operated():
    thing = Thing(1)
    for number in range(TIMES):
        thing + number
        thing[number]
    return {"Thing.__add__": truth(TIMES), "Thing.__getitem__": truth(TIMES)}


@loop("Thing.__call__", "Thing.__bool__")
def called():
    thing = Thing(1)
    for number in range(TIMES):
        thing(number)
        if thing:
            number += 1
    return {"Thing.__call__": truth(TIMES), "Thing.__bool__": truth(TIMES)}


def maker(start):
    def closure(number):
        return start + number

    return closure


closed = maker(3)


@loop("maker.<locals>.closure")
def closures():
    kept = []
    for number in range(TIMES):
        closed(number)
        maker(number)(1)
        if number % 10 == 0:
            kept.append(maker(number))  # each holds the code, too
    for each in kept:
        each(1)
    return {"maker.<locals>.closure": truth(2 * TIMES + len(kept))}


def polymorphic(value):
    return value + value


@loop("polymorphic")
def polymorphism():
    values = [1, 2.5, "x", (1,), [2]]
    for number in range(TIMES):
        polymorphic(values[number % 5])
    return {"polymorphic": truth(TIMES)}


def comprehends(number):
    return [each + number for each in range(5)]


@loop("comprehends")
def comprehended():
    for number in range(TIMES):
        comprehends(number)
    return {"comprehends": truth(TIMES)}


def looks_at_itself(number):
    return sys._getframe().f_code.co_name if number % 50 == 0 else number


@loop("looks_at_itself")
def looking():
    for number in range(TIMES):
        looks_at_itself(number)
    return {"looks_at_itself": truth(TIMES)}


def given_on(number):
    return number


def numbers_of():
    for number in range(TIMES):
        yield given_on(number)


@loop("given_on")
def generated():
    for _ in numbers_of():
        pass
    return {"given_on": truth(TIMES)}


def in_threads(number):
    return number + 1


@loop("in_threads")
def threaded():
    def many():
        for number in range(TIMES):
            in_threads(number)

    call_in_threads(many, [()] * 3)
    return {"in_threads": truth(3 * TIMES)}


def rarely(number):
    return operator.neg(number)


@loop("rarely")
def seldom():
    for number in range(TIMES * 4):
        if number % 64 == 0:
            rarely(number)
    return {"rarely": truth(-(-TIMES * 4 // 64))}


def with_a_block(number):
    with Block() as block:
        return block + number


class Block:
    def __enter__(self):
        return 1

    def __exit__(self, *error):
        return False


@loop("with_a_block")
def blocks():
    for number in range(TIMES):
        with_a_block(number)
    return {"with_a_block": truth(TIMES)}


def run(*wanted):
    known = {}
    for function in dict.fromkeys(loops[name] for name in wanted or loops):
        known.update(function())
    return known


if __name__ == "__main__":
    run()
    serve(run)
