"""A program that, at the end of its input, replaces itself by exec: by itself, in the same interpreter, which does the
same once more and says so, for each line of its input.
"""

import gc
import os
import sys

from protocol import say, serve, truth

CALLS = 300


def work():
    pass


def run():
    for _ in range(CALLS):
        work()
    for _ in range(CALLS):
        gc.collect()
    return {"work": truth(CALLS), "gc [generation 2]": truth(CALLS)}


gc.disable()
if sys.argv[1:] == ["again"]:
    say(run())
    serve(run)
else:
    serve(run)
    os.execv(sys.executable, [sys.executable, "-B", os.path.abspath(__file__), "again"])
