"""A feed: aiohttp, an upstream that is waited for, and pages that are rendered. Says its port on standard output.

GET /NUMBER     a page; every 50th blocks the loop for as long as it is rendered
GET /stuck      waits for an answer that never comes
"""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

ARTICLES = [{"id": it, "title": f"Article {it}", "tags": ["a", "b"]} for it in range(2000)]


async def page(request):
    number = int(request.match_info["number"])
    articles = await upstream(number)
    return web.Response(text=render(articles))


async def upstream(number):
    await asyncio.sleep(0.005 + 0.001 * (number % 10))
    return ARTICLES if number % 50 == 0 else ARTICLES[:40]


def render(articles):
    return json.dumps([sorted(it.items(), key=lambda item: item[0]) for it in articles])


async def stuck(request):
    await asyncio.get_running_loop().create_future()


async def main():
    application = web.Application()
    application.router.add_get("/stuck", stuck)
    application.router.add_get("/{number}", page)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)  # noqa: T201
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
