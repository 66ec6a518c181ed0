"""The child of ``pylat run``, from its start until it is the program: ``launch.py`` follows it by ptrace from then on.

A program of its own, since a process that has threads may not fork. Its argument is the descriptor of a socket. From it
comes what to become (``marshal`` of ``Program``); it answers with a byte; another byte says that it is followed. Where
there is no such program it says an errno.
"""

from __future__ import annotations

import marshal
import os
import signal
import socket
import sys

Program = tuple[list[bytes], dict[bytes, bytes], "tuple[str, int, int] | None", bool, list[int]]
"""The command, its environment, (name, UID, GID) of whom to run it as, whether to drop its output, and the signals
that it begins with blocked."""


def main() -> None:
    """Become the program."""
    try:
        with socket.socket(fileno=int(sys.argv[3])) as talk:
            talk.set_inheritable(False)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            program: Program = marshal.load(talk.makefile("rb"))
            talk.sendall(b" ")
            if talk.recv(1):  # else pylat has ended
                _become(program, talk)
    finally:
        os._exit(127)


def _become(program: Program, talk: socket.socket) -> None:
    command, environment, account, quiet, blocked = program
    try:
        if account:
            name, uid, gid = account
            os.initgroups(name, gid)
            os.setgid(gid)
            os.setuid(uid)
        if quiet:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        os.execvpe(command[0], command, environment)
    except OSError as error:
        talk.sendall(str(error.errno).encode())
