"""Calls that end by an exception which C code takes and shows: no Python frame ever sees it, and the frame that it came
from lives until it is shown.

swallowed.py [ROUNDS]   the file ``durations`` gets a line for each call of ``dies``: what it took from within, and from
                        before it until its exception is being shown, nanoseconds
"""

import sys
import weakref

from protocol import clock_ns, serve, truth

N = int(sys.argv[1]) if len(sys.argv) > 1 else 50
SHOWING_NS = 1000000


class Object:
    pass


class Shown:
    """What stands for the standard error: it is slow, and notes when it was first written to."""

    def __init__(self):
        self.at_ns = 0

    def write(self, text):
        if not self.at_ns:
            self.at_ns = clock_ns()
            while clock_ns() < self.at_ns + SHOWING_NS:
                pass

    def flush(self):
        pass


def dies(reference):
    begin_ns = clock_ns()
    within_ns.append(clock_ns() - begin_ns)
    raise ValueError


def cleans_up(reference):
    try:
        raise ValueError
    finally:
        within_ns.append(0)


def shown(callback):
    """How long it was until the exception of a weak reference's callback was shown."""
    referent = Object()
    reference = weakref.ref(referent, callback)
    sys.stderr = Shown()
    begin_ns = clock_ns()
    del referent
    lasted_ns = sys.stderr.at_ns - begin_ns
    sys.stderr = sys.__stderr__
    assert reference() is None
    return lasted_ns


def run():
    with open("durations", "w") as file:
        for _ in range(N):
            del within_ns[:]
            lasted_ns = shown(dies)
            print(within_ns[0], lasted_ns, file=file)
    for _ in range(N):
        shown(cleans_up)
    return {"dies": truth(raised=N), "cleans_up": truth(raised=N)}


within_ns = []

if __name__ == "__main__":
    serve(run)
