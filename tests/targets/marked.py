"""Loads the library ``marked.so`` of its directory, and calls its functions in known numbers.

Commands, each answered with one JSON line: ``load`` with ``file``, ``memfd``, ``deleted``, or ``made`` (at run
time); ``semaphores``; and the functions below that make calls, each of which says how many.
"""

import ctypes
import os
import queue
import sys
import threading

from made_library import made
from protocol import clock_ns, say

THREADS = 4
PAIRS = 250
MEMFD_CREATE = 319  # x86-64: os.memfd_create came with 3.8
NAME = "marked.so"

library = None


MADE = {
    "start": ("request__start", (8, -4)),
    "done": ("request__done", (-4, 8)),
    "event": ("event", ()),
}


def in_memory(data):
    memory = ctypes.CDLL(None).syscall(MEMFD_CREATE, b"marked", 0)
    os.write(memory, data)
    return f"/proc/self/fd/{memory}"


def load(how):
    global library
    path = os.path.abspath(NAME)
    if how == "made":
        library = ctypes.CDLL(in_memory(made("myapp", MADE)))
        library.start.argtypes = [ctypes.c_long, ctypes.c_int]
        library.done.argtypes = [ctypes.c_int, ctypes.c_long]
        return {"loaded": how}
    if how == "memfd":
        with open(path, "rb") as file:
            path = in_memory(file.read())
    elif how == "deleted":
        with open(path, "rb") as file, open(path + ".copy", "wb") as copy:
            copy.write(file.read())
        path += ".copy"
    library = ctypes.CDLL(path)
    library.semaphores.restype = ctypes.c_long
    library.start.argtypes = [ctypes.c_long, ctypes.c_int]
    library.done.argtypes = [ctypes.c_int, ctypes.c_long]
    library.places.argtypes = [ctypes.c_long]
    if how == "deleted":
        os.unlink(path)
    return {"loaded": how}


def run():
    """``inside`` and ``around``: what each pair took at least and at most, in nanoseconds."""
    inside, around = [], []

    def pairs(first):
        for number in range(first, first + PAIRS):
            before = clock_ns()
            library.start(number, 0)
            after = clock_ns()
            library.start(number, 1)
            middle = clock_ns()
            library.event()
            middle_end = clock_ns()
            library.done(1, number)
            end = clock_ns()
            library.done(0, number)
            last = clock_ns()
            inside.extend([end - after, middle_end - middle])
            around.extend([last - before, end - after])

    on_threads(pairs, [1000 * thread for thread in range(THREADS)])
    return {
        "pairs": 2 * THREADS * PAIRS,
        "events": THREADS * PAIRS,
        "threads": THREADS,
        "inside": [sum(inside), max(inside)],
        "around": [sum(around), max(around)],
    }


def keyed():
    """Every pair ends on another thread than it began on; two of them at a time are open."""
    begun = queue.Queue()

    def begin(first):
        for number in range(first, first + PAIRS):
            library.start(number, 0)
            begun.put(number)

    def end(_):
        for _ in range(PAIRS):
            number = begun.get()
            library.done(number % 2, number)

    beginning = threading.Thread(target=on_threads, args=(begin, [0, 1000]))
    beginning.start()
    on_threads(end, [None, None])
    beginning.join()
    return {"pairs": 2 * PAIRS}


def places():
    """Calls with known arguments, and for each value an end that has it."""
    for index, known in enumerate([(1,), (-5, 65000, -70000, -5000000000)]):
        library.places(index)
        for value in known:
            library.done(0, value)
    return {"calls": 2}


def on_threads(function, arguments):
    threads = [threading.Thread(target=function, args=(each,)) for each in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def semaphores():
    value = library.semaphores()
    return {"start": value & 0xFFFF, "done": value >> 16 & 0xFFFF, "event": value >> 32 & 0xFFFF}


def begin():
    library.start(1, 0)
    return {"begun": 1}


def end():
    library.done(0, 1)
    return {"ended": 1}


def dies_inside():
    """A thread that ends with a pair open."""
    on_threads(lambda number: library.start(number, 0), [5])
    return {"cut": 1}


def deep():
    """More open calls than are kept: 128 of 200."""
    for number in range(200):
        library.start(number, 0)
    for number in range(200):
        library.done(0, number)
    return {"pairs": 128, "too_deep": 72}


COMMANDS = {each.__name__: each for each in (load, run, keyed, places, semaphores, begin, end, dies_inside, deep)}

if __name__ == "__main__":
    say({"ready": True})
    while True:
        words = sys.stdin.readline().split()
        if not words:
            break
        say(COMMANDS[words[0]](*words[1:]))
