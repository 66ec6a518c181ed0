"""Work that goes on while a test does something else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PAUSE_S = 0.05  # of work that takes a millisecond


@contextmanager
def again_and_again(work: Callable[[], object]) -> Iterator[list[None]]:
    """It is done all the time, with a pause between: the list is as long as it was done often.

    Without one a machine that is quick, or has other tests to run, leaves no moment at which nothing happens.
    """
    over, times = threading.Event(), list[None]()

    def run() -> None:
        while not over.is_set():
            work()
            times.append(None)
            over.wait(_PAUSE_S)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield times
    finally:
        over.set()
        thread.join()
