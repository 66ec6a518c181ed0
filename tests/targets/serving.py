"""A server that is always busy: each ``handle`` calls ``noise`` many times, and some take 50 to 100 times as long.

serving.py [THREADS [NOISE]]

``more N`` is answered when N more calls have ended. Handles until ``quit``; then writes what each call noted of itself,
``[[begin, end], ...]`` in nanoseconds of CLOCK_MONOTONIC, to the file ``calls`` and says how many there were.
"""

import json
import sys
import threading
import time

from protocol import say

THREADS = int(sys.argv[1]) if len(sys.argv) > 1 else 1
NOISE = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
ended = False
calls = []
one_more = threading.Condition()


def now_ns():
    return int(time.monotonic() * 1e9)


def noise():
    return 1


def handle(number):
    began = now_ns()
    for _ in range(NOISE):
        noise()
    # every tenth is a long one, of 50 to 100 ms
    time.sleep(0.05 + (number * 7 % 51) / 1000 if number % 10 == 3 else 0.001)
    calls.append([began, now_ns()])


def answer_requests(number):
    while not ended:
        handle(number)
        with one_more:
            one_more.notify()
        number += 1


def main():
    global ended
    threads = [threading.Thread(target=answer_requests, args=(number * 17,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    say({"ready": True})
    for line in iter(sys.stdin.readline, ""):
        command, _, number = line.partition(" ")
        if command != "more":
            break
        enough = len(calls) + int(number)
        with one_more:
            one_more.wait_for(lambda: len(calls) >= enough)
        say({"calls": len(calls)})
    ended = True
    for thread in threads:
        thread.join()
    with open("calls", "w") as file:
        json.dump(calls, file)
    say({"calls": len(calls)})


main()
