"""A server's inner loop: 4 threads call ``handle_request``, of mixed latencies; one call in a hundred raises.

requests.py [CALLS_PER_THREAD [DURATIONS_FILE]]

Each run writes two numbers for every call to the file, int64 nanoseconds in the machine's byte order: what the call
measured of itself, first statement to last, and what its caller measured around it.
"""

import sys
import time
from array import array

from protocol import call_in_threads, clock_ns, serve, truth, write_logs

THREADS = 4
CALLS = int(sys.argv[1]) if len(sys.argv) > 1 else 2500
DURATIONS_FILE = sys.argv[2] if len(sys.argv) > 2 else None


def handle_request(number, durations):
    began = clock_ns()
    if number % 100 == 99:
        durations.append(clock_ns() - began)
        raise ValueError(number)
    if number % 20 == 10:
        time.sleep(0.001)
    elif number % 4 == 2:
        for _ in range(500):
            pass
    durations.append(clock_ns() - began)


def worker(durations):
    for number in range(CALLS):
        began = clock_ns()
        try:
            handle_request(number, durations)
        except ValueError:
            pass
        durations.append(clock_ns() - began)


def run():
    logs = [array("q") for _ in range(THREADS)]
    call_in_threads(worker, [(log,) for log in logs])
    write_logs(DURATIONS_FILE, logs)
    raised = THREADS * (CALLS // 100)
    return {"handle_request": truth(returned=THREADS * CALLS - raised, raised=raised), "worker": truth(THREADS)}


if __name__ == "__main__":
    serve(run)
