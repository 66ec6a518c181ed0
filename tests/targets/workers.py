"""A program that has forked its workers already, as servers do; each does as much as it does itself.

workers.py [WORKERS]    one more forks a child of its own in each run
"""

import os
import sys
import threading

from protocol import serve, truth

N = 50
WORKERS = int(sys.argv[1]) if len(sys.argv) > 1 else 2


def answers(number):
    if number % 10 == 3:
        raise LookupError(number)
    return nested(number)


def nested(number):
    return number if number <= 0 else nested(number - 1)


def work():
    for number in range(N):
        try:
            answers(number % 10)
        except LookupError:
            pass


def works_in_threads():
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def forks():
    """What a child does before it ends."""
    child = os.fork()
    if child == 0:
        works_in_threads()
        os._exit(0)
    os.waitpid(child, 0)


def worker(body):
    """(what wakes it, what it wakes): pipes to a worker that runs ``body`` each time."""
    ask, asked = os.pipe()
    done, tell = os.pipe()
    if os.fork() == 0:
        for fd in asked, done:
            os.close(fd)
        while os.read(ask, 1):
            body()
            os.write(tell, b".")
        os._exit(0)
    os.close(ask)
    os.close(tell)
    return asked, done


def run():
    for asked, _ in workers:
        os.write(asked, b".")
    for _, done in workers:
        os.read(done, 1)
    works_in_threads()
    times = 2 * N * (WORKERS + 2)
    raised = times // 10
    depths = sum(number + 1 for number in range(10) if number != 3) * times // 10
    return {"answers": truth(times - raised, raised=raised), "nested": truth(depths)}


if __name__ == "__main__":
    workers = [worker(works_in_threads) for _ in range(WORKERS)]
    workers.append(worker(forks))
    serve(run)
