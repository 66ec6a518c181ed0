"""The wish to end a measurement: from a signal handler at any moment, and from a thread."""

from __future__ import annotations

import random
import signal
import threading

from latency.tracing.loop import Stop

_LONG_S = 300.0


def test_a_signal_at_any_moment_of_waiting_ends_it() -> None:
    random.seed(1)
    before = signal.getsignal(signal.SIGALRM)
    try:
        for _ in range(3000):
            stop = Stop()
            signal.signal(signal.SIGALRM, lambda *_, stop=stop: stop.set())
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 2e-4))
            # As the measuring loop does it: a signal just before the wait is handled behind it.
            while not stop.wait(random.choice((0.0, 1e-5, 0.05))):
                pass
            assert stop.is_set()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_second_wish_while_the_first_is_served_is_no_harm() -> None:
    stop = Stop()
    stop.set()
    stop.set()
    assert all(stop.wait(_LONG_S) for _ in range(3))


def test_a_thread_ends_the_waiting() -> None:
    stop = Stop()
    assert not stop.wait(0.001)
    thread = threading.Timer(0.01, stop.set)
    thread.start()
    assert stop.wait(_LONG_S)
    thread.join()
