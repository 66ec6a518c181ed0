"""Workers of ``multiprocessing`` that are forked from a server which runs already, or that are started anew.

forkserving.py [forkserver|spawn]
"""

import multiprocessing
import sys

from protocol import serve, truth

WORKERS, CALLS = 4, 50


def job(number):
    return number


def jobs(times):
    for number in range(times):
        job(number)


def works(context, times):
    workers = [context.Process(target=jobs, args=(times,)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0


def main():
    context = multiprocessing.get_context(sys.argv[1] if len(sys.argv) > 1 else "forkserver")
    works(context, 1)  # the server is there

    def run():
        works(context, CALLS)
        return {"job": truth(returned=WORKERS * CALLS)}

    serve(run)


if __name__ == "__main__":
    main()
