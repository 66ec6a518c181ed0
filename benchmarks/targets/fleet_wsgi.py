"""A WSGI application for gunicorn: a request says how many microseconds ``handle`` is to take; each worker writes down
how long each call really took, in a file of its own.

A line is written before the answer is sent, so whoever has all answers finds all lines.
"""

import os
import time

FOLDER = os.environ["PYLAT_LOGS"]


def handle(wait_us):
    time.sleep(wait_us / 1e6)
    return b"found"


def application(environ, start_response):
    wait_us = int(environ["PATH_INFO"].lstrip("/"))
    begin = time.perf_counter_ns()
    body = handle(wait_us)
    took_ns = time.perf_counter_ns() - begin
    with open(os.path.join(FOLDER, "%d.log" % os.getpid()), "a") as log:
        log.write("%d\n" % took_ns)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
