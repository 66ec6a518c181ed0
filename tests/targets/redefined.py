"""A cell of a notebook: each run defines the same function anew, and calls it.

redefined.py [CALLS]    of each definition
"""

import sys

from protocol import serve, truth

CALLS = int(sys.argv[1]) if len(sys.argv) > 1 else 10
SOURCE = "def cell(number):\n    return number\n"
namespace = {}


def run():
    for number in range(CALLS):
        namespace["cell"](number)
    exec(compile(SOURCE, "<cell>", "exec"), namespace)
    for number in range(CALLS):
        namespace["cell"](number)
    return {"cell": truth(2 * CALLS)}


if __name__ == "__main__":
    exec(compile(SOURCE, "<cell>", "exec"), namespace)
    serve(run)
