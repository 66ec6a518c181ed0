"""A call that does not end by itself: each run lets the one of the run before end, and begins another.

A run answers with the time before the call, and a time in it (CLOCK_MONOTONIC, nanoseconds).
"""

import threading

from protocol import clock_ns, serve

answer = {}
inside = threading.Event()
may_end = threading.Event()
threads = []


def hangs(released):
    answer["inside_ns"] = clock_ns()
    inside.set()
    released.wait()


def run():
    global may_end
    may_end.set()
    for thread in threads:
        thread.join()
    may_end = threading.Event()
    inside.clear()
    answer["before_ns"] = clock_ns()
    threads[:] = [threading.Thread(target=hangs, args=(may_end,))]
    threads[0].daemon = True
    threads[0].start()
    inside.wait()
    return answer


if __name__ == "__main__":
    serve(run)
