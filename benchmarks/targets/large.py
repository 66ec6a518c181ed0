"""The target of the start benchmark: a process of about so many megabytes, full of Python's own objects, that works.

    large.py MEGABYTES [GIB]

With GIB it has reserved so many gibibytes, too, of which it has touched a page of each.

Says ``ready`` and its resident megabytes, and runs until its standard input ends.
"""

import mmap
import sys
import threading
import time


class Record:
    def __init__(self, number):
        self.number = number
        self.name = "record %d" % number
        self.parts = [float(number), str(number), {"number": number}]


def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def handle_request(number):
    return sum(parse(each) for each in range(number % 20))


def parse(number):
    return number * 2


def work():
    number = 0
    while True:
        handle_request(number)
        number += 1
        time.sleep(0.001)


def main():
    kept = []
    while resident_mb() < float(sys.argv[1]):
        kept.extend(Record(number) for number in range(1000))
    gibibytes = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    if gibibytes:
        noreserve = 0x4000
        reserved = mmap.mmap(-1, gibibytes << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | noreserve)
        for place in range(0, gibibytes << 30, 1 << 30):
            reserved[place] = 1
    threading.Thread(target=work, daemon=True).start()
    print("ready %.0f" % resident_mb(), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
