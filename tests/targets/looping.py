"""The part of ``scenarios.py`` that runs in asyncio's event loop. How often each call suspends is known."""

import asyncio
import sys
import threading

from protocol import Scenarios, truth

N = 20
scenario = Scenarios()


def run_loop(coroutine):
    """``asyncio.run``, which came with 3.7."""
    if hasattr(asyncio, "run"):
        return asyncio.run(coroutine)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def gathered(number):
    await asyncio.sleep(0)
    if number % 2:
        raise ValueError
    await asyncio.sleep(0.001)
    return await nested()


async def nested():
    await asyncio.sleep(0)
    return await immediate()


async def immediate():
    return 1


@scenario(
    gathered=truth(N // 2, raised=N // 2, suspensions=N // 2 * 4),
    nested=truth(N // 2, suspensions=N // 2),
    immediate=truth(N // 2),
    gathers=truth(1, suspensions=1),
)
def run_gather():
    run_loop(gathers())


async def gathers():
    await asyncio.gather(*[gathered(number) for number in range(N)], return_exceptions=True)


async def sleeps_long():
    await asyncio.sleep(1000)


async def shields_itself():
    try:
        await asyncio.sleep(1000)
    except asyncio.CancelledError:
        await asyncio.sleep(0)


async def never_begins():
    await asyncio.sleep(0)


async def cancels():
    for _ in range(N):
        tasks = [asyncio.ensure_future(coroutine) for coroutine in (sleeps_long(), shields_itself())]
        await asyncio.sleep(0)
        # cancelled before its first step: the loop throws into a coroutine that has not started
        tasks.append(asyncio.ensure_future(never_begins()))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@scenario(
    sleeps_long=truth(raised=N, suspensions=N),
    shields_itself=truth(N, suspensions=2 * N),
    never_begins=truth(),
    cancels=truth(1, suspensions=2 * N),
)
def run_cancellation():
    run_loop(cancels())


async def times_out():
    await asyncio.sleep(1000)


async def is_in_time():
    await asyncio.sleep(0)


async def waits_for_both():
    for _ in range(N):
        try:
            await asyncio.wait_for(times_out(), 0.001)
        except asyncio.TimeoutError:
            pass
        await asyncio.wait_for(is_in_time(), 1000)


@scenario(
    times_out=truth(raised=N, suspensions=N),
    is_in_time=truth(N, suspensions=N),
)
def run_timeouts():
    run_loop(waits_for_both())


def blocks(released):
    return released.wait()


async def hands_to_threads():
    loop = asyncio.get_event_loop()
    for _ in range(N):
        released = threading.Event()
        loop.call_soon(released.set)  # when this has suspended
        if sys.version_info >= (3, 9):
            await asyncio.to_thread(blocks, released)
        else:
            await loop.run_in_executor(None, blocks, released)


@scenario(blocks=truth(N), hands_to_threads=truth(1, suspensions=N))
def run_threads_from_the_loop():
    run_loop(hands_to_threads())


async def ticks():
    for number in range(4):
        await asyncio.sleep(0)
        yield number


async def left_in_the_middle():
    await asyncio.sleep(0)
    yield 1
    await asyncio.sleep(0)


async def left_with_cleanup():
    try:
        yield 1
    finally:
        await asyncio.sleep(0)


async def iterates():
    for _ in range(N):
        async for _ in ticks():
            pass
        each = left_in_the_middle()
        await each.__anext__()
        each = left_with_cleanup()
        await each.__anext__()
        del each  # the loop closes both, in tasks of their own: they survive their finaliser
    for _ in range(5):
        await asyncio.sleep(0)  # until it has closed the last one


@scenario(
    ticks=truth(N, suspensions=8 * N),
    left_in_the_middle=truth(suspensions=2 * N, abandoned=N),
    left_with_cleanup=truth(suspensions=2 * N, abandoned=N),
    iterates=truth(1, suspensions=5 * N + 5),
)
def run_asynchronous_generators():
    run_loop(iterates())


async def forgotten():
    await asyncio.sleep(0)
    await asyncio.sleep(1000)


async def forgets():
    for _ in range(N):
        coroutine = forgotten()
        coroutine.send(None)
        del coroutine


@scenario(forgotten=truth(suspensions=N, abandoned=N), forgets=truth(1))
def run_forgotten():
    run_loop(forgets())
