"""Deep recursion, many times: ``descend`` returns from every level, ``plunge`` raises through every level.

recursion.py [DEPTH [TIMES [PAUSE_S]]]: with a pause at the bottom of each descent.
"""

import sys
import time

from protocol import serve, truth

DEPTH = int(sys.argv[1]) if len(sys.argv) > 1 else 200
TIMES = int(sys.argv[2]) if len(sys.argv) > 2 else 50
PAUSE_S = float(sys.argv[3]) if len(sys.argv) > 3 else 0


def descend(depth):
    if depth > 1:
        descend(depth - 1)
    elif PAUSE_S:
        time.sleep(PAUSE_S)


def plunge(depth):
    if depth > 1:
        plunge(depth - 1)
    raise KeyError(depth)


def run():
    for _ in range(TIMES):
        descend(DEPTH)
        try:
            plunge(DEPTH)
        except KeyError:
            pass
    return {"descend": truth(returned=DEPTH * TIMES), "plunge": truth(raised=DEPTH * TIMES)}


if __name__ == "__main__":
    sys.setrecursionlimit(DEPTH + 1000)
    serve(run)
