"""The part of ``scenarios.py`` that suspends: generators, coroutines, asynchronous generators.

Closed or collected while suspended is abandoned, if the generator dies of it; one that catches GeneratorExit and
returns has returned. One that was never started is no call, whatever is thrown into it.

A coroutine is driven by ``send``, without an event loop, so that each of its suspensions is known.
"""

import gc
import types

from protocol import Scenarios, truth

N = 50
STEPS = 5
scenario = Scenarios()


def counted():
    for number in range(STEPS):
        yield number


@scenario(counted=truth(N, suspensions=N * STEPS))
def run_for_loop():
    for _ in range(N):
        for _ in counted():
            pass


def stepped():
    yield 1
    yield 2


@scenario(stepped=truth(N, suspensions=2 * N))
def run_next():
    for _ in range(N):
        generator = stepped()
        next(generator)
        next(generator)
        next(generator, None)


def echo():
    received = None
    while received != "stop":
        received = yield received


@scenario(echo=truth(N, suspensions=3 * N))
def run_send():
    for _ in range(N):
        generator = echo()
        next(generator)
        generator.send("a")
        generator.send("b")
        try:
            generator.send("stop")
        except StopIteration:
            pass


def catches_throw():
    try:
        yield 1
    except ValueError:
        yield 2


def dies_of_throw():
    yield 1


def raises_inside():
    yield 1
    raise ValueError


@scenario(
    catches_throw=truth(N, suspensions=2 * N),
    dies_of_throw=truth(raised=N, suspensions=N),
    raises_inside=truth(raised=N, suspensions=N),
)
def run_throw():
    for _ in range(N):
        generator = catches_throw()
        next(generator)
        generator.throw(ValueError())
        next(generator, None)
        generator = dies_of_throw()
        next(generator)
        try:
            generator.throw(ValueError())
        except ValueError:
            pass
        try:
            list(raises_inside())
        except ValueError:
            pass


def closed():
    yield 1


def closed_with_cleanup():
    try:
        yield 1
    finally:
        cleaned_up()


def cleaned_up():
    return None


def never_started():
    yield 1


@scenario(
    closed=truth(suspensions=N, abandoned=N),
    closed_with_cleanup=truth(suspensions=N, abandoned=N),
    cleaned_up=truth(N),
    never_started=truth(),
)
def run_close():
    for _ in range(N):
        generator = closed()
        next(generator)
        generator.close()
        generator = closed_with_cleanup()
        next(generator)
        generator.close()
        generator = never_started()
        generator.close()
        generator = never_started()
        try:
            generator.throw(ValueError())
        except ValueError:
            pass
        never_started()


def closed_and_returns():
    try:
        yield 1
    except GeneratorExit:
        return


def closed_and_raises():
    try:
        yield 1
    finally:
        raise ValueError


def refuses_to_close():
    try:
        yield 1
    except GeneratorExit:
        pass
    yield 2


@scenario(
    closed_and_returns=truth(N, suspensions=N),
    closed_and_raises=truth(raised=N, suspensions=N),
    refuses_to_close=truth(N, suspensions=2 * N),
)
def run_resisting_close():
    for _ in range(N):
        generator = closed_and_returns()
        next(generator)
        generator.close()
        generator = closed_and_raises()
        next(generator)
        try:
            generator.close()
        except ValueError:
            pass
        generator = refuses_to_close()
        next(generator)
        try:
            generator.close()
        except RuntimeError:
            pass
        next(generator, None)


def collected():
    yield 1


@scenario(collected=truth(suspensions=N, abandoned=N))
def run_collected():
    for _ in range(N):
        generator = collected()
        next(generator)
        del generator


def collected_with_cleanup():
    try:
        yield 1
    finally:
        cleaned_up_at_death()


def cleaned_up_at_death():
    return None


def holds_another():
    other = collected_with_cleanup()
    next(other)
    try:
        yield 1
    finally:
        del other  # dies while the one that holds it is dying


def in_a_cycle(itself):
    yield 1
    itself.append(None)


@scenario(
    collected_with_cleanup=truth(suspensions=2 * N, abandoned=2 * N),
    cleaned_up_at_death=truth(2 * N),
    holds_another=truth(suspensions=N, abandoned=N),
    in_a_cycle=truth(suspensions=N, abandoned=N),
)
def run_collected_with_cleanup():
    for _ in range(N):
        generator = collected_with_cleanup()
        next(generator)
        del generator
        generator = holds_another()
        next(generator)
        del generator
        cycle = []
        cycle.append(in_a_cycle(cycle))
        next(cycle[0])
    del cycle
    gc.collect()


def inner():
    yield 1
    yield 2
    return 3


def delegating():
    return (yield from inner())


@scenario(inner=truth(N, suspensions=2 * N), delegating=truth(N, suspensions=2 * N))
def run_delegating():
    for _ in range(N):
        list(delegating())


def catches_inside():
    try:
        yield 1
    except ValueError:
        yield 2


def passes_on():
    yield from catches_inside()


def closed_inside():
    yield 1


def closes_inside():
    yield from closed_inside()


