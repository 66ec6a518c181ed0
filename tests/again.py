"""Work that goes on while a test does something else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def again_and_again(work: Callable[[], object]) -> Iterator[list[None]]:
    """It is done all the time; the list is as long as it was done often."""
    over, times = threading.Event(), list[None]()

    def run() -> None:
        while not over.is_set():
            work()
            times.append(None)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield times
    finally:
        over.set()
        thread.join()
