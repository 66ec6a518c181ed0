"""The process that places probes and takes them away for pylat; ``apart.py`` says why there is one.

Its standard input is a socket, over which each request comes as the end of another one, a conversation. Those are
served at the same time, a thread for each. When pylat has ended it finishes what it is doing, and ends.

It imports little, so that it is there soon. Messages are ``marshal``: both sides are the same interpreter, it knows
bytes, and it need not be imported.
"""

from __future__ import annotations

import marshal
import os
import resource
import socket
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from errno import EMFILE

from latency.tracing.kernel.uprobes import attach_uprobe, attach_uprobes

TYPE_CHECKING = False  # typing takes longer to import than all of the others
if TYPE_CHECKING:
    from typing import Any

_MOST = 64  # descriptors in one message; the kernel takes 253 (SCM_MAX_FD)
_HEADER = struct.Struct("<II")  # the bytes of what is said, and how many descriptors come before it

Request = tuple[str, bool, int, int, Sequence[int], Sequence[int], int, Sequence[int]]
"""What an error begins with, whether by a multi link, the numbers of program and file among the descriptors, then
offsets, semaphores, PID and cookies as ``attach_uprobes`` takes them. Not by a multi link: one offset."""


def send(talk: socket.socket, said: Any, descriptors: Sequence[int]) -> None:
    """Say something, and hand descriptors over. Raises OSError: the other side is gone."""
    data = marshal.dumps(said)
    talk.sendall(_HEADER.pack(len(data), len(descriptors)))
    for first in range(0, len(descriptors), _MOST):
        socket.send_fds(talk, [b"-"], descriptors[first : first + _MOST])
    talk.sendall(data)


def received(talk: socket.socket) -> tuple[Any, list[int]]:
    """What the other side sent.

    Raises:
        EOFError: it has ended before all was sent; no descriptor stays open.
        OSError: EMFILE where this process may not have so many descriptors; none stays open.
    """
    descriptors: list[int] = []
    try:
        length, count = _HEADER.unpack(_exactly(talk, _HEADER.size))
        while len(descriptors) < count:
            message, some, flags, _ = socket.recv_fds(talk, 1, _MOST)
            descriptors += some
            for each in some:
                os.set_inheritable(each, False)  # recv_fds drops the flag that would ask for it
            if not message:
                raise EOFError
            if flags & socket.MSG_CTRUNC:
                raise OSError(EMFILE, os.strerror(EMFILE))
        return marshal.loads(_exactly(talk, length)), descriptors
    except BaseException:
        close_all(descriptors)
        raise


def _exactly(talk: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        some = talk.recv(length - len(data))
        if not some:
            raise EOFError
        data += some
    return data


def attached(requests: Sequence[Request], descriptors: Sequence[int]) -> list[int]:
    """The links and events, one for each request, in their order. Raises OSError; then none stays open."""
    made: list[int] = []
    for name, multi, program, file, offsets, semaphores, pid, cookies in requests:
        path = f"/proc/self/fd/{descriptors[file]}"
        try:
            if multi:
                made.append(attach_uprobes(descriptors[program], path, offsets, semaphores, pid, cookies=cookies))
            else:
                made.append(attach_uprobe(descriptors[program], path, offsets[0], semaphores[0], pid))
        except OSError as error:
            close_all(made)
            raise OSError(error.errno, name + (error.strerror or str(error))) from error
    return made


def close_all(descriptors: Sequence[int]) -> None:
    """Close these; returns when that is done."""
    # Closing a link waits until no processor can be in its program any more: wait for all of them at once.
    threads = []
    for each in descriptors:
        thread = threading.Thread(target=os.close, args=(each,))
        try:
            thread.start()
        except RuntimeError:  # no more threads
            os.close(each)
        else:
            threads.append(thread)
    for thread in threads:
        thread.join()


def _serve(talk: socket.socket) -> None:
    with talk, suppress(EOFError, OSError):  # pylat has ended
        requests, descriptors = received(talk)
        if requests is None:
            _close_last(talk, descriptors)
        else:
            _attach(talk, requests, descriptors)


def _attach(talk: socket.socket, requests: Sequence[Request], descriptors: list[int]) -> None:
    made: list[int] = []
    try:
        try:
            made = attached(requests, descriptors)
        except OSError as error:
            send(talk, (error.errno, error.strerror), [])
        else:
            send(talk, None, made)
    finally:
        close_all(descriptors)
        close_all(made)  # pylat has them now; or it has ended, and these are the last


def _close_last(talk: socket.socket, descriptors: list[int]) -> None:
    try:
        talk.recv(1)  # ends when pylat has closed its own, or has ended
    finally:
        close_all(descriptors)


def main() -> None:
    """Serve until pylat ends."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with socket.socket(fileno=0) as control:
        while True:
            message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if not message:
                return
            for each in descriptors:
                talk = socket.socket(fileno=each)
                try:
                    threading.Thread(target=_serve, args=(talk,)).start()
                except RuntimeError:  # no more threads
                    _serve(talk)
