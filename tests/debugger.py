"""Takes the four debug registers of a process, as a debugger's hardware watchpoints do, and holds them.

debugger.py PID     says ``held``, or why not, and lets go when its standard input ends

The way is a debugger's: ptrace and the task's debug registers (ptrace(2), PTRACE_POKEUSER; struct user of sys/user.h).
"""

from __future__ import annotations

import ctypes
import os
import sys

_CONT, _POKEUSER, _DETACH, _SEIZE, _INTERRUPT = 7, 6, 17, 0x4206, 0x4207
_DEBUG_REGISTERS = 848  # offsetof(struct user, u_debugreg)
_WRITES_OF_4_BYTES = 0xD  # DR7: R/W 01, LEN 11
_WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


def ptrace(request: int, pid: int, place: int = 0, data: int = 0) -> None:
    """One request. Raises OSError."""
    if _libc.ptrace(request, pid, place, data) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def main() -> None:
    """Watches four words of the process's first writable mapping, which need not be touched for that."""
    pid = int(sys.argv[1])
    with open(f"/proc/{pid}/maps") as maps:
        start = int(next(line for line in maps if " rw" in line).partition("-")[0], 16)
    ptrace(_SEIZE, pid)
    ptrace(_INTERRUPT, pid)
    os.waitpid(pid, _WALL)
    try:
        control = 0
        for register in range(4):
            ptrace(_POKEUSER, pid, _DEBUG_REGISTERS + 8 * register, start + 8 * register)
            control |= 1 << 2 * register | _WRITES_OF_4_BYTES << 16 + 4 * register
            ptrace(_POKEUSER, pid, _DEBUG_REGISTERS + 8 * 7, control)
        ptrace(_CONT, pid)
        print("held", flush=True)
        sys.stdin.read()
        ptrace(_INTERRUPT, pid)
        os.waitpid(pid, _WALL)
        ptrace(_POKEUSER, pid, _DEBUG_REGISTERS + 8 * 7, 0)
    except OSError as error:
        print(error.strerror, flush=True)
    ptrace(_DETACH, pid)


if __name__ == "__main__":
    main()
