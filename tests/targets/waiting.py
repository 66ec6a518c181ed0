"""Generators, coroutines and asynchronous generators (3.11 and later): what the watch engine is tried on that suspends.

waiting.py [ROUNDS]     each is called a number of times that is known by construction

Each function has all endings that its kind can have. Suspensions are no part of the truth: the engine sees none.
"""

import asyncio
import gc
import sys
import threading
import time

from protocol import serve, truth

N = int(sys.argv[1]) if len(sys.argv) > 1 else 40
THREADS = 4


def generates(how, depth=0):
    if depth:
        yield from generates(how, depth - 1)
    try:
        yield 1
    except KeyError:
        yield 2
    if how == "early":
        return "early"
    if how == "raises":
        raise ValueError(how)
    yield 3


def run_generates():
    for _ in range(N):
        list(generates("late"))
        list(generates("early", depth=4))
        attempt(lambda: list(generates("raises", depth=2)))
        caught = started(generates("late"), 1)
        caught.throw(KeyError())
        list(caught)
        attempt(started(generates("late"), 1).throw, ValueError())
        started(generates("late"), 1).close()
        started(generates("late"), 2).close()
        started(generates("late"), 2)
        generates("late").close()
        attempt(generates("late").throw, ValueError())
        generates("late")
    return truth(N + 5 * N + N, raised=3 * N + N, abandoned=3 * N)


async def handles(how):
    await asyncio.sleep(0)
    if how == "raises":
        raise ValueError(how)
    try:
        await asyncio.sleep(60 if how == "cancelled" else 0)
    finally:
        await asyncio.sleep(0)
    if how == "calls":
        return await handles("plain")
    return how


