"""Always busy, and most of it is ``noise``: ``keeps`` stores its own frame, which outlives the call.

Ends with its input.
"""

import sys
import threading
import time

from protocol import say

kept = []
ended = threading.Event()


def noise(number):
    return number


def keeps():
    sum(range(10_000))  # longer than watchpoints need to resolve it
    kept.append(sys._getframe())


def works():
    while not ended.is_set():
        keeps()
        del kept[:-1000]
        for number in range(2000):
            noise(number)
        time.sleep(0.005)  # moments at which nothing happens


worker = threading.Thread(target=works)
worker.start()
say({"ready": True})
sys.stdin.readline()
ended.set()
worker.join()
