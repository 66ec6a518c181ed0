"""The part of ``scenarios.py`` that suspends: generators, coroutines, asynchronous generators.

A coroutine is driven by ``send``, without an event loop, so that each of its suspensions is known.
"""

from protocol import Scenarios, serve, truth

N = 100
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


def collected():
    yield 1


@scenario(collected=truth(suspensions=N, abandoned=N))
def run_collected():
    for _ in range(N):
        generator = collected()
        next(generator)
        del generator


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


# one pause for each call of awaits, one for each step of numbers, one for each left_suspended, which is closed in it
scenario.known["Pause.__await__"] = truth((2 + STEPS) * N, suspensions=(3 + STEPS) * N, abandoned=N)


if __name__ == "__main__":
    serve(scenario.run)
