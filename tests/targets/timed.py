"""Calls that time themselves, from within and from around: what is measured from outside lies between the two.

timed.py FILE

Each run writes {qualname: {"wall": [[inner, outer], ...], "active": [[inner, outer], ...]}} to the file, nanoseconds:
``inner`` from the first statement of a call to its last, ``outer`` from before the call to after it. ``active`` is the
time that a generator or coroutine really ran.
"""

import asyncio
import json
import sys
import threading
import time

from looping import run_loop
from protocol import clock_ns, serve, truth

N = 40
log = {}


def note(name, kind, inner, outer):
    log.setdefault(name, {}).setdefault(kind, []).append([inner, outer])


def spin(duration_ns):
    until = clock_ns() + duration_ns
    while clock_ns() < until:
        pass


def naps(inner):
    began = clock_ns()
    time.sleep(0.001)
    inner.append(clock_ns() - began)


def spins(inner):
    began = clock_ns()
    spin(100000)
    inner.append(clock_ns() - began)


def fails_late(inner):
    began = clock_ns()
    try:
        time.sleep(0.0005)
        raise ValueError
    finally:
        inner.append(clock_ns() - began)


def around(function):
    inner = []
    began = clock_ns()
    try:
        function(inner)
    except ValueError:
        pass
    outer = clock_ns() - began
    note(function.__name__, "wall", inner[0], outer)


def plain_calls():
    for _ in range(N):
        for function in naps, spins, fails_late:
            around(function)


def steps(began, ran):
    began.append(clock_ns())
    for _ in range(3):
        resumed = clock_ns()
        spin(50000)
        ran.append(clock_ns() - resumed)
        yield
    began.append(clock_ns())


def generators():
    """The time between two steps is wall time alone."""
    for _ in range(N):
        inner, ran, outside = [], [], 0
        generator = steps(inner, ran)
        first = clock_ns()
        for _ in range(4):
            resumed = clock_ns()
            next(generator, None)
            ended = clock_ns()
            outside += ended - resumed
            time.sleep(0.0002)
        note("steps", "wall", inner[1] - inner[0], ended - first)
        note("steps", "active", sum(ran), outside)


class Pause:
    def __await__(self):
        yield


async def answers(began, ran):
    began.append(clock_ns())
    for _ in range(2):
        resumed = clock_ns()
        spin(50000)
        ran.append(clock_ns() - resumed)
        await Pause()
    await spends(ran)
    began.append(clock_ns())


async def spends(ran):
    resumed = clock_ns()
    spin(50000)
    ran.append(clock_ns() - resumed)


def coroutines():
    """Many at once, in turn: all the others run while one waits."""
    every = [([], [], []) for _ in range(N)]
    running = [(answers(inner, ran), outside) for inner, ran, outside in every]
    began, ended = [0] * N, [0] * N
    for _ in range(3):
        for number, (coroutine, outside) in enumerate(running):
            resumed = clock_ns()
            began[number] = began[number] or resumed
            try:
                coroutine.send(None)
            except StopIteration:
                ended[number] = clock_ns()
            outside.append(clock_ns() - resumed)
    for number, (inner, ran, outside) in enumerate(every):
        note("answers", "wall", inner[1] - inner[0], ended[number] - began[number])
        note("answers", "active", sum(ran), sum(outside))


async def handles(inner):
    began = clock_ns()
    await asyncio.sleep(0.002)
    spin(20000)
    inner.append(clock_ns() - began)


async def handled():
    inner = []
    began = clock_ns()
    await handles(inner)
    note("handles", "wall", inner[0], clock_ns() - began)


async def serves():
    await asyncio.gather(*[handled() for _ in range(N)])


def run():
    log.clear()
    threads = [threading.Thread(target=plain_calls) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    generators()
    coroutines()
    run_loop(serves())
    with open(sys.argv[1], "w") as file:
        json.dump(log, file)
    return {
        "naps": truth(2 * N),
        "spins": truth(2 * N),
        "fails_late": truth(raised=2 * N),
        "steps": truth(N, suspensions=3 * N),
        "answers": truth(N, suspensions=2 * N),
        "spends": truth(N),
        "handles": truth(N, suspensions=N),
    }


if __name__ == "__main__":
    serve(run)
