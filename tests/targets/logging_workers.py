"""A WSGI application for gunicorn: each worker writes down how long each call of ``handle`` took, in a file of its own.

A line is written before the answer is sent, so whoever has all answers finds all lines.
"""

import os
import time

FOLDER = os.environ["PYLAT_LOGS"]


def handle(number):
    time.sleep(0.001 * (1 + number % 23))
    if number % 10 == 3:
        raise LookupError(number)
    return b"found"


def application(environ, start_response):
    number = int(environ["PATH_INFO"].lstrip("/"))
    how = "returned"
    begin = time.perf_counter_ns()
    try:
        body = handle(number)
    except LookupError:
        how, body = "raised", b"missing"
    took_ns = time.perf_counter_ns() - begin
    with open(os.path.join(FOLDER, f"{os.getpid()}.log"), "a") as log:
        log.write(f"{how} {took_ns}\n")
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
