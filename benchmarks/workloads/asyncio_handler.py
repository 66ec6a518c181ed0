"""An asyncio server with four clients on the loopback interface. The coroutine ``handle`` is what to measure.

Each request awaits the answer of a backend, which takes a millisecond; the rest of a call is its own work.
"""

from __future__ import annotations

import asyncio

from options import parse, sizes

_TYPICAL_WORK = 400
_CLIENTS = 4
_BACKEND_S = 0.001


async def backend(key: int) -> int:
    """What another service would say."""
    await asyncio.sleep(_BACKEND_S)
    return key * 31


async def handle(line: bytes) -> bytes:
    """The answer to one request."""
    value = await backend(int(line))
    for step in range(int(line)):
        value = (value * 33 + step) % 1_000_003
    return b"%d\n" % value


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, until the client closes it."""
    while line := await reader.readline():
        writer.write(await handle(line))
        await writer.drain()
    writer.close()


async def ask(port: int, work: list[int]) -> None:
    """One client: a request after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for each in work:
        writer.write(b"%d\n" % each)
        await reader.readline()
    writer.close()
    await writer.wait_closed()


async def main(work: list[int]) -> None:
    """The server, and its clients in turns."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await asyncio.gather(*(ask(port, work[number::_CLIENTS]) for number in range(_CLIENTS)))
    server.close()
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main(sizes(parse(__doc__, 1000), _TYPICAL_WORK)))
