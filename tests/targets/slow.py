"""Slow calls among many fast ones, each of which the program itself times, from within and from without.

What it says of a run is not what ``protocol.truth`` says, but one entry for each call, by its argument ``key``: how
long it took at least (as seen from within) and at most (from without), when it cannot have begun yet and when it must
have (seconds since the epoch), in which thread, with which arguments at its end, how it ended, and who called it (of
what suspends: who resumed it last).
"""

import asyncio
import itertools
import os
import sys
import threading
import time

from protocol import clock_ns, serve

SLOW_NS = int(sys.argv[1]) if len(sys.argv) > 1 else 15 * 10**6
FAST_CALLS = 150
keys = itertools.count()
told = {}


def tid():
    try:
        return int(os.readlink("/proc/thread-self").rpartition("/")[2])
    except OSError:
        return 0


def callers(frame):
    found = []
    while frame:
        code = frame.f_code
        found.append([getattr(code, "co_qualname", code.co_name), os.path.basename(code.co_filename), frame.f_lineno])
        frame = frame.f_back
    return found


def note(begin_ns, outcome, **arguments):
    """Said by each call at its end."""
    told[arguments["key"]] = {
        "function": sys._getframe(1).f_code.co_name,
        "least_ns": clock_ns() - begin_ns,
        "until": time.time(),
        "tid": tid(),
        "outcome": outcome,
        "arguments": {name: repr(value) for name, value in arguments.items()},
        "stack": callers(sys._getframe(2)),
    }


def outside(call):
    """Calls it with a new key."""
    key, since, begin_ns = next(keys), time.time(), clock_ns()
    try:
        call(key)
    except (LookupError, Refused):
        pass
    told[key].update(most_ns=clock_ns() - begin_ns, since=since)


def spin(begin_ns, for_ns):
    while clock_ns() - begin_ns < for_ns:
        pass


def plain(key, for_ns, label="x", *rest, only=None, **more):
    begin_ns = clock_ns()
    label = (label, "bound again")
    spin(begin_ns, for_ns)
    note(begin_ns, "returned", key=key, for_ns=for_ns, label=label, only=only, rest=rest, more=more)


def enclosing(key, for_ns, seen_within):
    begin_ns = clock_ns()

    def inner():
        return seen_within, key

    spin(begin_ns, for_ns)
    note(begin_ns, "returned", key=key, for_ns=for_ns, seen_within=seen_within)
    return inner


def descend(key, depth, for_ns):
    begin_ns = clock_ns()
    if depth:
        outside(
            lambda deeper: descend(
                deeper,
                depth - 1,
                for_ns,
            )
        )
    else:
        spin(begin_ns, for_ns)
    note(begin_ns, "returned", key=key, depth=depth, for_ns=for_ns)


class Refused(Exception):
    pass


def failing(key, for_ns, error):
    begin_ns = clock_ns()
    spin(begin_ns, for_ns)
    note(begin_ns, error.__name__, key=key, for_ns=for_ns, error=error)
    raise error(key)


class Api:
    def __init__(self, name):
        self.name = name

    def get(self, key, for_ns):
        begin_ns = clock_ns()
        spin(begin_ns, for_ns)
        note(begin_ns, "returned", key=key, for_ns=for_ns)

    @staticmethod
    def put(key, for_ns):
        begin_ns = clock_ns()
        spin(begin_ns, for_ns)
        note(begin_ns, "returned", key=key, for_ns=for_ns)


class Made:
    def __init__(self, key, for_ns):
        begin_ns = clock_ns()
        spin(begin_ns, for_ns)
        note(begin_ns, "returned", key=key, for_ns=for_ns)


def yielding(key, for_ns, times):
    begin_ns = clock_ns()
    for number in range(times):
        yield number
    note(begin_ns, "returned", key=key, for_ns=for_ns, times=times)


def consume(key, for_ns):
    begin_ns = clock_ns()
    for number in yielding(key, for_ns, 3):
        if number == 1:
            spin(begin_ns, for_ns)


async def awaiting(key, for_ns):
    begin_ns = clock_ns()
    await asyncio.sleep(for_ns / 1e9)
    spin(begin_ns, for_ns)
    note(begin_ns, "returned", key=key, for_ns=for_ns)


async def outer_awaiting(key, for_ns):
    await awaiting(key, for_ns)


def in_a_loop(*jobs):
    """Each job is (coroutine function, duration)."""

    async def one(function, for_ns):
        key, since, begin_ns = next(keys), time.time(), clock_ns()
        await function(key, for_ns)
        told[key].update(most_ns=clock_ns() - begin_ns, since=since)

    async def everything():
        await asyncio.gather(*(one(*job) for job in jobs))

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(everything())
    finally:
        loop.close()


def from_code_that_is_freed(number, for_ns):
    """The caller is made at run time, and gone right after: the next one may lie where it lay."""
    space = {"plain": plain, "for_ns": for_ns}
    lines = "\n" * (number * 3)
    name = "made_" + str(number)
    exec(compile(lines + "def " + name + "(key):\n    plain(\n        key, for_ns)\n", "made.py", "exec"), space)
    outside(space.pop(name))


def in_threads(*calls):
    threads = [threading.Thread(target=outside, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run():
    told.clear()
    api = Api("a")
    for _ in range(FAST_CALLS):
        outside(lambda key: plain(key, 0))
        outside(lambda key: api.get(key, 0))
        outside(lambda key: failing(key, 0, KeyError))
        outside(lambda key: consume(key, 0))
    outside(lambda key: plain(key, SLOW_NS))
    outside(lambda key: plain(key, SLOW_NS, "größe", 1.5, None, only=[1, ("two", b"3")], more={"k": {4}}, big=10**50))
    outside(lambda key: enclosing(key, SLOW_NS, ["seen"]))
    outside(lambda key: descend(key, 4, SLOW_NS))
    outside(lambda key: failing(key, SLOW_NS, Refused))
    outside(lambda key: failing(key, SLOW_NS, LookupError))
    outside(lambda key: api.get(key, SLOW_NS))
    outside(lambda key: Api.put(key, for_ns=SLOW_NS))
    outside(lambda key: Made(key, SLOW_NS))
    outside(lambda key: consume(key, SLOW_NS))
    outside(lambda key: [plain(it, SLOW_NS) for it in [key]])
    in_a_loop((awaiting, SLOW_NS), (outer_awaiting, 2 * SLOW_NS), (awaiting, 0))
    in_threads(lambda key: plain(key, SLOW_NS, "one"), lambda key: plain(key, 2 * SLOW_NS, "two"))
    for number in range(6):
        from_code_that_is_freed(number, SLOW_NS)
    return told


if __name__ == "__main__":
    serve(run)
