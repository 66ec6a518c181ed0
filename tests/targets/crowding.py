"""More calls at once than the tables hold.

crowding.py DEPTH WAITING TIMES [cut]    how deep recursion goes, how many generators wait, how often; with "cut" a
                                         thread ends inside of recursion instead
"""

import _thread
import ctypes
import os
import sys
import threading

from protocol import serve, truth
from recursion import descend, plunge

DEPTH, WAITING, TIMES = map(int, sys.argv[1:4])
SYS_EXIT = 60  # x86-64
libc = ctypes.CDLL(None)


def waits():
    yield


def crowd():
    every = [waits() for _ in range(WAITING)]
    for each in every:
        next(each)
    for each in every:
        assert not list(each)


def never_returns(depth, tids):
    if depth > 1:
        never_returns(depth - 1, tids)
    tids.append(threading.get_native_id())
    libc.syscall(SYS_EXIT, 0)


def run():
    if sys.argv[4:] == ["cut"]:
        tids = []
        _thread.start_new_thread(never_returns, (DEPTH, tids))
        while not tids or os.path.exists(f"/proc/self/task/{tids[0]}"):
            pass
        return {"never_returns": truth()}
    for _ in range(TIMES):
        crowd()
        descend(DEPTH)
        try:
            plunge(DEPTH)
        except KeyError:
            pass
    return {
        "waits": truth(WAITING * TIMES, suspensions=WAITING * TIMES),
        "descend": truth(DEPTH * TIMES),
        "plunge": truth(raised=DEPTH * TIMES),
    }


sys.setrecursionlimit(DEPTH + 1000)
serve(run)
