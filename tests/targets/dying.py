"""Functions that die beside others that live: what was freed keeps its type for a while, and their names live on."""

import gc
import sys

from protocol import serve, truth


def lives():
    return 1


class Thing:
    def method(self):
        return lives()


def make(number):
    text = f"def dies_{number}(): return ({number}, 'a constant')\ndef also_{number}(): return dies_{number}()"
    scope = {}
    exec(compile(text, __file__, "exec"), scope)
    scope[f"also_{number}"]()
    return scope


NAMES = [sys.intern(f"{name}_{number}") for name in ("dies", "also") for number in range(500)]
KEPT, TUPLES = [], []


def run():
    KEPT[:] = list(map(make, range(500)))
    del KEPT[1::2]  # between those that are kept: where nobody is left, the memory is given back
    gc.collect()
    # where the constants of the dead were
    TUPLES[:] = [tuple([lives] * size) for size in (1, 2, 3) for _ in range(3000)]
    for _ in range(100):
        Thing().method()
    return {"lives": truth(100), "Thing.method": truth(100)}


if __name__ == "__main__":
    serve(run)
