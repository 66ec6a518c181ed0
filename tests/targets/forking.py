"""A program that makes processes: forks in the middle of calls, ``multiprocessing``, another program.

A run answers with the truth of this process alone, of it and those forked from it, and of all together:
{"alone": {...}, "forked": {...}, "together": {...}}. Nothing of what a child does before its first line, or after its
last, is in it.
"""

import multiprocessing
import os
import subprocess
import sys

from protocol import serve, truth

N = 30
CHILDREN = 3


def work(number):
    if number % 10 == 9:
        raise ValueError(number)
    return number


def works(times):
    for number in range(times):
        try:
            work(number)
        except ValueError:
            pass


def suspends():
    yield 1
    work(0)
    yield 2


def forks_inside():
    """The call is open in the child too, which dies in it."""
    works(N)
    children = []
    for _ in range(CHILDREN):
        pid = os.fork()
        if pid == 0:
            works(2 * N)
            list(suspends())
            os._exit(0)
        children.append(pid)
    works(N)
    for pid in children:
        os.waitpid(pid, 0)


def forks_twice():
    """A grandchild."""
    pid = os.fork()
    if pid == 0:
        works(N)
        pid = os.fork()
        if pid == 0:
            works(N)
        else:
            os.waitpid(pid, 0)
        os._exit(0)
    os.waitpid(pid, 0)


def in_worker(number):
    works(N)
    return number


def pools(method):
    context = multiprocessing.get_context(method)
    workers = [context.Process(target=in_worker, args=(number,)) for number in range(CHILDREN)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0


def known(forks, workers):
    """The truth of this process, and of so many children made by fork and so many workers."""
    times = 2 * N + 2 * N * forks
    if forks:
        times += 2 * N  # of forks_twice
    times += N * workers
    yielded = 1 + forks
    return {
        "work": truth(times - times // 10 + yielded, raised=times // 10),
        "works": truth(2 + forks + (2 if forks else 0) + workers),
        "suspends": truth(yielded, suspensions=2 * yielded),
        "forks_inside": truth(1),
        "forks_twice": truth(1),
        "in_worker": truth(workers),
    }


def run():
    across = suspends()
    next(across)
    forks_inside()
    forks_twice()
    pools("fork")
    pools("spawn")
    subprocess.check_call([sys.executable, "-S", "-c", "def work(number): pass"])
    list(across)
    return {
        "alone": known(0, 0),
        "forked": known(CHILDREN, CHILDREN),
        "together": known(CHILDREN, 2 * CHILDREN),
    }


if __name__ == "__main__":
    serve(run)