async def run_handles():
    tasks = [asyncio.create_task(handles(how)) for how in ("plain", "raises", "calls", "cancelled") for _ in range(N)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for task in tasks[3 * N :]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    never = [handles("never") for _ in range(N)]
    for each in never:
        each.close()
    left = [handles("left") for _ in range(N)]
    for each in left:
        each.send(None)
        each.close()
    return truth(N + 2 * N, raised=2 * N, abandoned=N)


async def produces(how):
    try:
        yield 1
        await asyncio.sleep(0)
        if how == "raises":
            raise ValueError(how)
        yield 2
    finally:
        await asyncio.sleep(0)


async def run_produces():
    for _ in range(N):
        assert [each async for each in produces("whole")] == [1, 2]
        try:
            async for _ in produces("raises"):
                pass
        except ValueError:
            pass
        closed = produces("closed")
        await closed.__anext__()
        await closed.aclose()
        thrown = produces("thrown")
        await thrown.__anext__()
        try:
            await thrown.athrow(KeyError())
        except KeyError:
            pass
    return truth(N, raised=2 * N, abandoned=N)


def squares(numbers):
    return (number * number for number in numbers)


def run_squares():
    for _ in range(N):
        list(squares(range(3)))
        next(squares(range(3)))
    return truth(N, abandoned=N)


def crosses():
    yield threading.get_ident()
    yield threading.get_ident()


def run_crosses():
    """Each is started by one thread and ended by another; the threads take turns."""
    begun, ended = [], []

    def begin():
        generators = [crosses() for _ in range(N)]
        for each in generators:
            next(each)
        begun.append(generators)

    def end(generators):
        for each in generators:
            next(each)
            ended.append(next(each, "ended"))

    in_threads([begin] * THREADS)
    in_threads([lambda generators=generators: end(generators) for generators in begun])
    assert ended == ["ended"] * THREADS * N
    return truth(THREADS * N)


def traced(number):
    yield number
    if number % 5 == 0:
        raise ValueError(number)
    yield number


def tracer(frame, event, argument):
    frame.f_code.co_code
    return tracer


def run_traced():
    """Tools that rewrite its units are switched between its calls, and while they are suspended."""
    turns = 0
    for switch in sys.settrace, sys.setprofile:
        for number in range(N):
            generator = traced(number)
            switch(tracer if number % 3 else None)
            next(generator)
            switch(tracer if number % 2 else None)
            attempt(lambda generator=generator: list(generator))
            switch(None)
            turns += 1
    if sys.version_info >= (3, 12):
        tool, events = sys.monitoring.DEBUGGER_ID, sys.monitoring.events
        every = (
            events.PY_START | events.PY_RETURN | events.PY_YIELD | events.PY_RESUME | events.LINE | events.INSTRUCTION
        )
        sys.monitoring.use_tool_id(tool, "waiting")
        for event in (
            events.PY_START,
            events.PY_RETURN,
            events.PY_YIELD,
            events.PY_RESUME,
            events.LINE,
            events.INSTRUCTION,
        ):
            sys.monitoring.register_callback(tool, event, lambda *_: None)
        for number in range(N):
            generator = traced(number)
            sys.monitoring.set_events(tool, every if number % 3 else 0)
            next(generator)
            sys.monitoring.set_events(tool, every if number % 2 else 0)
            attempt(lambda generator=generator: list(generator))
            turns += 1
        sys.monitoring.set_events(tool, 0)
        sys.monitoring.free_tool_id(tool)
    list(traced(1))  # from here on its units are its own again
    raised = turns // N * len(range(0, N, 5))
    return truth(turns - raised + 1, raised=raised)


def asks(number):
    """Whose last unit but one is a call of C."""
    yield number
    if number % 2:
        return getattr(number, "real")
    return max(number, 1)


def run_asks():
    for number in range(2 * N):
        list(asks(number))
    turns = 2 * N
    if sys.version_info >= (3, 12):
        tool, call = sys.monitoring.DEBUGGER_ID, sys.monitoring.events.CALL
        sys.monitoring.use_tool_id(tool, "waiting")
        sys.monitoring.register_callback(tool, call, lambda *_: None)
        sys.monitoring.set_events(tool, call)
        for number in range(2 * N):
            list(asks(number))
        sys.monitoring.set_events(tool, 0)
        sys.monitoring.free_tool_id(tool)
        list(asks(1))
        list(asks(2))
        turns += 2 * N + 2
    return truth(turns)


def maps(number):
    """Debian's 3.11.2 has the frame in no register while it fetches the unit behind what makes a dict."""
    yield number
    return {"number": number}


def run_maps():
    for number in range(N):
        list(maps(number))
    return truth(N)


def shut(number):
    try:
        yield number
    finally:
        gc.collect(0)


def run_shut():
    """Freed while suspended, by a cycle's end and by the last reference; and still suspended at the end."""
    for number in range(N):
        generator = started(shut(number), 1)
        cycle = [started(shut(number), 1)]
        cycle.append(cycle)
        del generator, cycle
    gc.collect()
    held[:] = [started(shut(number), 1) for number in range(3)]
    return truth(abandoned=2 * N)


async def waits(seconds):
    begin = time.perf_counter_ns()
    await asyncio.sleep(seconds)
    return time.perf_counter_ns() - begin


async def run_waits():
    """The file ``durations`` gets a line for each call: what it took from within, and from around it, nanoseconds."""
    with open("durations", "w") as file:
        for _ in range(N):
            begin = time.perf_counter_ns()
            inner = await waits(0.001)
            print(inner, time.perf_counter_ns() - begin, file=file)
    return truth(N)


def three_returns(number):
    yield number
    if number == 1:
        return 1
    yield number
    if number == 2:
        return 2
    yield number


held = []


def started(generator, steps):
    for _ in range(steps):
        next(generator)
    return generator


def attempt(function, *arguments):
    try:
        function(*arguments)
    except (ValueError, KeyError):
        pass


def in_threads(functions):
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def in_loop():
    return {
        "handles": await run_handles(),
        "produces": await run_produces(),
        "waits": await run_waits(),
    }


def run():
    del held[:]
    known = {
        "generates": run_generates(),
        "squares.<locals>.<genexpr>": run_squares(),
        "crosses": run_crosses(),
        "traced": run_traced(),
        "asks": run_asks(),
        "maps": run_maps(),
        "shut": run_shut(),
        **asyncio.run(in_loop()),
    }
    for number in range(3):
        list(three_returns(number))
    return known


if __name__ == "__main__":
    serve(run)
