"""Starts a program and holds it where its first CPython is loaded and has run nothing yet.

For a child of pylat's own only, and only until the probes are in place: then it is let go for good. The place is the
program's entry point (AT_ENTRY): the dynamic linker has mapped and relocated everything by then, and no code of the
program has run. Where the program opens its CPython later, as a frozen one does, it is that library's own
initialization (DT_INIT), which the linker runs when it has relocated it: that it is mapped is told by the linker
(``target.linker``).
"""

from __future__ import annotations

import marshal
import os
import pwd
import signal
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from latency.cpython.interpreter import Target
from latency.errors import NoSuchProcess, NotCPython, TargetError, TargetGone, UnsupportedBuild, UsageError
from latency.target.build import SeenFiles, identify
from latency.target.linker import told_at
from latency.target.process import Process, tracer
from latency.tracing.become import Program
from latency.tracing.kernel import child, ptrace

_LINKER, _INITIALIZATION = 0, 1  # which of the addresses that a task is stopped at


@dataclass
class Launched:
    """A started program.

    Attributes:
        pid: of the program, as it was started; its exit status is ``wait``'s.
        target: its first CPython, held before its first instruction; None where the program ended without one.
        late: without a target: it had a CPython when it ended, which was not seen to come.
    """

    pid: int
    target: Target | None
    late: bool = False
    _followed: list[int] = field(default_factory=list)
    _held: int = 0
    _breaks: ptrace.Registers = field(default_factory=ptrace.Registers)
    _status: int | None = None

    def release(self) -> None:
        """Let it run, for good, and all that it has started until now."""
        while self._followed:  # the youngest first: a parent may wait for a child of its vfork
            task = self._followed.pop()
            number = 0 if task == self._held else self._stop(task)
            self._breaks.set(task)
            if number is not None:
                ptrace.detach(task, number)

    def _stop(self, task: int) -> int | None:
        """Stop one for a moment, as detaching asks for. Returns a signal that was on its way to it, or 0; None where
        it is no more."""
        ptrace.interrupt(task)
        try:
            stopped, status = os.waitpid(task, ptrace.WALL)
        except ChildProcessError:  # a thread that an exec has ended
            return None
        if os.WIFSTOPPED(status):
            event, number = status >> 16, os.WSTOPSIG(status)
            if event in ptrace.BIRTHS and _is_followed(born := ptrace.message(task)) and born not in self._followed:
                self._followed.append(born)
            return 0 if event or (number == signal.SIGTRAP and self._breaks.reached(task) is not None) else number
        if stopped == self.pid:
            self._status = status
        return None

    def kill(self) -> None:
        """End it, where it cannot be measured."""
        for task in {self.pid, *self._followed}:
            _kill(task)
            self._breaks.set(task)
        self._followed.clear()

    def wait(self) -> int:
        """Wait for its end. Returns the exit status as a shell says it: 128 + the signal that killed it."""
        if self._status is None:
            _, self._status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(self._status)
        return 128 - code if code < 0 else code


