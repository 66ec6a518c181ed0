"""A notebook that is always busy: the function ``cell`` is called again and again, and most calls are ``noise``.

``define`` defines ``cell`` anew, ``another`` defines ``cell_2`` and calls it once, and ``more N`` is answered when N
more calls of ``cell`` have ended. Ends with its input.
"""

import sys
import threading
import time

from protocol import say

SOURCE = "def cell(number):\n    time.sleep(0.001)\n    return number\n"
namespace = {"time": time}
ended = threading.Event()
one_more = threading.Condition()
calls = 0


def define():
    exec(compile(SOURCE, "<cell>", "exec"), namespace)


def noise(number):
    return number


def works():
    global calls
    while not ended.is_set():
        namespace["cell"](calls)
        for number in range(2000):
            noise(number)
        with one_more:
            calls += 1
            one_more.notify()


define()
worker = threading.Thread(target=works)
worker.start()
say({"ready": True})
for line in iter(sys.stdin.readline, ""):
    command, _, number = line.partition(" ")
    if command.strip() == "define":
        define()
    elif command.strip() == "another":
        exec(compile(SOURCE.replace("cell", "cell_2"), "<cell>", "exec"), namespace)
        namespace["cell_2"](0)
    else:
        enough = calls + int(number)
        with one_more:
            one_more.wait_for(lambda: calls >= enough)
    say({"calls": calls})
ended.set()
worker.join()
