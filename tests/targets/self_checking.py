"""Threads that are busy, and check all that they compute: a probe that changes the process is found out by itself.

self_checking.py [THREADS]

Commands: ``status`` answers with the numbers of checks and calls so far and what went wrong; ``quit`` ends. The
workload runs all the time.
"""

import json
import os
import sys
import threading
import time

THREADS = int(sys.argv[1]) if len(sys.argv) > 1 else 16
SUM = sum(number * number for number in range(50))


def handle(number):
    """The function that is watched: returns in two places, and raises."""
    if number % 7 == 3:
        raise ValueError(number)
    if number % 2:
        return number + 1
    return number


def numbered(count):
    """What is watched that suspends."""
    for number in range(count):
        yield number


def recursive(depth):
    return 0 if depth == 0 else 1 + recursive(depth - 1)


def squares():
    return sum(number * number for number in range(50))


class Counter:
    def __init__(self):
        self.value = 0

    def add(self, amount):
        self.value += amount
        return self


def checked(number):
    """One round of work: yields the name of each check that fails."""
    try:
        got = handle(number)
        if number % 7 == 3 or got != number + number % 2:
            yield "handle"
    except ValueError as error:
        if number % 7 != 3 or error.args != (number,):
            yield "handle raised"
    if list(numbered(5)) != [0, 1, 2, 3, 4]:
        yield "numbered"
    if recursive(20) != 20:
        yield "recursive"
    if squares() != SUM:
        yield "squares"
    if Counter().add(number).add(-number).value != 0:
        yield "Counter"
    if json.loads(json.dumps({"number": [number]})) != {"number": [number]}:
        yield "json"
    begin = time.monotonic()
    if time.monotonic() < begin:
        yield "clock"


def work(place):
    number = place
    while True:
        number += 1
        try:
            faults[place] += [f"{name} at {number}" for name in checked(number)]
        except BaseException as error:
            faults[place].append(f"{error!r} at {number}")
        checks[place] += 1


def short():
    """Threads that begin and end all the time."""
    while True:
        thread = threading.Thread(target=handle, args=(2,))
        thread.start()
        thread.join()
        checks[THREADS] += 1
        time.sleep(0.01)


checks = [0] * (THREADS + 1)
faults = [[] for _ in range(THREADS + 1)]


def say(answer):
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    bodies = [threading.Thread(target=work, args=(place,), daemon=True) for place in range(THREADS)]
    bodies.append(threading.Thread(target=short, daemon=True))
    for body in bodies:
        body.start()
    say({"ready": True})
    while True:
        command = sys.stdin.readline().strip()
        if command != "status":
            os._exit(0)
        alive = sum(body.is_alive() for body in bodies)
        say({"checks": list(checks), "alive": alive, "faults": [fault for each in faults for fault in each[:5]]})
