"""Probes are placed and taken away by short-lived children of pylat, so that ``kill -9`` of it leaves no breakpoint.

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
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

_MOST = 64  # descriptors in one message; the kernel takes 253 (SCM_MAX_FD)
_ANSWER = struct.Struct("<iI")  # an errno, and how many descriptors follow; what the error says stands behind it
_LONGEST_ANSWER_BYTES = 4096
_forking = threading.Lock()
"""From the making of a pipe to the fork: so only later children hold earlier pipes, and no two wait for each other."""
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def opened(make: Callable[[], Iterable[int]]) -> list[int]:
    """The descriptors that ``make`` opens one after the other, in a child.

    Raises:
        OSError: what ``make`` raised; nothing stays open.
    """
    descriptors: list[int] = []
    number, text = -1, b"the process that places probes ended"
    with _forking:
        mine, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = _child(lambda: _answer(make, mine, other))
    with mine, other:
        if pid is None:
            return _opened_here(make)
        other.close()
        if answer := mine.recv(_LONGEST_ANSWER_BYTES):
            number, count = _ANSWER.unpack_from(answer)
            text = answer[_ANSWER.size :]
            while len(descriptors) < count:
                message, some, _, _ = socket.recv_fds(mine, 1, _MOST)
                if not message:
                    number, text = -1, b"the process that places probes ended"
                    break
                descriptors += some
        os.waitpid(pid, 0)
    for each in descriptors:
        os.set_inheritable(each, False)
    if number:
        close(descriptors)
        raise OSError(max(number, 0), text.decode(errors="replace"))
    return descriptors


def close(descriptors: list[int]) -> None:
    """Close these, in a child that holds them last; returns when that is done. Afterwards the list is empty."""
    if not descriptors:
        return
    closing = tuple(descriptors)
    with _forking:
        gone, still_open = os.pipe()
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


def _opened_here(make: Callable[[], Iterable[int]]) -> list[int]:
    made: list[int] = []
    try:
        for each in make():
            made.append(each)
    except OSError:
        _close_all(tuple(made))
        raise
    return made


def _answer(make: Callable[[], Iterable[int]], mine: socket.socket, other: socket.socket) -> None:
    mine.close()
    made = []
    try:
        for each in make():  # an error closes those that are open: this process ends
            made.append(each)
    except OSError as error:
        text = (error.strerror or str(error)).encode()[: _LONGEST_ANSWER_BYTES - _ANSWER.size]
        other.send(_ANSWER.pack(error.errno or -1, 0) + text)
        return
    with suppress(OSError):  # nobody is there any more: they close with this process
        other.send(_ANSWER.pack(0, len(made)))
        for first in range(0, len(made), _MOST):
            socket.send_fds(other, [b"-"], made[first : first + _MOST])


def _close_last(descriptors: tuple[int, ...], gone: int, still_open: int) -> None:
    os.close(still_open)
    os.read(gone, 1)  # ends when the parent has closed its own, or is dead
    _close_all(descriptors)


def _close_all(descriptors: tuple[int, ...]) -> None:
    # Closing a link waits until no processor can be in its program any more: wait for all of them at once.
    with ThreadPoolExecutor(len(descriptors) or 1) as pool:
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
