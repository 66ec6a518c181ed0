"""The target of the view's benchmark: very many functions, called at a steady rate.

    many.py FUNCTIONS CALLS_PER_SECOND

A line of JSON on standard input is answered with one on standard output:

    ["begin"] -> true; from now on it calls
    ["end"]   -> [calls since, seconds since]; all functions were called equally often, but for the last round
"""

import json
import sys
import threading
import time

_EACH_S = 0.005


def made(count):
    """So many functions, each with a code object of its own."""
    space = {}
    exec("".join("def function_%d(): pass\n" % number for number in range(count)), space)
    return [space["function_%d" % number] for number in range(count)]


def main():
    count, rate = map(int, sys.argv[1:])
    functions = made(count)
    going, state = threading.Event(), {"calls": 0}

    def work():
        at, calls = 0, 0
        begin = time.perf_counter()
        while going.is_set():
            wanted = int((time.perf_counter() - begin) * rate)
            while calls < wanted and going.is_set():
                some = functions[at : at + min(wanted - calls, 500)]
                for function in some:
                    function()
                calls += len(some)
                at = (at + len(some)) % count
            state["calls"] = calls
            time.sleep(_EACH_S)
        state["calls"], state["seconds"] = calls, time.perf_counter() - begin

    print(json.dumps("ready"), flush=True)
    thread = None
    for line in iter(sys.stdin.readline, ""):
        if json.loads(line)[0] == "begin":
            going.set()
            thread = threading.Thread(target=work)
            thread.start()
            answer = True
        else:
            going.clear()
            thread.join()
            answer = [state["calls"], state["seconds"]]
        print(json.dumps(answer), flush=True)


main()
