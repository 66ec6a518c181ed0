"""Starts a program and holds it where its first CPython is loaded and has run nothing yet.

For a child of pylat's own only, and only until the probes are in place: then it is let go for good. The place is the
program's entry point (AT_ENTRY): the dynamic linker has mapped and relocated everything by then, and no code of the
program has run. It is reached with a debug register, so not even a byte of the child's memory is written.

Sources: ptrace(2); struct user of sys/user.h (x86-64); Intel SDM vol. 3, 17.2 (DR7).
"""

from __future__ import annotations

import ctypes
import errno
import marshal
import os
import pwd
import signal
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from latency.cpython.interpreter import Target
from latency.errors import NotCPython, TargetError, UnsupportedBuild, UsageError
from latency.target.build import identify
from latency.target.process import Process
from latency.tracing.become import Program
from latency.tracing.kernel import child

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)

_CONT, _POKEUSER, _DETACH, _SEIZE, _INTERRUPT = 7, 6, 17, 0x4206, 0x4207
_O_TRACEFORK, _O_TRACEVFORK, _O_TRACEEXEC, _O_TRACEEXIT, _O_EXITKILL = 0x2, 0x4, 0x10, 0x40, 0x100000
_EVENT_EXEC, _EVENT_EXIT = 4, 6
_OPTIONS = _O_TRACEEXEC | _O_TRACEFORK | _O_TRACEVFORK | _O_TRACEEXIT | _O_EXITKILL
_DEBUG_REGISTERS = 848  # offsetof(struct user, u_debugreg)
_DR7 = _DEBUG_REGISTERS + 7 * 8
_DR7_EXECUTE_DR0 = 0x1  # local enable of DR0, break on execution
_AT_ENTRY = 9
_WALL = 0x40000000


@dataclass
class Launched:
    """A started program.

    Attributes:
        pid: of the program, as it was started; its exit status is ``wait``'s.
        target: its first CPython, held before its first instruction; None where the program ended without one.
        late: without a target: it had a CPython when it ended, which was not there when it began.
    """

    pid: int
    target: Target | None
    _followed: set[int] = field(default_factory=set)
    late: bool = False
    _status: int | None = None

    def release(self) -> None:
        """Let it run, for good, and all that it has started until now."""
        for pid in self._followed:
            number = 0
            if self.target is None or pid != self.target.process.pid:
                number = self._stop(pid)
            _ptrace(_DETACH, pid, data=number)
        self._followed.clear()

    def _stop(self, pid: int) -> int:
        """Stop one for a moment, as detaching asks for. Returns a signal that was on its way to it, or 0."""
        _ptrace(_INTERRUPT, pid)
        stopped, status = os.waitpid(pid, _WALL)
        if os.WIFSTOPPED(status):
            return 0 if status >> 16 else os.WSTOPSIG(status)
        if stopped == self.pid:
            self._status = status
        return 0

    def kill(self) -> None:
        """End it, where it cannot be measured."""
        for pid in {self.pid, *self._followed}:
            _kill(pid)
        self._followed.clear()

    def wait(self) -> int:
        """Wait for its end. Returns the exit status as a shell says it: 128 + the signal that killed it."""
        if self._status is None:
            _, self._status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(self._status)
        return 128 - code if code < 0 else code


