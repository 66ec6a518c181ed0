"""A master that knows none of the functions that matter: two children, started by exec, have them.

spawning.py FILE: of this folder, say recursion.py.
"""

import subprocess
import sys
from json import loads

from protocol import added, serve

WORKER = sys.argv[1]
pipe = subprocess.PIPE
workers = [
    subprocess.Popen([sys.executable, "-B", WORKER, "10", "10"], stdin=pipe, stdout=pipe, universal_newlines=True)
    for _ in range(2)
]
for worker in workers:
    worker.stdout.readline()  # it is ready


def answer(worker):
    worker.stdin.write("run\n")
    worker.stdin.flush()
    return loads(worker.stdout.readline())


def run():
    return added([answer(worker) for worker in workers])


if __name__ == "__main__":
    serve(run)
