"""An HTTP server (aiohttp) that times its own requests, from within the handler and from the middleware around it.

Writes its port to the file ``port`` before it is ready. A run answers with the truth of the requests since the last
one, and writes three numbers for each to ``durations``, int64 nanoseconds in the machine's byte order: what it took
from the handler's first statement to its last, and from before the handler to after it; and what it ran at most, from
around each of its stays on the stack.
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
        began = clock_ns()
        number = int(request.match_info["number"])
        await asyncio.sleep(0.01 + 0.001 * (number % 20))
        try:
            return web.json_response(await self.stored(number))
        finally:
            request["inner_ns"] = clock_ns() - began

    async def stored(self, number):
        await asyncio.sleep(0.001)
        if number % 50 == 7:
            raise web.HTTPNotFound
        return number


class Stays:
    """Awaits a coroutine, and times each of its stays on the stack from around it."""

    def __init__(self, coroutine):
        self.coroutine = coroutine
        self.outer_ns = 0

    def __await__(self):
        while True:
            began = clock_ns()
            try:
                future = self.coroutine.send(None)
            except StopIteration as end:
                return end.value
            finally:
                self.outer_ns += clock_ns() - began
            yield future


@web.middleware
async def timing(request, handler):
    global answered, failed
    began = clock_ns()
    stays = Stays(handler(request))
    try:
        response = await stays
        answered += 1
        return response
    except web.HTTPNotFound:
        failed += 1
        raise
    finally:
        durations.extend((request["inner_ns"], clock_ns() - began, stays.outer_ns))


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