def launch(
    command: Sequence[str], *, user: str | None = None, quiet: bool = False, look: Callable[[int], Target] = Target
) -> Launched:
    """Start a program.

    Args:
        command: the program and its arguments; found by ``PATH``.
        user: run it as this user.
        quiet: drop what it writes to standard output.
        look: how a process is recognised as CPython; it is asked at every exec.

    Raises:
        UsageError: there is no such program or no such user.
        TargetError: its CPython cannot be measured; the program has been killed.
    """
    account = _account(user)
    environment = dict(os.environb)
    if account:
        own = {"HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name}
        environment |= {name.encode(): os.fsencode(value) for name, value in own.items()}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    program: Program = (
        [os.fsencode(word) for word in command],
        environment,
        (account.pw_name, account.pw_uid, account.pw_gid) if account else None,
        quiet,
        [int(number) for number in blocked],
    )
    mine, theirs = socket.socketpair()
    with mine:
        with theirs:
            pid = _child(theirs, blocked)
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # it has ended; the wait says so
                mine.sendall(marshal.dumps(program))
                if mine.recv(1):  # it is there: its own exec is not the program's
                    _ptrace(_SEIZE, pid, data=_OPTIONS)
                    mine.sendall(b"g")
            return _until_python(pid, look)
        except BaseException:
            _kill(pid)
            raise
        finally:
            reason = b""
            with suppress(ConnectionResetError):
                mine.shutdown(socket.SHUT_WR)
                reason = mine.recv(16).strip()
            if reason:
                number = int(reason)
                raise UsageError(f"cannot run {command[0]}: {os.strerror(number)}", "give a program after --")


def _child(talk: socket.socket, blocked: Iterable[int]) -> int:
    """Start what becomes the program. Returns its PID. Ctrl-C waits until it is the program, and then ends it."""
    talk.set_inheritable(True)
    arguments = [*child.command("latency.tracing.become"), str(talk.fileno())]
    return os.posix_spawn(arguments[0], arguments, os.environb, setsigmask=[*blocked, signal.SIGINT])


def _until_python(pid: int, look: Callable[[int], Target]) -> Launched:
    """Follow the program, through every exec and fork, to its first CPython."""
    followed = {pid}
    arriving: set[int] = set()  # processes on their way to their entry point
    late = False
    while True:
        stopped, status = os.waitpid(-1, _WALL)
        if not os.WIFSTOPPED(status):
            followed.discard(stopped)
            if stopped == pid:
                return Launched(pid, None, followed, late, status)
            continue
        followed.add(stopped)
        event, number = status >> 16, os.WSTOPSIG(status)
        if event == _EVENT_EXEC:
            _break_at_entry(stopped)
            arriving.add(stopped)
        elif event == _EVENT_EXIT:
            late = late or _has_python(stopped)
        elif number == signal.SIGTRAP and not event and stopped in arriving:
            arriving.discard(stopped)
            _ptrace(_POKEUSER, stopped, _DR7, 0)
            try:
                target = look(stopped)
            except NotCPython:
                pass
            except TargetError:
                _kill(stopped)
                raise
            else:
                return Launched(pid, target, followed)
        elif not event:
            _ptrace(_CONT, stopped, data=number)  # a signal of its own: hand it on
            continue
        _ptrace(_CONT, stopped)


def _has_python(pid: int) -> bool:
    """Whether it has a CPython by now: a frozen program opens it when it runs already."""
    try:
        identify(Process(pid))
    except NotCPython:
        return False
    except UnsupportedBuild:
        return True
    except TargetError:
        return False
    return True


def _break_at_entry(pid: int) -> None:
    vector = Path(f"/proc/{pid}/auxv").read_bytes()
    values = dict(struct.iter_unpack("<QQ", vector[: len(vector) // 16 * 16]))
    _ptrace(_POKEUSER, pid, _DEBUG_REGISTERS, values[_AT_ENTRY])
    _ptrace(_POKEUSER, pid, _DR7, _DR7_EXECUTE_DR0)


def _account(user: str | None) -> pwd.struct_passwd | None:
    if user is None:
        return None
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise UsageError(f"there is no user {user!r}", "give the name of an account of this machine") from None


def _ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> None:
    if _libc.ptrace(request, pid, address, data) < 0:
        number = ctypes.get_errno()
        if number == errno.ESRCH:
            return  # it is gone; the next wait says so
        raise UsageError(f"cannot follow the program: {os.strerror(number)}", "run pylat as root")


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
