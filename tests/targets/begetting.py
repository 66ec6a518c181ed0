"""A thread that does all the work, and was begun by one that has ended since.

One command a line, each answered when it is done: ``beget`` lets the first thread begin the second one and end; ``run
N`` lets the second one call each of the three functions N times.
"""

import queue
import sys
import threading

from protocol import say

orders, done = queue.Queue(), queue.Queue()


def first(number):
    return number


def second(number):
    return number


def third(number):
    return number


def works():
    while True:
        for number in range(orders.get()):
            first(number)
            second(number)
            third(number)
        done.put(None)


def begets():
    orders.get()
    threading.Thread(target=works, daemon=True).start()


def main():
    parent = threading.Thread(target=begets, daemon=True)
    parent.start()
    say({"ready": True})
    for line in iter(sys.stdin.readline, ""):
        words = line.split()
        if words[0] == "beget":
            orders.put(None)
            parent.join()
        elif words[0] == "run":
            orders.put(int(words[1]))
            done.get()
        else:
            return
        say({"done": words[0]})


main()
