"""Every way to call a Python function, each with its numbers known by construction.

A scenario is a function of its own, and beside it stands the truth of the functions that it calls. Numbers are for one
``run``. The scenario functions themselves are called once and are not part of the truth. What raises, suspends, runs in
an event loop or in several threads stands in modules of its own; run as a program, this one runs them all.
"""

import functools
import re
import sys

import looping
import parallel
import raising
import suspending
from protocol import Scenarios, added, serve, truth

N = 50
scenario = Scenarios()


def plain(value):
    return value


@scenario(plain=truth(N))
def run_plain():
    for number in range(N):
        plain(number)


def factorial(number):
    return 1 if number <= 1 else number * factorial(number - 1)


@scenario(factorial=truth(20 * N))
def run_recursive():
    for _ in range(N):
        factorial(20)


def even(number):
    return True if number == 0 else odd(number - 1)


def odd(number):
    return False if number == 0 else even(number - 1)


@scenario(even=truth(6 * N), odd=truth(5 * N))
def run_mutual():
    for _ in range(N):
        even(10)


class Thing:
    def __init__(self, value):
        self.value = value

    def __call__(self):
        return self.value

    def method(self):
        return self.value

    @property
    def shown(self):
        return self.value

    @classmethod
    def built(cls):
        return None

    @staticmethod
    def fixed():
        return None

    def __eq__(self, other):
        return self is other

    def __len__(self):
        return 1

    def __getitem__(self, place):
        return place


scenario.known.update(
    {
        "Thing." + name: truth(N)
        for name in ("__init__", "__call__", "method", "shown", "built", "fixed", "__eq__", "__len__", "__getitem__")
    }
)


@scenario()
def run_methods():
    for number in range(N):
        thing = Thing(number)
        thing()
        thing.method()
        thing.shown  # the getter is called
        Thing.built()
        Thing.fixed()
        thing == number
        len(thing)
        thing[number]


class Watched:
    def __getattribute__(self, name):
        return name


class Fallback:
    def __getattr__(self, name):
        return name

    def __setattr__(self, name, value):
        return None


scenario.known.update(
    {name: truth(N) for name in ("Watched.__getattribute__", "Fallback.__getattr__", "Fallback.__setattr__")}
)


@scenario()
def run_attributes():
    watched, fallback = Watched(), Fallback()
    for number in range(N):
        watched.anything
        fallback.anything
        fallback.anything = number


class Mortal:
    def __new__(cls):
        return super().__new__(cls)

    def __del__(self):
        plain_at_death()


def plain_at_death():
    return None


scenario.known.update({name: truth(N) for name in ("Mortal.__new__", "Mortal.__del__", "plain_at_death")})


@scenario()
def run_finalisers():
    for _ in range(N):
        Mortal()


class Inherits(Thing):
    def __init__(self, value):
        super().__init__(value)


class Metaclass(type):
    def __call__(cls, *arguments):
        return super().__call__(*arguments)


scenario.known["Inherits.__init__"] = truth(N)
scenario.known["Metaclass.__call__"] = truth(N)
scenario.known["Thing.__init__"] = truth(2 * N)
scenario.known["run_classes.<locals>.Body"] = truth(N)
scenario.known["run_classes.<locals>.Body.__init__"] = truth(N)


@scenario()
def run_classes():
    for number in range(N):
        Inherits(number)

        class Body(metaclass=Metaclass):
            value = number

            def __init__(self):
                self.own = self.value

        Body()


def sort_key(value):
    return -value


def mapped(value):
    return value + 1


def wanted_by_filter(value):
    return value % 2


def partially(one, other):
    return one + other


def substituted(match):
    return match.group().upper()


def compared(one, other):
    return one - other


def reduced(one, other):
    return one + other


@scenario(
    sort_key=truth(N),
    mapped=truth(N),
    wanted_by_filter=truth(N),
    partially=truth(N),
    substituted=truth(N),
    compared=truth(N - 1),
    reduced=truth(N - 1),
)
def run_callbacks_from_c():
    sorted(range(N), key=sort_key)
    list(map(mapped, range(N)))
    list(filter(wanted_by_filter, range(N)))
    add_one = functools.partial(partially, 1)
    for number in range(N):
        add_one(number)
    re.sub("a", substituted, "ab" * N)
    sorted(range(N), key=functools.cmp_to_key(compared))  # in order already: each with its neighbour
    functools.reduce(reduced, range(N))


scenario.known["run_lambda.<locals>.<lambda>"] = truth(N)


@scenario()
def run_lambda():
    double = lambda value: 2 * value  # noqa: E731 it is what is under test
    for number in range(N):
        double(number)


scenario.known["run_comprehensions.<locals>.<genexpr>"] = truth(1, suspensions=N)
if sys.version_info < (3, 12):  # inlined since (PEP 709)
    scenario.known["run_comprehensions.<locals>.<listcomp>"] = truth(1)
    scenario.known["run_comprehensions.<locals>.<dictcomp>"] = truth(1)
    scenario.known["run_comprehensions.<locals>.<setcomp>"] = truth(1)


@scenario()
def run_comprehensions():
    sum(number for number in range(N))
    [number for number in range(N)]
    {number: number for number in range(N)}
    {number for number in range(N)}


def decorator(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        return function(*arguments)

    return wrapper


@decorator
def decorated(value):
    return value


@functools.lru_cache(maxsize=None)
def cached(value):
    return value


def make_adder(one):
    def adder(other):
        return one + other

    return adder


scenario.known["decorator.<locals>.wrapper"] = truth(N)
scenario.known["make_adder.<locals>.adder"] = truth(N)


@scenario(decorated=truth(N), cached=truth(1), make_adder=truth(N))
def run_functions_of_functions():
    cached.cache_clear()
    for number in range(N):
        decorated(number)
        cached(1)
        make_adder(number)(1)


def twin():
    return "older"


older = twin


def twin():
    return "younger"


@scenario(twin=truth(3 + 5))
def run_namesakes():
    for _ in range(3):
        older()
    for _ in range(5):
        twin()


# each time a code object of its own, at an address that an earlier one of the other name may have had
MADE = [compile(f"def {name}(): pass\n{name}()", __file__, "exec") for name in ("made_first", "made_second")]
SOURCES = [f"def {name}(): pass\n{name}()" for name in ("born_odd", "born_even", "born_odd")]


@scenario(made_first=truth(N), made_second=truth(N), born_odd=truth(2 * N), born_even=truth(N))
def run_exec():
    for _ in range(N):
        for code in MADE:
            exec(code, {})
        for source in SOURCES:
            exec(compile(source, __file__, "exec"), {})


def run():
    modules = raising, suspending, looping, parallel
    return added([scenario.run()] + [module.scenario.run() for module in modules])


if __name__ == "__main__":
    serve(run)
