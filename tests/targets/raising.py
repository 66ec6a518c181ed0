"""The part of ``scenarios.py`` that raises: a call ends where its frame ends, and whoever catches is told apart."""

import os
import signal
import threading

from protocol import Scenarios, truth

N = 50
scenario = Scenarios()


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


def fails_in_handler():
    try:
        fails()
    except ValueError:
        raise KeyError


@scenario(
    fails=truth(raised=4 * N),
    fails_through_finally=truth(raised=N),
    plain_in_finally=truth(2 * N),
    returns_from_finally=truth(N),
    fails_in_handler=truth(raised=N),
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
        try:
            fails_in_handler()
        except KeyError:
            pass


def three_levels():
    two_levels()


def two_levels():
    one_level()


def one_level():
    raise LookupError


@scenario(three_levels=truth(raised=N), two_levels=truth(raised=N), one_level=truth(raised=N))
def run_unwinding():
    for _ in range(N):
        try:
            three_levels()
        except LookupError:
            pass


class Broken:
    def __init__(self):
        raise ValueError

    @classmethod
    def made(cls):
        return cls.__new__(cls)

    @property
    def missing(self):
        raise AttributeError

    def __getitem__(self, place):
        raise IndexError

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration


class Ends:
    def __del__(self):
        try:
            fails_at_death()
        except ValueError:
            pass


def fails_at_death():
    raise ValueError


scenario.known.update({"Broken." + name: truth(raised=N) for name in ("missing", "__getitem__", "__next__")})
scenario.known["Broken.__init__"] = truth(raised=N)
scenario.known["Broken.__iter__"] = scenario.known["Broken.made"] = truth(N)
scenario.known["Ends.__del__"] = truth(N)


@scenario(fails_at_death=truth(raised=N))
def run_swallowed_by_c():
    for _ in range(N):
        try:
            Broken()
        except ValueError:
            pass
        broken = Broken.made()
        hasattr(broken, "missing")
        list(broken)  # asks for a length first, then iterates
        try:
            broken[0]
        except IndexError:
            pass
        Ends()


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


def exits():
    raise SystemExit


@scenario(exits=truth(raised=4))
def run_system_exit_in_thread():
    for _ in range(4):
        thread = threading.Thread(target=exits)
        thread.start()
        thread.join()


def on_signal(number, frame):
    on_signal.seen = True


def waits_for_signal():
    on_signal.seen = False
    os.kill(os.getpid(), signal.SIGUSR1)
    while not on_signal.seen:
        pass


def interrupted():
    os.kill(os.getpid(), signal.SIGINT)
    while True:
        pass


@scenario(on_signal=truth(N), waits_for_signal=truth(N), interrupted=truth(raised=N))
def run_signals():
    before = signal.signal(signal.SIGUSR1, on_signal), signal.signal(signal.SIGINT, signal.default_int_handler)
    for _ in range(N):
        waits_for_signal()
        try:
            interrupted()
        except KeyboardInterrupt:
            pass
    signal.signal(signal.SIGUSR1, before[0])
    signal.signal(signal.SIGINT, before[1])
