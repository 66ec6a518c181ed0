"""Clients of the cookbook's servers: load.py PORT THREADS PAUSE_S PATH…; {n} in a path is a number."""

from __future__ import annotations

import http.client
import itertools
import sys
import threading
import time

port, threads, pause_s, paths = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]
numbers = itertools.count()


def client():
    while True:
        number = next(numbers)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("GET", paths[number % len(paths)].format(n=number))
            connection.getresponse().read()
        except OSError as error:
            print(error, file=sys.stderr)  # noqa: T201
        finally:
            connection.close()
        time.sleep(pause_s)


for _ in range(threads):
    threading.Thread(target=client).start()
