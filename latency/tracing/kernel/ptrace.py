"""ptrace(2), as ``pylat run`` uses it on the program that it has started, until its probes are in place.

The program is stopped by debug registers, so not even a byte of its memory is written. A debug register is a thread's:
new threads and processes have none, and an exec clears them (Linux arch/x86/kernel/hw_breakpoint.c); detaching does
not. One that ptrace has set stays taken in that thread, set or not.

Sources: ptrace(2); perf_event_open(2); struct user of sys/user.h (x86-64); Intel SDM vol. 3, 17.2 (DR6, DR7).
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence

from latency.errors import UsageError
from latency.tracing.kernel.watchpoints import signal_at

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)

_PEEKUSER, _POKEUSER, _CONT, _DETACH = 3, 6, 7, 17
_GETEVENTMSG, _SEIZE, _INTERRUPT = 0x4201, 0x4206, 0x4207
_O_FORK, _O_VFORK, _O_CLONE, _O_EXEC, _O_EXIT, _O_EXITKILL = 0x2, 0x4, 0x8, 0x10, 0x40, 0x100000
EVENT_FORK, EVENT_VFORK, EVENT_CLONE, EVENT_EXEC, EVENT_EXIT = 1, 2, 3, 4, 6
BIRTHS = (EVENT_FORK, EVENT_VFORK, EVENT_CLONE)
_DEBUG_REGISTERS = 848  # offsetof(struct user, u_debugreg)
_REGISTER_BYTES, _USABLE, _STATUS, _CONTROL = 8, 4, 6, 7
_INSTRUCTION_POINTER = 16 * 8  # offsetof(struct user, regs.rip)
WALL = 0x40000000
"""For waitpid: threads, too."""


def seize(task: int) -> None:
    """Follow it and all that it starts; all of them end with pylat, if that ends first."""
    _ptrace(_SEIZE, task, data=_O_EXEC | _O_FORK | _O_VFORK | _O_CLONE | _O_EXIT | _O_EXITKILL)


def go_on(task: int, number: int = 0) -> None:
    """Let a stopped one run, with a signal."""
    _ptrace(_CONT, task, data=number)


def interrupt(task: int) -> None:
    """Stop one; the next wait says when."""
    _ptrace(_INTERRUPT, task)


def detach(task: int, number: int = 0) -> None:
    """Let a stopped one run for good, with a signal."""
    _ptrace(_DETACH, task, data=number)


def message(task: int) -> int:
    """What goes with an event: the PID of the new process or thread; after an exec the former one of the thread."""
    found = ctypes.c_ulong()
    _ptrace(_GETEVENTMSG, task, data=ctypes.addressof(found))
    return found.value


class Registers:
    """Breakpoints that ptrace sets."""

    def set(self, task: int, addresses: Sequence[int] = ()) -> None:
        """Stop it with SIGTRAP where it is about to run one of these, and nowhere else any more; 0 is nowhere."""
        control = 0
        _poke(task, _CONTROL, 0)
        for register, address in enumerate(addresses):
            if address:
                _poke(task, register, address)
                control |= 1 << 2 * register  # local enable, break on execution
        _poke(task, _CONTROL, control)

    def reached(self, task: int) -> int | None:
        """Which of the addresses a task has stopped at; None where the SIGTRAP is its own."""
        status = _peek(task, _DEBUG_REGISTERS + _STATUS * _REGISTER_BYTES)
        hit = next((register for register in range(_USABLE) if status >= 0 and status >> register & 1), None)
        if hit is not None:
            _poke(task, _STATUS, 0)
        return hit


class Events(Registers):
    """Breakpoints of perf events, which leave all debug registers free once they are gone (Linux 5.13)."""

    def __init__(self) -> None:
        self._events: dict[int, list[tuple[int, int]]] = {}  # of a task: address, descriptor

    def set(self, task: int, addresses: Sequence[int] = ()) -> None:
        """As ``Registers.set``. Raises UsageError."""
        for _, event in self._events.pop(task, ()):
            if event >= 0:
                os.close(event)
        try:
            for address in addresses:
                event = signal_at(address, task) if address else -1
                self._events.setdefault(task, []).append((address, event))
        except OSError as error:
            if error.errno != errno.ESRCH:
                raise UsageError(f"cannot follow the program: {error.strerror}", "run pylat as root") from None

    def reached(self, task: int) -> int | None:
        """As ``Registers.reached``: by where the task stands, which has not run that instruction yet."""
        at = _peek(task, _INSTRUCTION_POINTER)
        return next((place for place, (address, _) in enumerate(self._events.get(task, ())) if address == at), None)


def _peek(task: int, offset: int) -> int:
    """A word of struct user; -1 where the task is gone."""
    return int(_libc.ptrace(_PEEKUSER, task, offset, None))


def _poke(task: int, register: int, value: int) -> None:
    _ptrace(_POKEUSER, task, _DEBUG_REGISTERS + register * _REGISTER_BYTES, value)


def _ptrace(request: int, task: int, address: int = 0, data: int = 0) -> None:
    if _libc.ptrace(request, task, address, data) < 0:
        number = ctypes.get_errno()
        if number == errno.ESRCH:
            return  # it is gone; the next wait says so
        raise UsageError(f"cannot follow the program: {os.strerror(number)}", "run pylat as root")
