"""One of many processes: twenty functions in a module of its own, called when it is told to.

call NUMBER      so many calls of each; answers with their number
burn SECONDS     nothing but calls, for so long; answers with calls and CPU nanoseconds of this thread
"""

import sys
import time
import types

FUNCTIONS = 20
text = "\n".join("def function_%d(number):\n    return number + %d\n" % (each, each) for each in range(FUNCTIONS))
many = types.ModuleType("many")
exec(compile(text, "/srv/many.py", "exec"), many.__dict__)
functions = [getattr(many, "function_%d" % each) for each in range(FUNCTIONS)]


def call(times):
    for function in functions:
        for number in range(times):
            function(number)
    return FUNCTIONS * times


def burn(seconds):
    """A call in about ten microseconds."""
    calls, end, begin_ns = 0, time.monotonic() + seconds, time.thread_time_ns()
    while time.monotonic() < end:
        for function in functions:
            for _ in range(5):
                function(sum(range(500)))
        calls += 5 * FUNCTIONS
    return "%d %d" % (calls, time.thread_time_ns() - begin_ns)


print("ready", flush=True)
for line in sys.stdin:
    what, number = line.split()
    print(call(int(number)) if what == "call" else burn(float(number)), flush=True)