@scenario(
    catches_inside=truth(N, suspensions=2 * N),
    passes_on=truth(N, suspensions=N),  # what is thrown goes to the inner one past this one, which stays suspended
    closed_inside=truth(suspensions=N, abandoned=N),
    closes_inside=truth(suspensions=N, abandoned=N),
)
def run_delegating_exceptions():
    for _ in range(N):
        generator = passes_on()
        next(generator)
        generator.throw(ValueError())
        next(generator, None)
        generator = closes_inside()
        next(generator)
        generator.close()


def counts_down(depth):
    if depth:
        yield from counts_down(depth - 1)
    yield depth


def fails_deep_inside(depth):
    if depth:
        yield from fails_deep_inside(depth - 1)
    yield depth
    raise ValueError


@scenario(counts_down=truth(10 * N, suspensions=55 * N), fails_deep_inside=truth(raised=10 * N, suspensions=10 * N))
def run_recursive_generators():
    for _ in range(N):
        list(counts_down(9))
        try:
            list(fails_deep_inside(9))
        except ValueError:
            pass


def interleaved(number):
    yield number
    yield number


@scenario(interleaved=truth(N, suspensions=2 * N))
def run_interleaved():
    generators = [interleaved(number) for number in range(N)]
    for _ in range(3):
        for generator in generators:
            next(generator, None)


class Pause:
    def __await__(self):
        yield


def drive(coroutine):
    """Runs a coroutine to its end, and says how often it suspended."""
    suspensions = 0
    while True:
        try:
            coroutine.send(None)
        except StopIteration:
            return suspensions
        suspensions += 1


async def straight():
    return None


async def awaits():
    await Pause()
    await straight()


async def awaits_twice():
    await awaits()
    await awaits()


async def left_suspended():
    await Pause()


async def numbers():
    for number in range(STEPS):
        await Pause()
        yield number


async def consumes():
    async for _ in numbers():
        pass


@scenario(
    straight=truth(2 * N),
    awaits=truth(2 * N, suspensions=2 * N),
    awaits_twice=truth(N, suspensions=2 * N),
    # each step suspends once to wait and once to hand over its number
    numbers=truth(N, suspensions=2 * STEPS * N),
    consumes=truth(N, suspensions=STEPS * N),
    left_suspended=truth(suspensions=N, abandoned=N),
    drive=truth(2 * N),
)
def run_coroutines():
    for _ in range(N):
        assert drive(awaits_twice()) == 2
        assert drive(consumes()) == STEPS
        coroutine = left_suspended()
        coroutine.send(None)
        coroutine.close()


@types.coroutine
def paused():
    yield


async def is_thrown_into():
    try:
        await paused()
    except ValueError:
        await paused()


async def dies_of_what_is_thrown():
    await paused()


async def never_awaited():
    await paused()


class Manager:
    async def __aenter__(self):
        await paused()

    async def __aexit__(self, *details):
        return True


async def raises_within():
    async with Manager():
        raise ValueError


async def pairs():
    try:
        yield 1
        yield 2
    finally:
        await paused()


async def breaks_off():
    each = pairs()
    async for _ in each:
        break
    await each.aclose()


async def throws():
    each = pairs()
    await each.__anext__()
    try:
        await each.athrow(ValueError())
    except ValueError:
        pass


async def comprehends():
    return [each async for each in numbers()]


@scenario(
    is_thrown_into=truth(N, suspensions=2 * N),
    dies_of_what_is_thrown=truth(raised=N, suspensions=N),
    never_awaited=truth(),
    raises_within=truth(N, suspensions=N),
    # a number handed over is a suspension, and so is the pause at the end
    pairs=truth(raised=N, suspensions=4 * N, abandoned=N),
    breaks_off=truth(N, suspensions=N),
    throws=truth(N, suspensions=N),
    comprehends=truth(N, suspensions=STEPS * N),
    # is_thrown_into twice, and once each of the others that pause
    paused=truth(N + N + N + N, raised=N + N, suspensions=6 * N),
)
def run_more_coroutines():
    for _ in range(N):
        coroutine = is_thrown_into()
        coroutine.send(None)
        coroutine.throw(ValueError())
        drive(coroutine)
        coroutine = dies_of_what_is_thrown()
        coroutine.send(None)
        try:
            coroutine.throw(ValueError())
        except ValueError:
            pass
        never_awaited().close()
        assert drive(raises_within()) == 1
        assert drive(breaks_off()) == 1
        assert drive(throws()) == 1
        assert drive(comprehends()) == STEPS


scenario.known["Manager.__aenter__"] = truth(N, suspensions=N)
scenario.known["Manager.__aexit__"] = truth(N)
scenario.known["numbers"] = truth(2 * N, suspensions=4 * STEPS * N)
scenario.known["drive"] = truth(7 * N)

# one pause for each call of awaits, one for each step of numbers, one for each left_suspended, which is closed in it
scenario.known["Pause.__await__"] = truth((2 + 2 * STEPS) * N, suspensions=(3 + 2 * STEPS) * N, abandoned=N)
