"""Everything of ``scenarios.py`` and ``instrumented.py``, mixed, for as long as it is asked to.

soaking.py [THREADS]

Commands are numbers of seconds; the answer is the truth of all that was done in them. Threads run all but what needs
the main thread or must be alone; the main thread runs that, and switches tracers and monitors meanwhile.
"""

import sys
import threading
from collections import Counter

import instrumented
import looping
import parallel
import raising
import scenarios
import suspending
from protocol import clock_ns, say, truth

THREADS = int(sys.argv[1]) if len(sys.argv) > 1 else 8
MODULES = scenarios, raising, suspending, looping, parallel
# signals come to the main thread, and the depth of a recursion is noted in one place
MAIN_ONLY = raising.run_signals, raising.run_recursion_error
MAIN_NAMES = "on_signal", "waits_for_signal", "interrupted", "bottomless"
# a cache is one for all, and the callbacks of tools that see all threads count themselves in one place
UNCLAIMED = "cached", "monitor", "monitor_once"


def anywhere(module):
    return [function for function in module.scenario.functions if function not in MAIN_ONLY]


def works_until(end_ns, done):
    """Each module in turn; ``done`` counts the whole turns by module."""
    while clock_ns() < end_ns:
        for module in MODULES:
            for function in anywhere(module):
                function()
            done[module.__name__] += 1


def soak(seconds):
    end_ns = clock_ns() + int(seconds * 1e9)
    every = [Counter() for _ in range(THREADS)]
    threads = [threading.Thread(target=works_until, args=(end_ns, done)) for done in every]
    for thread in threads:
        thread.start()
    total = Counter()
    while clock_ns() < end_ns:
        claim(total, instrumented.run(), 1)
        for function in MAIN_ONLY:
            function()
        claim(total, {name: raising.scenario.known[name] for name in MAIN_NAMES}, 1)
    for thread in threads:
        thread.join()
    for module in MODULES:
        turns = sum(done[module.__name__] for done in every)
        known = {name: it for name, it in module.scenario.known.items() if name not in MAIN_NAMES}
        claim(total, known, turns)
    return {
        name: {key: total[name, key] for key in truth()}
        for name in sorted({name for name, _ in total})
        if name not in UNCLAIMED
    }


def claim(total, known, times):
    for name, numbers in known.items():
        for key, number in numbers.items():
            total[name, key] += number * times


if __name__ == "__main__":
    say({"ready": True})
    while True:
        command = sys.stdin.readline().strip()
        if not command or command == "quit":
            break
        say(soak(float(command)))
