"""What an interpreter's own markers tell, known from the other side: interpreting.py gc, imports, audit or lines.

``run`` answers with {name: numbers}, as the program itself saw them.
"""

import gc
import os
import sys

from protocol import clock_ns, serve

gc.disable()  # but where it is what is looked at


class Cycle:
    def __init__(self):
        self.me = self


pauses = {}


def note_pause(phase, info):
    if phase == "stop":
        known = pauses.setdefault("gc [generation {}]".format(info["generation"]), {"calls": 0, "objects": 0})
        known["calls"] += 1
        known["objects"] += info["collected"] + info["uncollectable"]


def collect():
    """Collections of each generation that were asked for, and those that come by themselves."""
    pauses.clear()
    gc.callbacks.append(note_pause)
    for generation, times in ((0, 5), (1, 3), (2, 2)):
        for _ in range(times):
            for _ in range(10):
                Cycle()
            gc.collect(generation)
    gc.enable()
    kept = []
    for _ in range(20_000):
        kept.append(Cycle())
        Cycle()
    gc.disable()
    gc.callbacks.remove(note_pause)
    return dict(pauses)


MODULES = {
    "marked_top": "import marked_left, marked_right",
    "marked_left": "import marked_leaf\nspin(2)",
    "marked_right": "import marked_leaf\ntry:\n    import marked_broken\nexcept ZeroDivisionError:\n    pass",
    "marked_leaf": "spin(5)",
    "marked_broken": "spin(1)\n1 / 0",
}
bodies = {}


def spin(ms):
    end = clock_ns() + ms * 1_000_000
    while clock_ns() < end:
        pass


def write_modules():
    sys.path.insert(0, os.getcwd())
    for name, body in MODULES.items():
        with open(name + ".py", "w") as file:
            file.write(
                "from __main__ import clock_ns, bodies, spin\nbegan = clock_ns()\n"
                "try:\n    {}\nfinally:\n    bodies.setdefault(__name__, []).append(clock_ns() - began)\n".format(
                    body.replace("\n", "\n    ")
                )
            )


def import_modules():
    """``body_ns``: what the statements of each module took; ``missing`` is not there."""
    for name in MODULES:
        sys.modules.pop(name, None)
    bodies.clear()
    import marked_top  # noqa: F401  the import is what is looked at

    try:
        import marked_missing  # noqa: F401
    except ImportError:
        pass
    found = {name: {"calls": 1, "raised": 0, "body_ns": bodies[name][0]} for name in MODULES}
    found["marked_broken"]["raised"] = 1
    found["marked_missing"] = {"calls": 1, "raised": 1, "body_ns": 0}
    return found


LONG = "application." + "x" * 300
FITTING = "application." + "y" * (191 - len("application."))
events = {}


def audit():
    """Events of the interpreter and of its own, as a hook sees them."""
    events.clear()
    for number in range(30):
        with open(os.devnull):
            pass
        sys.audit("application.event", number)
        eval(compile("1 + 1", "<string>", "eval"))
    for name in (LONG, FITTING, FITTING):
        sys.audit(name)
    found = {name: {"calls": count} for name, count in events.items()}
    return {name if len(name) < 192 else name[:191] + "…": numbers for name, numbers in found.items()}


def count_event(name, _):
    events[name] = events.get(name, 0) + 1


def some_lines():
    total = 0
    for number in range(50):
        total += number
    return total


def lines():
    first = some_lines.__code__.co_firstlineno
    for _ in range(4):
        some_lines()
    return {str(first + line): {"calls": calls} for line, calls in ((1, 4), (2, 204), (3, 200), (4, 4))}


if __name__ == "__main__":
    what = sys.argv[1]
    if what == "imports":
        write_modules()
    elif what == "audit":
        sys.addaudithook(count_event)
    serve({"gc": collect, "imports": import_modules, "audit": audit, "lines": lines}[what])
