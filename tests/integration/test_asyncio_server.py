"""A real asyncio server under load: what pylat calls the latency of a handler is what its requests took."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable

import numpy as np

from tests.brackets import outside
from tests.requirements import require
from tests.target_program import TargetProgram
from tests.watch import Watch, of_names, wrong

CLIENTS, REQUESTS = 200, 10


async def load(port: int) -> None:
    """All clients at once, each with a connection of its own and one request after the other."""
    import aiohttp

    async def client(number: int) -> None:
        async with aiohttp.ClientSession() as http:
            for request in range(REQUESTS):
                async with http.get(f"http://127.0.0.1:{port}/{number * REQUESTS + request}") as response:
                    await response.read()

    await asyncio.gather(*[client(number) for number in range(CLIENTS)])


def test_a_request_takes_as_long_as_the_server_says(
    environment_interpreter: object, start_target: Callable[..., TargetProgram], watch: Callable[..., Watch]
) -> None:
    require(importlib.util.find_spec("aiohttp"), "aiohttp is not installed (script/setup --tests)")
    target = start_target(environment_interpreter, "served.py")
    port = int((target.directory / "port").read_text())
    some = watch(target.pid, ["Api.*", "timing"], elapsed=True)
    asyncio.run(load(port))
    recording = some.stop()
    truth = target.run()
    assert truth["Api.get"]["calls"] == CLIENTS * REQUESTS
    assert truth["Api.get"]["raised"] == CLIENTS * REQUESTS // 50
    assert wrong(recording, truth) == {}
    inner_ns, outer_ns, ran_ns = np.fromfile(target.directory / "durations", np.int64).reshape(-1, 3).T
    (get,) = of_names(recording, ["Api.get"])["Api.get"]
    assert outside(get.wall, inner_ns, outer_ns) == []
    assert get.active is not None
    assert outside(get.active, np.zeros_like(ran_ns), ran_ns) == []