def launch(
    command: Sequence[str],
    *,
    user: str | None = None,
    quiet: bool = False,
    look: Callable[[int], Target] = Target,
    spare_registers: bool = False,
) -> Launched:
    """Start a program.

    Args:
        command: the program and its arguments; found by ``PATH``.
        user: run it as this user.
        quiet: drop what it writes to standard output.
        look: how a process is recognised as CPython; it is asked at every exec, and where a CPython is opened.
        spare_registers: leave all debug registers free, for watchpoints (Linux 5.13).

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
        search = _Search(pid, look, ptrace.Events() if spare_registers else ptrace.Registers())
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # it has ended; the wait says so
                mine.sendall(marshal.dumps(program))
                if mine.recv(1):  # it is there: its own exec is not the program's
                    ptrace.seize(pid)
                    mine.sendall(b"g")
            return search.first_python()
        except BaseException:
            search.kill()
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


class _Search:
    """Follows a program, through every exec, fork and thread, to its first CPython."""

    def __init__(self, pid: int, look: Callable[[int], Target], breaks: ptrace.Registers) -> None:
        self._pid = pid
        self._look = look
        self._breaks = breaks
        self._followed: dict[int, None] = {pid: None}  # processes and threads, the oldest first
        self._arriving: set[int] = set()  # on their way to their entry point
        self._told: dict[int, int] = {}  # where the linker tells of what it has mapped
        self._seen = SeenFiles()
        self._late = False

    def first_python(self) -> Launched:
        """Until it has one, or has ended."""
        while True:
            task, status = os.waitpid(-1, ptrace.WALL)
            if not os.WIFSTOPPED(status):
                self._forget(task)
                if task == self._pid:
                    return Launched(self._pid, None, self._late, list(self._followed), 0, self._breaks, status)
                continue
            self._followed.setdefault(task)
            event, number = status >> 16, os.WSTOPSIG(status)
            if event:
                self._happened(task, event)
            elif number == signal.SIGTRAP and (place := self._breaks.reached(task)) is not None:
                if target := self._arrived(task, place):
                    self._breaks.set(task)
                    return Launched(self._pid, target, self._late, list(self._followed), task, self._breaks)
                number = 0
            ptrace.go_on(task, 0 if event else number)

    def kill(self) -> None:
        """End all of it."""
        for task in self._followed:
            _kill(task)
            self._breaks.set(task)

    def _happened(self, task: int, event: int) -> None:
        if event == ptrace.EVENT_EXEC:
            if (former := ptrace.message(task)) != task:
                self._forget(former)  # the thread has the number of its process now
            if process := _process_of(task):
                self._breaks.set(task, [process.entry])
            self._arriving.add(task)
        elif event == ptrace.EVENT_EXIT:
            self._late = self._late or _has_python(task)
        elif event in ptrace.BIRTHS:
            if _is_followed(born := ptrace.message(task)):
                self._followed.setdefault(born)
        elif task not in self._told and task not in self._arriving:
            self._listen(task)  # its first stop

    def _forget(self, task: int) -> None:
        self._followed.pop(task, None)
        self._told.pop(task, None)
        self._arriving.discard(task)
        self._breaks.set(task)

    def _listen(self, task: int) -> None:
        """Stop it where its linker tells of what it has mapped."""
        process = _process_of(task)
        self._told[task] = told_at(process) if process else 0
        self._breaks.set(task, [self._told[task]])

    def _arrived(self, task: int, place: int) -> Target | None:
        """At its entry point, in its linker, or where its CPython is about to begin: then it has one."""
        if task in self._arriving:
            self._arriving.discard(task)
            self._listen(task)
        elif place == _LINKER:
            if begins := self._opened(task):
                self._breaks.set(task, [self._told[task], begins])
            return None
        process = _process_of(task)
        try:
            return self._look(process.pid) if process else None
        except (NotCPython, NoSuchProcess, TargetGone):
            return None

    def _opened(self, task: int) -> int:
        """Where the CPython begins that a program has opened when it was running already; 0 if it has none."""
        process = _process_of(task)
        try:
            if process is None or not self._seen.is_python_among(process):
                return 0
            build = identify(process)
        except (NotCPython, NoSuchProcess, TargetGone):
            return 0
        begins = build.image.initialization()
        return begins + build.bias if begins else 0


def _process_of(task: int) -> Process | None:
    """The process of a thread; None if it has ended."""
    try:
        with open(f"/proc/{task}/status", encoding="utf-8", errors="replace") as status:
            return Process(next(int(line.split()[1]) for line in status if line.startswith("Tgid:")))
    except (OSError, StopIteration, TargetError):
        return None


def _is_followed(task: int) -> bool:
    """Whether a new one is there still: it may have ended before its parent tells of it."""
    return (tracer(task) or (0, ""))[0] == os.getpid()


def _has_python(task: int) -> bool:
    """Whether it has a CPython by now, which was not seen to come."""
    process = _process_of(task)
    try:
        return process is not None and process.pid == task and bool(identify(process))
    except UnsupportedBuild:
        return True
    except TargetError:
        return False


def _account(user: str | None) -> pwd.struct_passwd | None:
    if user is None:
        return None
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise UsageError(f"there is no user {user!r}", "give the name of an account of this machine") from None


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
