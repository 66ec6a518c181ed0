"""The target of the benchmark of turns: sixteen functions that are called one after the other, and log themselves.

Runs on Python 3.9 to 3.15. A line of JSON on standard input is answered with one on standard output:

    ["window", SECONDS]       -> {name: [calls, p50, p90]}: nanoseconds, by its own clock
    ["untargeted", SECONDS]   -> nanoseconds that a call of another function takes: the lowest decile of its bursts
"""

import json
import sys
import time

clock = time.perf_counter_ns
NUMBER = 16
BURST = 2000


def small(number):
    return number + 1


# One function each, of 3,000 to 7,500 steps, and up to half as many more.
SOURCE = """
def handle_{0:02d}(number):
    for step in range({1} + {1} * (number * 7 % 11) // 22):
        small(step)
"""
namespace = {"small": small}
for each in range(NUMBER):
    exec(compile(SOURCE.format(each, 3000 + 300 * each), "turning.py", "exec"), namespace)
HANDLES = [namespace[f"handle_{each:02d}"] for each in range(NUMBER)]


def quantile(log, share):
    return sorted(log)[int(len(log) * share)]


def window(seconds):
    logs = [[] for _ in HANDLES]
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for handle, log in zip(HANDLES, logs):
            begin = clock()
            handle(number)
            log.append(clock() - begin)
        number += 1
    empty = sorted(-clock() + clock() for _ in range(1000))[500]
    return {
        handle.__name__: [len(log), *(max(0, quantile(log, share) - empty) for share in (0.5, 0.9))]
        for handle, log in zip(HANDLES, logs)
    }


def untargeted(seconds):
    bursts, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        begin = clock()
        for number in range(BURST):
            small(number)
        bursts.append(clock() - begin)
    return quantile(bursts, 0.1) / BURST


def main():
    print(json.dumps("ready"), flush=True)
    for line in iter(sys.stdin.readline, ""):
        name, *arguments = json.loads(line)
        print(json.dumps({"window": window, "untargeted": untargeted}[name](*arguments)), flush=True)


main()
