"""Calls that are held open until the test says otherwise, so that it is known which a slice's end cuts.

One command a line, each answered when it is done: ``run N`` calls ``short`` N times; ``hold N`` starts N threads that
each enter ``held`` and wait; ``release`` lets them call ``inner`` once and return; ``begin`` starts a generator and
suspends it; ``step`` resumes it, and ``end`` ends it.
"""

import os
import platform
import sys
import threading

from protocol import say

threads = []
go_on = threading.Event()


def short():
    return 1


def inner():
    return short()


def held(entered):
    entered.set()
    go_on.wait()
    inner()


def steps():
    yield 1
    yield 2


def hold(number):
    for _ in range(number):
        entered = threading.Event()
        threads.append(threading.Thread(target=held, args=(entered,)))
        threads[-1].start()
        entered.wait()


def release():
    go_on.set()
    for thread in threads:
        thread.join()
    threads[:] = []
    go_on.clear()


def main():
    generator = None
    say({"ready": True, "pid": os.getpid(), "python": platform.python_version()})
    while True:
        words = sys.stdin.readline().split()
        if not words or words[0] == "quit":
            return
        if words[0] == "run":
            for _ in range(int(words[1])):
                short()
        elif words[0] == "hold":
            hold(int(words[1]))
        elif words[0] == "release":
            release()
        elif words[0] == "begin":
            generator = steps()
            next(generator)
        elif words[0] == "step":
            next(generator)
        elif words[0] == "end":
            list(generator)
        say({"done": words[0]})


main()
