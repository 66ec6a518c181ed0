"""The part of ``scenarios.py`` that runs in several threads."""

import threading
from concurrent.futures import ThreadPoolExecutor

from protocol import Scenarios, truth

N = 200
THREADS = 64
scenario = Scenarios()


def called_in_thread(value):
    return value


def thread_body():
    for number in range(N):
        called_in_thread(number)


@scenario(called_in_thread=truth(4 * N), thread_body=truth(4))
def run_threads():
    threads = [threading.Thread(target=thread_body) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def all_at_once(barrier):
    meets(barrier, 3)


def meets(barrier, depth):
    barrier.wait()  # every thread is in its call here
    if depth:
        meets(barrier, depth - 1)
    else:
        raise ValueError


def guarded(barrier):
    try:
        all_at_once(barrier)
    except ValueError:
        pass


@scenario(all_at_once=truth(raised=THREADS), meets=truth(raised=4 * THREADS), guarded=truth(THREADS))
def run_many_threads():
    barrier = threading.Barrier(THREADS)
    threads = [threading.Thread(target=guarded, args=(barrier,)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def pooled(number):
    if number % 10 == 0:
        raise ValueError
    return number


@scenario(pooled=truth(N - N // 10, raised=N // 10))
def run_pool():
    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(pooled, number) for number in range(N)]:
            future.exception()


def short_lived():
    return None


@scenario(short_lived=truth(N))
def run_short_threads():
    for _ in range(N):
        thread = threading.Thread(target=short_lived)
        thread.start()
        thread.join()


def handed_on():
    yield threading.get_ident()
    yield threading.get_ident()


@scenario(handed_on=truth(10, suspensions=20))
def run_generators_across_threads():
    for _ in range(10):
        generator = handed_on()
        for _ in range(3):
            thread = threading.Thread(target=next, args=(generator, None))
            thread.start()
            thread.join()
