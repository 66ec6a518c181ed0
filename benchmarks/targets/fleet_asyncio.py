"""The same as ``fleet_wsgi.py`` as an asyncio server, in one process: ``fleet_asyncio.py PORT``."""

import asyncio
import os
import sys
import time

from aiohttp import web

LOG = open(os.path.join(os.environ["PYLAT_LOGS"], "asyncio.log"), "a", buffering=1)


async def handle(wait_us):
    await asyncio.sleep(wait_us / 1e6)
    return b"found"


async def respond(request):
    begin = time.perf_counter_ns()
    body = await handle(int(request.match_info["wait"]))
    LOG.write("%d\n" % (time.perf_counter_ns() - begin))
    return web.Response(body=body)


if __name__ == "__main__":
    application = web.Application()
    application.router.add_get("/{wait}", respond)
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), print=None)
