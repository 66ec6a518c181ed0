"""Probes are taken away by short-lived children of pylat, so that ``kill -9`` of pylat leaves no breakpoint.

Linux writes breakpoints through get_user_pages, which gives up where its caller has a SIGKILL pending (mm/gup.c). A
pylat that is killed just then would leave some behind, until somebody probes the same place again: "failed to
unregister, leaking uprobe" (kernel/events/uprobes.c, Linux 6.18). A process that is killed at any other moment closes
its files after its signals, and nothing stays.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

_MOST = 64  # descriptors in one message; the kernel takes 253 (SCM_MAX_FD)
_ANSWER = struct.Struct("<i")
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def opened(make: Callable[[], list[int]]) -> list[int]:
    """The descriptors that ``make`` opens, in a child: at most 64.

    Raises:
        OSError: what ``make`` raised; nothing stays open.
    """
    mine, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with mine, other:
        pid = _child(lambda: _answer(make, mine, other))
        if pid is None:
            return make()
        other.close()
        message, descriptors, _, _ = socket.recv_fds(mine, _ANSWER.size, _MOST)
        os.waitpid(pid, 0)
    for each in descriptors:
        os.set_inheritable(each, False)
    number = _ANSWER.unpack(message)[0] if message else -1
    if number:
        for each in descriptors:
            os.close(each)
        raise OSError(max(number, 0), os.strerror(number) if number > 0 else "the process that places probes ended")
    return list(descriptors)


def close(descriptors: list[int]) -> None:
    """Close these, in a child that holds them last; returns when that is done. Afterwards the list is empty."""
    if not descriptors:
        return
    gone, still_open = os.pipe()
    closing = tuple(descriptors)
    pid = _child(lambda: _close_last(closing, gone, still_open))
    os.close(gone)
    if pid is None:
        _close_all(closing)
        os.close(still_open)
    else:
        for each in closing:
            os.close(each)
        os.close(still_open)
        os.waitpid(pid, 0)
    descriptors.clear()


def _answer(make: Callable[[], list[int]], mine: socket.socket, other: socket.socket) -> None:
    mine.close()
    try:
        made = make()
    except OSError as error:
        other.send(_ANSWER.pack(error.errno or -1))
        return
    with suppress(OSError):  # nobody is there any more: they close with this process
        socket.send_fds(other, [_ANSWER.pack(0)], made)


def _close_last(descriptors: tuple[int, ...], gone: int, still_open: int) -> None:
    os.close(still_open)
    os.read(gone, 1)  # ends when the parent has closed its own, or is dead
    _close_all(descriptors)


def _close_all(descriptors: tuple[int, ...]) -> None:
    # Closing a link waits until no processor can be in its program any more: wait for all of them at once.
    with ThreadPoolExecutor(len(descriptors)) as pool:
        list(pool.map(os.close, descriptors))


def _child(work: Callable[[], None]) -> int | None:
    """Do it in a child, which then ends. Its PID; None where there can be no child."""
    try:
        pid = os.fork()
    except OSError:
        return None
    if pid:
        return pid
    try:
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        work()
    finally:
        os._exit(0)
