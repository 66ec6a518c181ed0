"""A program that forks many children one after the other, each of which calls many functions: {function: numbers}."""

import os
import sys

from protocol import serve, truth

CHILDREN, FUNCTIONS = int(sys.argv[1]), int(sys.argv[2])
CALLS = 10
others = {}
for number in range(FUNCTIONS):
    exec("def other(): pass", others)  # a code object each
    others[number] = others.pop("other")
OTHERS = [others[number] for number in range(FUNCTIONS)]


def job():
    pass


def suspends():
    yield


def leaves(kept):
    """Ends the process with a generator that is suspended."""
    for _ in range(CALLS):
        job()
    for other in OTHERS:
        other()
    kept.append(suspends())
    next(kept[0])
    os._exit(0)


def run():
    for _ in range(CHILDREN):
        pid = os.fork()
        if pid == 0:
            leaves([])
        os.waitpid(pid, 0)
    return {"job": truth(returned=CHILDREN * CALLS)}


serve(run)
