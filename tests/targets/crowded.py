"""Threads that compute without a pause, all at once: functions of their own, and ones that all of them call.

crowded.py [THREADS [ROUNDS [DURATIONS_FILE]]]

What is made while the program runs is called by all threads at its first moment. The file gets two numbers of each
call of ``measured``, int64 nanoseconds, as ``requests.py`` writes them.
"""

import sys
import threading
from array import array

from protocol import call_in_threads, clock_ns, serve, truth, write_logs

THREADS = int(sys.argv[1]) if len(sys.argv) > 1 else 4
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 200
DURATIONS_FILE = sys.argv[3] if len(sys.argv) > 3 else None
FRESH = 20  # functions that are made in each run
DEPTHS = []


def made(name, body):
    space = {}
    exec(compile(f"def {name}(n):\n    return {body}\n", __file__, "exec"), space)
    return space[name]


OWN = [made(f"own_{number}", "sum(i * i for i in range(n % 7))") for number in range(THREADS)]


def shared(number):
    return number * number


def descending(depth):
    return descending(depth - 1) if depth else 0


def bottomless(depth, deepest):
    deepest[0] = depth  # the call that is refused has not begun, and is none
    bottomless(depth + 1, deepest)


def failing(number):
    if number % 5 == 0:
        raise ValueError(number)
    return number


def yielding(count):
    for number in range(count):
        yield number


async def awaiting(number):
    return number


def measured(number, durations):
    began = clock_ns()
    for _ in range(number % 97):
        pass
    durations.append(clock_ns() - began)


def work(own, barrier, fresh, durations):
    barrier.wait()
    for function in fresh:
        barrier.wait()  # all threads come by it for the first time at once
        function(1)
    deepest = [0]
    try:
        bottomless(1, deepest)
    except RecursionError:
        DEPTHS.append(deepest[0])
    for number in range(ROUNDS):
        own(number)
        shared(number)
        descending(5)
        try:
            failing(number)
        except ValueError:
            pass
        for _ in yielding(3):
            pass
        try:
            yielding(3).throw(KeyError)  # into one that has not begun: no call
        except KeyError:
            pass
        try:
            awaiting(number).send(None)
        except StopIteration:
            pass
        began = clock_ns()
        measured(number, durations)
        durations.append(clock_ns() - began)


def run():
    del DEPTHS[:]
    barrier = threading.Barrier(THREADS)
    fresh = [made(f"fresh_{number}", "n") for number in range(FRESH)]
    logs = [array("q") for _ in range(THREADS)]
    call_in_threads(work, [(own, barrier, fresh, log) for own, log in zip(OWN, logs)])
    write_logs(DURATIONS_FILE, logs)
    calls = THREADS * ROUNDS
    raised = THREADS * len(range(0, ROUNDS, 5))
    known = {f"own_{number}": truth(ROUNDS) for number in range(THREADS)}
    known.update({f"fresh_{number}": truth(THREADS) for number in range(FRESH)})
    known.update(
        {
            "bottomless": truth(raised=sum(DEPTHS)),
            "shared": truth(calls),
            "descending": truth(6 * calls),
            "failing": truth(calls - raised, raised),
            "yielding": truth(calls, suspensions=3 * calls),
            "awaiting": truth(calls),
            "measured": truth(calls),
            "work": truth(THREADS),
            "made": truth(FRESH),
        }
    )
    return known


if __name__ == "__main__":
    serve(run)
