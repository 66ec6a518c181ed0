"""The target of the growth benchmark: calls in many threads, deep, of many functions, in many processes.

    growing.py FUNCTIONS

A line of JSON on standard input is answered with one on standard output:

    ["threads", COUNT, CALLS], ["depth", COUNT, CALLS], ["functions", COUNT, CALLS]
                           -> [calls in all, nanoseconds of CPU time of one call]
    ["fork", COUNT]        -> the PIDs of COUNT children, which from then on are there
    ["processes", COUNT, CALLS] -> as above, in the children
"""

import _thread
import json
import os
import sys
import time


def wanted():
    pass


def down(depth):
    if depth > 1:
        down(depth - 1)


def made(count):
    """So many functions, each with a code object of its own."""
    space = {}
    exec("".join("def function_%d(): pass\n" % number for number in range(count)), space)
    return [space["function_%d" % number] for number in range(count)]


def repeat(turns):
    for _ in turns:
        wanted()


def threads(count, calls):
    each = range(calls // count)
    running = [_thread.allocate_lock() for _ in range(count)]
    go = _thread.allocate_lock()
    go.acquire()

    def run(done):
        with go:
            pass
        repeat(each)
        done.release()

    for lock in running:
        lock.acquire()
        _thread.start_new_thread(run, (lock,))
    begin = time.process_time_ns()
    go.release()
    for lock in running:
        lock.acquire()
    return count * len(each), time.process_time_ns() - begin


def depth(count, calls):
    turns = range(max(1, calls // count))
    begin = time.process_time_ns()
    for _ in turns:
        down(count)
    return count * len(turns), time.process_time_ns() - begin


def functions(count, calls):
    some = FUNCTIONS[:count]
    turns = range(max(1, calls // count))
    begin = time.process_time_ns()
    for _ in turns:
        for function in some:
            function()
    return count * len(turns), time.process_time_ns() - begin


class Children:
    """Processes that wait for a byte, make their calls, and answer with the nanoseconds that these took."""

    def __init__(self, count):
        self.pipes = []
        self.pids = []
        for _ in range(count):
            below, above = os.pipe(), os.pipe()
            pid = os.fork()
            if not pid:
                # its own end of each pipe alone, else it would not see that the others are closed
                for fd in [below[1], above[0]] + [fd for pipe in self.pipes for fd in pipe]:
                    os.close(fd)
                self.serve(below[0], above[1])
            os.close(below[0])
            os.close(above[1])
            self.pids.append(pid)
            self.pipes.append((below[1], above[0]))

    @staticmethod
    def serve(commands, answers):
        while True:
            calls = int.from_bytes(os.read(commands, 8), "little")
            if not calls:
                os._exit(0)
            begin = time.process_time_ns()
            repeat(range(calls))
            os.write(answers, (time.process_time_ns() - begin).to_bytes(8, "little"))

    def run(self, count, calls):
        each = calls // count
        for command, _ in self.pipes[:count]:
            os.write(command, each.to_bytes(8, "little"))
        took_ns = [int.from_bytes(os.read(answer, 8), "little") for _, answer in self.pipes[:count]]
        return each * count, sum(took_ns)

    def end(self):
        for command, answer in self.pipes:
            os.write(command, bytes(8))
            os.close(command)
            os.close(answer)
        for pid in self.pids:
            os.waitpid(pid, 0)


FUNCTIONS = made(int(sys.argv[1]))
SERIES = {"threads": threads, "depth": depth, "functions": functions}


def main():
    sys.setrecursionlimit(5000)
    children = Children(0)
    print(json.dumps("ready"), flush=True)
    while True:
        line = sys.stdin.readline()
        if not line:
            break
        command = json.loads(line)
        if command[0] == "fork":
            children.end()
            children = Children(command[1])
            print(json.dumps(children.pids), flush=True)
            continue
        run = children.run if command[0] == "processes" else SERIES[command[0]]
        calls, took_ns = run(*command[1:])
        print(json.dumps([calls, took_ns / calls]), flush=True)
    children.end()


if __name__ == "__main__":
    main()
