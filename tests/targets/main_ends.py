"""A program whose main thread ends after the first line that it is sent; what it is asked then is done by another."""

import ctypes
import os
import sys
import threading

from protocol import say, serve, truth

CALLS = 1000


def work():
    pass


def run():
    for _ in range(CALLS):
        work()
    return {"work": truth(returned=CALLS)}


def serves():
    serve(run)
    os._exit(0)


say({"ready": True})
sys.stdin.readline()
threading.Thread(target=serves).start()
ctypes.CDLL(None).pthread_exit(None)
