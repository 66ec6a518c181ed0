"""An HTTP server (aiohttp) whose handler makes 5,000 Python calls in about 5 ms.

web_app.py PORT
"""

import sys
import time

from aiohttp import web

CALLS = 5000
HANDLER_NS = 5000000


def price(number, steps):
    """One of the calls: about a microsecond of arithmetic."""
    total = number
    for step in steps:
        total = (total * 31 + step) & 0xFFFF
    return total


def handle_request(steps):
    total = 0
    for number in range(CALLS):
        total ^= price(number, steps)
    return total


def calibrated():
    """The steps with which a request takes HANDLER_NS here."""

    def took_ns(steps):
        best = None
        for _ in range(5):
            begin = time.thread_time_ns()
            handle_request(steps)
            best = min(best or 1 << 62, time.thread_time_ns() - begin)
        return best

    few, many = took_ns(range(2)), took_ns(range(22))
    return range(max(1, round(2 + 20 * (HANDLER_NS - few) / (many - few))))


STEPS = calibrated()


async def answer(request):
    return web.Response(text=str(handle_request(STEPS)))


def main():
    application = web.Application()
    application.router.add_get("/", answer)
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)


if __name__ == "__main__":
    main()
