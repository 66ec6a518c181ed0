"""Probes are placed and taken away by a helper of pylat's, so that ``kill -9`` of pylat leaves no breakpoint.

Linux writes breakpoints through get_user_pages, which gives up where its caller has a SIGKILL pending (mm/gup.c). A
pylat that is killed just then would leave some behind, until somebody probes the same place again: "failed to
unregister, leaking uprobe" (kernel/events/uprobes.c, Linux 6.18). A process that is killed at any other moment closes
its files after its signals, and nothing stays.

There is one helper for all the time, and not one for each deed: it starts while pylat has other things to wait for, a
Python takes some 20 ms to start, and a limit on the cost takes probes away and places them several times a second.
It is made by exec, since a process that has threads may not fork. Between requests it holds no descriptor. It has a
session of its own and the signals that end pylat are blocked in it: so it outlives pylat, also where a whole process
group is killed, until its work is done.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from latency.tracing.kernel import child
from latency.tracing.kernel.helper import Request, attached, close_all, received, send

_BLOCKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_helper: _Helper | None = None
_making = threading.Lock()
"""Held where ``_helper`` is looked at."""


@dataclass(frozen=True)
class Probes:
    """A program on places of a file, as ``attach_uprobes`` takes it.

    Attributes:
        multi: by one uprobe-multi link; otherwise by a perf event, and there is one place.
        name: what the text of an error begins with.
    """

    program_fd: int
    path: str
    offsets: Sequence[int]
    semaphores: Sequence[int]
    pid: int
    multi: bool
    cookies: Sequence[int] = ()
    name: str = ""


def begin() -> None:
    """Start the helper, which is needed soon; returns before it is ready."""
    with _making, suppress(OSError):
        _started()


def opened(wanted: Iterable[Probes]) -> list[int]:
    """The descriptors of the links and events, placed one after the other. Closing them detaches.

    Raises:
        OSError: the kernel refused one; nothing stays open.
    """
    everything = list(wanted)
    if not everything:
        return []
    programs = list(dict.fromkeys(each.program_fd for each in everything))
    paths = list(dict.fromkeys(each.path for each in everything))
    files: list[int] = []
    try:
        for path in paths:
            files.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
        requests = [
            _request(each, programs.index(each.program_fd), len(programs) + paths.index(each.path))
            for each in everything
        ]
        return _opened(requests, [*programs, *files])
    finally:
        for fd in files:
            os.close(fd)


def close(descriptors: list[int]) -> None:
    """Close these, in the helper last; returns when that is done. The list is empty from the first on."""
    if not descriptors:
        return
    closing = list(descriptors)
    descriptors.clear()
    try:
        if talk := _conversation():
            with talk, suppress(OSError):  # the helper has ended: what is left is closed here
                send(talk, None, closing)
                while closing:
                    os.close(closing.pop())
                talk.shutdown(socket.SHUT_WR)
                talk.recv(1)  # ends when the helper has closed them
    finally:
        close_all(closing)


class _Helper:
    """A helper that has been started. Raises OSError where there can be none."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
            try:
                signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)  # exec keeps it
                self._process = subprocess.Popen(
                    child.command("latency.tracing.kernel.helper"),
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def talk(self) -> socket.socket:
        """A new conversation. Raises OSError: it has ended."""
        mine, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [b"-"], [theirs.fileno()])
        return mine

    def end(self) -> None:
        """Let it finish its work, and end."""
        self._control.close()
        self._process.wait()


def _started() -> _Helper:
    global _helper
    if _helper is None:
        _helper = _Helper()
    return _helper


def _conversation() -> socket.socket | None:
    """With the helper, or another one where it has been killed; None where there can be none."""
    global _helper
    with _making, suppress(OSError):
        try:
            return _started().talk()
        except (BrokenPipeError, ConnectionResetError):
            dead, _helper = _helper, None
            if dead:
                dead.end()
        return _started().talk()
    return None


@atexit.register
def _end() -> None:
    with _making, suppress(KeyboardInterrupt):  # it ends without being waited for, too
        if _helper:
            _helper.end()


def _request(each: Probes, program: int, file: int) -> Request:
    name, multi, pid = each.name, each.multi, each.pid
    return name, multi, program, file, tuple(each.offsets), tuple(each.semaphores), pid, tuple(each.cookies)


def _opened(requests: list[Request], descriptors: list[int]) -> list[int]:
    if talk := _conversation():
        with talk:
            try:
                send(talk, requests, descriptors)
                refused, made = received(talk)
                talk.recv(1)  # ends when the helper has closed its own: who closes these later is the last
            except (EOFError, BrokenPipeError, ConnectionResetError):
                pass  # somebody has killed it: so this is done here
            else:
                if refused:
                    raise OSError(*refused)
                return made
    return attached(requests, descriptors)
