"""What the programs under test share: one JSON line says ready, then one command line at a time from standard input.

``run`` runs the workload once and answers with its truth as one JSON line; ``quit``, or the end of the input, ends.
These programs run on CPython 3.6 to 3.15, with the standard library alone.
"""

import json
import os
import platform
import sys
import threading
import time

if hasattr(time, "perf_counter_ns"):
    clock_ns = time.perf_counter_ns
else:  # 3.6

    def clock_ns():
        return int(time.perf_counter() * 1e9)


def say(answer):
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def truth(returned=0, raised=0, suspensions=0, abandoned=0):
    """What one run does to one function.

    ``calls`` are those that end by themselves; a generator that is closed or collected while suspended is ``abandoned``
    instead. ``suspensions`` are all of them, those of abandoned calls too.
    """
    return {
        "calls": returned + raised,
        "returned": returned,
        "raised": raised,
        "suspensions": suspensions,
        "abandoned": abandoned,
    }


def added(truths):
    """The truth of several runs together; one name in several of them stands for the functions of all."""
    total = {}
    for known in truths:
        for name, numbers in known.items():
            before = total.get(name, truth())
            total[name] = {key: before[key] + number for key, number in numbers.items()}
    return total


class Scenarios:
    """Functions that each run a scenario, and ``known``: the truth of what they call, by qualname."""

    def __init__(self):
        self.functions = []
        self.known = {}

    def __call__(self, **known):
        """Decorates a scenario; the keywords are the truth of one run of it."""

        def register(function):
            self.functions.append(function)
            self.known.update(known)
            return function

        return register

    def run(self):
        for function in self.functions:
            function()
        return self.known


def call_in_threads(function, arguments):
    """Calls it in a thread for each of these tuples, all at once, and waits for them."""
    threads = [threading.Thread(target=function, args=each) for each in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def write_logs(path, logs):
    """Arrays of numbers, one after the other, as a file; of None nothing."""
    if path is not None:
        with open(path, "wb") as out:
            for log in logs:
                log.tofile(out)


def serve(run):
    """Answers commands until the end; ``run()`` does the workload and gives {qualname: truth(...)}.

    It gets what follows the word ``run``, word by word.
    """
    say({"ready": True, "pid": os.getpid(), "python": platform.python_version()})
    while True:
        # not "for line in stdin", which reads ahead
        command = sys.stdin.readline().strip()
        if command.split()[:1] == ["run"]:
            say(run(*command.split()[1:]))
        elif command in ("", "quit"):
            return
        else:
            say({"error": "unknown command " + command})
