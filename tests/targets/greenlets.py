"""Greenlets, with the package of that name: calls of one thread that do not end in the order in which they began.

greenlets.py [gevent]    with gevent's loop too
"""

import sys

from greenlet import getcurrent, greenlet
from protocol import Scenarios, serve, truth

N = 40
DEPTH = 5
CROWD = 1500
scenario = Scenarios()


def switches_inside(depth):
    if depth:
        return switches_inside(depth - 1)
    for _ in range(3):
        getcurrent().parent.switch()
    return depth


def fails_inside(depth):
    if depth:
        fails_inside(depth - 1)
    getcurrent().parent.switch()
    raise ValueError


@scenario(switches_inside=truth(N * (DEPTH + 1)), fails_inside=truth(raised=N * (DEPTH + 1)))
def run_interleaved():
    """All are open at once and go on in turn, forwards and backwards."""
    every = [greenlet(switches_inside) for _ in range(N)]
    failing = [greenlet(fails_inside) for _ in range(N)]
    for each in every + failing:
        each.switch(DEPTH)
    for each in reversed(every):
        each.switch()
    for each in failing:
        try:
            each.switch()
        except ValueError:
            pass
    for each in every + every[::-1]:
        each.switch()
    assert all(each.dead for each in every + failing)


def waits_in_a_crowd():
    getcurrent().parent.switch()


@scenario(waits_in_a_crowd=truth(CROWD))
def run_crowded():
    """More open calls in the thread than its table has places; the oldest ends first."""
    every = [greenlet(waits_in_a_crowd) for _ in range(CROWD)]
    for each in every + every:
        each.switch()


def killed():
    getcurrent().parent.switch()


def left_alone():
    getcurrent().parent.switch()


@scenario(killed=truth(raised=N), left_alone=truth(raised=N))
def run_killed():
    for _ in range(N):
        each = greenlet(killed)
        each.switch()
        each.throw()  # GreenletExit
        each = greenlet(left_alone)
        each.switch()
        del each  # the same, when it is collected


def numbers():
    for number in range(4):
        getcurrent().parent.switch(number)
        yield number


def sums():
    return sum(numbers())


@scenario(numbers=truth(N, suspensions=4 * N), sums=truth(N))
def run_generators():
    every = [greenlet(sums) for _ in range(N)]
    while not all(each.dead for each in every):
        for each in every:
            each.switch()


def request(number):
    return reads(number) + computes(number)


def reads(number):
    gevent.sleep(0.001 * (number % 3))
    return number


def computes(number):
    gevent.sleep(0)
    if number % 10 == 0:
        raise ValueError
    return number


def run_gevent():
    for each in gevent.joinall([gevent.spawn(request, number) for number in range(N)]):
        each.exception  # a failed one has it


if __name__ == "__main__":
    if sys.argv[1:] == ["gevent"]:
        import gevent

        gevent.get_hub().print_exception = lambda *details: None
        failing = N // 10
        scenario(
            request=truth(N - failing, raised=failing),
            reads=truth(N),
            computes=truth(N - failing, raised=failing),
        )(run_gevent)
    serve(scenario.run)
