"""A program to be frozen: calls ``work`` itself and in processes, which are the program again, and says how often."""

import json
import multiprocessing


def work(number):
    return number


def worker(times):
    for number in range(times):
        work(number)


if __name__ == "__main__":
    multiprocessing.freeze_support()
    calls = [100, 10, 20, 30]
    worker(calls[0])
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=worker, args=(times,)) for times in calls[1:]]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print(json.dumps({"alone": calls[0], "together": sum(calls)}))
