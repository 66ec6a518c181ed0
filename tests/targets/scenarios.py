"""Every way to call a Python function, each with its numbers known by construction.

A scenario is a function of its own, and beside it stands the truth of the functions that it calls. Numbers are for one
``run``. The scenario functions themselves are called once and are not part of the truth.
"""

import sys
import threading

from protocol import Scenarios, serve, truth

N = 100
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


scenario.known.update(
    {"Thing." + name: truth(N) for name in ("__init__", "__call__", "method", "shown", "built", "fixed")}
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


def sort_key(value):
    return -value


def mapped(value):
    return value + 1


@scenario(sort_key=truth(N), mapped=truth(N))
def run_callbacks_from_c():
    sorted(range(N), key=sort_key)
    list(map(mapped, range(N)))


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


class Guard:
    def __enter__(self):
        return self

    def __exit__(self, *details):
        return True


scenario.known.update({"Guard.__enter__": truth(N), "Guard.__exit__": truth(N)})


def fails():
    raise ValueError


def fails_through_finally():
    try:
        fails()
    finally:
        plain_in_finally()


def plain_in_finally():
    return None


def returns_from_finally():
    try:
        fails()
    except ValueError:
        return "handled"
    finally:
        plain_in_finally()


@scenario(
    fails=truth(raised=3 * N),
    fails_through_finally=truth(raised=N),
    plain_in_finally=truth(2 * N),
    returns_from_finally=truth(N),
)
def run_raising():
    for _ in range(N):
        with Guard():
            fails()
        try:
            fails_through_finally()
        except ValueError:
            pass
        returns_from_finally()


deepest = 0


def bottomless(depth):
    global deepest
    deepest = depth  # no call here: it could be the one that is refused
    bottomless(depth + 1)


@scenario()
def run_recursion_error():
    # The depth is the interpreter's to choose. The call that it refuses has run no instruction, and is none: up to 3.10
    # the evaluation function is entered for it all the same.
    try:
        bottomless(1)
    except RecursionError:
        scenario.known["bottomless"] = truth(raised=deepest)


def called_in_thread(value):
    return value


def thread_body():
    for number in range(5 * N):
        called_in_thread(number)


@scenario(called_in_thread=truth(4 * 5 * N), thread_body=truth(4))
def run_threads():
    threads = [threading.Thread(target=thread_body) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    import suspending

    scenario.functions.extend(suspending.scenario.functions)
    scenario.known.update(suspending.scenario.known)
    serve(scenario.run)
