"""The target of the start benchmark: a process of about so many megabytes, full of Python's own objects, that works.

    large.py MEGABYTES

Says ``ready`` and its resident megabytes, and runs until its standard input ends.
"""

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
    threading.Thread(target=work, daemon=True).start()
    print("ready %.0f" % resident_mb(), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
