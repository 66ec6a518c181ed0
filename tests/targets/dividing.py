"""Calls that say of themselves where their time went: bounds that hold however often the machine takes the CPU away.

dividing.py FILE

Each run writes {qualname: {part: [least, most]}} to the file, nanoseconds over all calls.

running: by the thread's own CPU clock, from inside of the call and from around it.
off: what of the wall clock is left.
waiting: at least half of the time asked of ``sleep``: a thread can lose its CPU on the way to sleep, and wake up late.
self: without the calls of functions that are measured too.
gc: by the collector's callbacks, most of it at least.
suspended: from outside of the stays on the stack, and from around all of them, less what these say of themselves.
"""

import asyncio
import gc
import json
import sys
import threading
import time

from looping import run_loop
from protocol import clock_ns, serve, truth

N = 20
log = {}
logging = threading.Lock()

if hasattr(time, "thread_time_ns"):
    cpu_ns = time.thread_time_ns
else:  # 3.6

    def cpu_ns():
        return int(time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID) * 1e9)


def note(name, part, least, most):
    with logging:
        sums = log.setdefault(name, {}).setdefault(part, [0, 0])
        sums[0] += least
        sums[1] += most


def spin(duration_ns):
    """On a CPU for so long, however long that takes."""
    until = cpu_ns() + duration_ns
    while cpu_ns() < until:
        pass


class Inside:
    """Of a call, from its first statement to its last; ``waited`` and ``callees`` (least, most) are added up by it."""

    def __init__(self):
        self.waited = 0
        self.callees = [0, 0]
        # the CPU's clock around the wall clock: what is left of the wall clock was not on a CPU
        self.cpu = cpu_ns()
        self.wall = clock_ns()

    def end(self):
        self.wall = clock_ns() - self.wall
        self.cpu = cpu_ns() - self.cpu

    def sleep(self, duration_s):
        time.sleep(duration_s)
        self.waited += int(duration_s * 1e9)


def around(function, *arguments):
    """Calls function(inside, ...), where ``inside`` is a list for its ``Inside``. Gives (least, most) of its time."""
    inside = []
    wall, cpu = clock_ns(), cpu_ns()
    try:
        function(inside, *arguments)
    except ValueError:
        pass
    cpu = cpu_ns() - cpu
    wall = clock_ns() - wall
    (it,) = inside
    name = function.__name__
    note(name, "wall", it.wall, wall)
    note(name, "running", it.cpu, cpu)
    note(name, "off", it.wall - it.cpu, wall - cpu)
    note(name, "waiting", it.waited // 2, wall - cpu)
    note(name, "self", it.wall - it.callees[1], wall - it.callees[0])
    return it.wall, wall


def call(it, function, *arguments):
    """The same of a callee."""
    times = around(function, *arguments)
    for index in (0, 1):
        it.callees[index] += times[index]


def begin(inside):
    inside.append(Inside())
    return inside[0]


def sleeps(inside):
    it = begin(inside)
    it.sleep(0.003)
    it.end()


def spins(inside):
    it = begin(inside)
    spin(2000000)
    it.end()


def fails(inside):
    it = begin(inside)
    it.sleep(0.001)
    spin(500000)
    it.end()
    raise ValueError


def both(inside):
    it = begin(inside)
    spin(300000)
    call(it, sleeps)
    call(it, spins)
    call(it, fails)
    it.sleep(0.0005)
    it.end()


def descends(inside, depth):
    it = begin(inside)
    spin(100000)
    if depth:
        call(it, descends, depth - 1)
    else:
        it.sleep(0.002)
    it.end()


def waits(inside, lock):
    """For a lock that another thread has for so long."""
    it = begin(inside)
    with lock:
        it.end()


def waits_for_a_lock():
    lock, taken = threading.Lock(), threading.Event()

    def hold():
        with lock:
            taken.set()
            time.sleep(0.003)

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    around(waits, lock)
    thread.join()


def collects(inside):
    it = begin(inside)
    gc.collect()
    it.end()


def collections():
    """Of enough objects that the callbacks' own time does not count."""
    kept = [[] for _ in range(100000)]
    began = []

    def collecting(phase, about):
        if phase == "start":
            began.append(cpu_ns())
        else:
            took = cpu_ns() - began.pop()
            note("collects", "gc", int(took * 0.9), took)

    gc.disable()
    gc.callbacks.append(collecting)
    for _ in range(N // 4):
        around(collects)
    gc.callbacks.remove(collecting)
    gc.enable()
    del kept


def steps(it):
    """Three stays of a generator, each with its own time."""
    for _ in range(3):
        stay = Inside()
        stay.sleep(0.0005)
        spin(200000)
        stay.end()
        it.append(stay)
        yield


def generators():
    for _ in range(N // 2):
        stays, cpu, wall, outside = [], 0, 0, 0
        generator = steps(stays)
        first = clock_ns()
        for number in range(4):
            before, cpu_before = clock_ns(), cpu_ns()
            next(generator, None)
            cpu_after = cpu_ns()
            after = clock_ns()
            cpu += cpu_after - cpu_before
            wall += after - before
            if number < 3:
                left = clock_ns()
                time.sleep(0.001)
                outside += clock_ns() - left
        note("steps", "running", sum(it.cpu for it in stays), cpu)
        note("steps", "off", sum(it.wall - it.cpu for it in stays), wall - cpu)
        note("steps", "waiting", sum(it.waited for it in stays) // 2, wall - cpu)
        note("steps", "suspended", outside, after - first - sum(it.wall for it in stays))


class Stepped:
    """A coroutine that is driven through here, so that the clock is read around each of its stays on the stack too."""

    def __init__(self, coroutine):
        self.coroutine = coroutine
        self.cpu = self.outside = 0

    def __await__(self):
        self.first = left = None
        while True:
            entered = clock_ns()
            if left is None:
                self.first = entered
            else:
                self.outside += entered - left
            before = cpu_ns()
            try:
                future = self.coroutine.send(None)
            except StopIteration:
                return
            finally:
                self.cpu += cpu_ns() - before
                left = self.last = clock_ns()
            yield future


async def handles(stays):
    for _ in range(2):
        stay = Inside()
        spin(1000000)
        stay.end()
        stays.append(stay)
        await asyncio.sleep(0.002)


async def serves():
    every = [[] for _ in range(N // 4)]
    stepped = [Stepped(handles(stays)) for stays in every]
    await asyncio.gather(*stepped)
    for stays, each in zip(every, stepped):
        note("handles", "running", sum(it.cpu for it in stays), each.cpu)
        note("handles", "suspended", each.outside, each.last - each.first - sum(it.wall for it in stays))


def run():
    log.clear()
    for _ in range(N):
        around(both)
        waits_for_a_lock()
    for _ in range(N // 4):
        around(descends, 5)
    threads = [threading.Thread(target=lambda: [around(both) for _ in range(N // 2)]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    collections()
    generators()
    run_loop(serves())
    with open(sys.argv[1], "w") as file:
        json.dump(log, file)
    boths = 2 * N
    return {
        "both": truth(boths),
        "sleeps": truth(boths),
        "spins": truth(boths),
        "fails": truth(raised=boths),
        "waits": truth(N),
        "descends": truth(6 * (N // 4)),
        "collects": truth(N // 4),
        "steps": truth(N // 2, suspensions=3 * (N // 2)),
        "handles": truth(N // 4, suspensions=2 * (N // 4)),
    }


if __name__ == "__main__":
    serve(run)
