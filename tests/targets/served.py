"""An HTTP server (aiohttp) that times its own requests, from the middleware around the handler.

Writes its port to the file ``port`` before it is ready. A run answers with the truth of the requests since the last
one, and writes what the middleware measured to ``durations``: int64 nanoseconds in the machine's byte order.
"""

import asyncio
import threading
from array import array

from aiohttp import web
from protocol import clock_ns, serve, truth

durations = array("q")
answered = 0
failed = 0


class Api:
    async def get(self, request):
        """Suspends twice: here, and in what it awaits."""
        number = int(request.match_info["number"])
        await asyncio.sleep(0.01 + 0.001 * (number % 20))
        return web.json_response(await self.stored(number))

    async def stored(self, number):
        await asyncio.sleep(0.001)
        if number % 50 == 7:
            raise web.HTTPNotFound
        return number


@web.middleware
async def timing(request, handler):
    global answered, failed
    began = clock_ns()
    try:
        response = await handler(request)
        answered += 1
        return response
    except web.HTTPNotFound:
        failed += 1
        raise
    finally:
        durations.append(clock_ns() - began)


async def start():
    application = web.Application(middlewares=[timing])
    application.router.add_get("/{number}", Api().get)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=512)
    await site.start()
    with open("port", "w") as file:
        file.write(str(runner.addresses[0][1]))


def run():
    global answered, failed
    with open("durations", "wb") as file:
        durations.tofile(file)
    numbers = {"returned": answered, "raised": failed, "suspensions": 2 * (answered + failed)}
    stored = {**numbers, "suspensions": answered + failed}
    answered = failed = 0
    del durations[:]
    return {"Api.get": truth(**numbers), "Api.stored": truth(**stored), "timing": truth(**numbers)}


if __name__ == "__main__":
    loop = asyncio.new_event_loop()
    loop.run_until_complete(start())
    threading.Thread(target=loop.run_forever, daemon=True).start()
    serve(run)
