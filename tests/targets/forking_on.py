"""A chain of processes: each forks the next one and ends, but for the last, which a further run makes the chain go on
from. Each calls many functions, and one that the first of the chain made: {function: numbers}, of all runs until then.

forking_on.py LINKS FUNCTIONS    how many are forked in each run, and how many functions each calls
"""

import os
import sys

from protocol import serve, truth

LINKS, FUNCTIONS = int(sys.argv[1]), int(sys.argv[2])
CALLS = 5
made = {}
for number in range(FUNCTIONS):
    exec("def other(): pass", made)  # a code object each
    made[number] = made.pop("other")
OTHERS = [made[number] for number in range(FUNCTIONS)]
links = 0


def job():
    pass


def chain(go, done):
    """Never returns: this process and all that come from it are the chain."""
    exec(compile("def made_later(): pass", __file__, "exec"), made)
    while os.read(go, 1):
        for _ in range(LINKS):
            if os.fork():
                os._exit(0)
            for _ in range(CALLS):
                job()
                made["made_later"]()
            for other in OTHERS:
                other()
        os.write(done, b".")
    os._exit(0)


def run():
    global links
    os.write(to_chain, b".")
    os.read(from_chain, 1)
    links += LINKS
    return {"job": truth(CALLS * links), "made_later": truth(CALLS * links)}


go, to_chain = os.pipe()
from_chain, done = os.pipe()
if not os.fork():
    os.close(to_chain)
    os.close(from_chain)
    chain(go, done)
os.close(go)
os.close(done)
serve(run)
