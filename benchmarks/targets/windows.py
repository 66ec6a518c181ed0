"""The target of the benchmark of the truth: logs the latencies of its own calls, whoever looks or not.

Runs on Python 3.9 to 3.15. A line of JSON on standard input is answered with one on standard output:

    ["window", WORKLOAD, SECONDS]   -> [calls, p50, p90, mean]: nanoseconds, by its own clock
"""

import asyncio
import json
import sys
import threading
import time

clock = time.perf_counter_ns


def small(number):
    return number + 1


def leaf(number):
    return number + 1


def calls_20():
    for number in range(20):
        small(number)


def calls_200():
    for number in range(200):
        small(number)


def calls_1000():
    for number in range(1000):
        small(number)


def handler():
    done = 0
    for number in range(5000):
        done += small(number) + sum(range(60))
    return done


def descends(depth):
    return descends(depth - 1) + 1 if depth else 0


def recursion():
    return descends(100)


def numbers(count):
    for number in range(count):
        yield small(number)


def generator():
    return sum(numbers(100))


async def answers():
    for number in range(100):
        small(number)
    await asyncio.sleep(0)
    for number in range(100):
        small(number)


def waits():
    time.sleep(0.001)
    small(1)


def lasting(seconds, call, log):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(10):
            begin = clock()
            call()
            log.append(clock() - begin)


async def serving(seconds, log):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(10):
            begin = clock()
            await answers()
            log.append(clock() - begin)


def threads(seconds, log):
    logs = [[] for _ in range(4)]
    workers = [threading.Thread(target=lasting, args=(seconds, calls_20, own)) for own in logs]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for own in logs:
        log += own


def leaves(seconds, log):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for number in range(100):
            begin = clock()
            leaf(number)
            log.append(clock() - begin)


CALLS = {each.__name__: each for each in (calls_20, calls_200, calls_1000, handler, recursion, generator, waits)}


def window(name, seconds):
    log = []
    if name == "answers":
        asyncio.run(serving(seconds, log))
    elif name == "threads":
        threads(seconds, log)
    elif name == "leaf":
        leaves(seconds, log)
    else:
        lasting(seconds, CALLS[name], log)
    log.sort()
    # what it takes to read the clock is in each of them
    empty = sorted(-clock() + clock() for _ in range(1000))[500]
    p50, p90 = (max(0, log[int(len(log) * share)] - empty) for share in (0.5, 0.9))
    return [len(log), p50, p90, max(0, sum(log) / len(log) - empty)]


def main():
    print(json.dumps("ready"), flush=True)
    for line in iter(sys.stdin.readline, ""):
        arguments = json.loads(line)[1:]
        print(json.dumps(window(*arguments)), flush=True)


main()
