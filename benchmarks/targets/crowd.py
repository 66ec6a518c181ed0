"""The largest target of the start benchmark: so many megabytes, functions and threads, and one of them works.

    crowd.py MEGABYTES FUNCTIONS THREADS

Says ``ready`` and its resident megabytes, and runs until its standard input ends.
"""

import sys
import threading
import time

_AT_ONCE = 1000


def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def handle_request(number):
    return number * 2


def work():
    number = 0
    while True:
        handle_request(number)
        number += 1
        time.sleep(0.001)


def functions(count):
    """So many functions, each with its own code, in modules of a thousand."""
    kept = []
    for first in range(0, count, _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, count))
        text = "\n".join("def function_%d(a, b):\n    return a + b + %d" % (number, number) for number in numbers)
        module = {"__name__": "module_%d" % first}
        exec(compile(text, "/srv/module_%d.py" % first, "exec"), module)
        kept.append(module)
    return kept


def main():
    megabytes, count, threads = map(int, sys.argv[1:])
    kept = [functions(count)]
    while resident_mb() < megabytes / 10:  # a tenth are Python's own objects, the rest is data
        kept.extend({"number": number, "name": "record %d" % number} for number in range(1000))
    while resident_mb() < megabytes:
        kept.append(bytearray(b"data") * (1 << 20))
    stop = threading.Event()
    threading.stack_size(256 << 10)
    for _ in range(threads - 1):
        threading.Thread(target=stop.wait, daemon=True).start()
    threading.Thread(target=work, daemon=True).start()
    print("ready %.0f" % resident_mb(), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
