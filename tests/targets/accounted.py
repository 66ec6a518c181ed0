"""Calls inside of calls, so many that it is known what passes the probes while each of them runs."""

import time

from protocol import serve, truth

TIMES, INSIDE, DEPTH, STEPS = 50, 7, 5, 3


def small():
    pass


def calling():
    for _ in range(INSIDE):
        small()


def descending(depth):
    if depth:
        descending(depth - 1)


def stepping():
    for number in range(STEPS):
        small()
        yield number


def sleeping():
    for number in range(STEPS):
        yield number


def failing():
    small()
    raise KeyError


def run():
    for _ in range(TIMES):
        calling()
        descending(DEPTH)
        for _ in stepping():
            small()  # while it is suspended
        for _ in sleeping():
            small()
            time.sleep(0.0001)
        try:
            failing()
        except KeyError:
            pass
    return {
        "calling": truth(TIMES),
        "descending": truth((DEPTH + 1) * TIMES),
        "stepping": truth(TIMES, suspensions=STEPS * TIMES),
        "sleeping": truth(TIMES, suspensions=STEPS * TIMES),
        "failing": truth(raised=TIMES),
    }


serve(run)
