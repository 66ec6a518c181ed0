"""Hardware watchpoints of a thread: perf events of type breakpoint, with a program.

Source: linux/perf_event.h, linux/hw_breakpoint.h; Linux kernel/events/core.c, kernel/events/hw_breakpoint.c.
"""

from __future__ import annotations

from latency.tracing.kernel.uprobes import (
    PERF_ATTR_BYTES,
    PerfEventAttr,
    change_event,
    enable_event,
    end_event,
    event_with_program,
    idle_event,
    open_event,
)

__all__ = ["attach_watchpoint", "enable_watchpoint", "end_event", "idle_watchpoint", "move_watchpoint", "signal_at"]

_WHAT = "watchpoint"

_PERF_TYPE_BREAKPOINT = 5
# struct perf_event_attr: disabled, exclude_kernel, exclude_hv and remove_on_exec (Linux 5.13); inherit and
# inherit_thread (not into forks, Linux 5.13)
_DISABLED = 1 << 0
_WATCHPOINT_FLAGS = _DISABLED | 1 << 5 | 1 << 6 | 1 << 36
_SIGTRAP = 1 << 37  # to the thread itself, Linux 5.13
_EXECUTE, _LONG_BYTES = 4, 8  # HW_BREAKPOINT_X; such a breakpoint is sizeof(long)
_INHERITED, _BY_FORKS_TOO = 1 << 1 | 1 << 35, 1 << 1


def attach_watchpoint(
    program_fd: int, address: int, length: int, access: int, tid: int, *, inherited: bool = True, forks: bool = False
) -> int:
    """Attach a program to a hardware watchpoint of one thread.

    Args:
        program_fd: of type ``PROG_TYPE_PERF_EVENT``; it runs after each access from user space.
        length: in bytes: 1, or 2, 4 or 8 where ``address`` is aligned to it.
        access: HW_BREAKPOINT_W (2) or HW_BREAKPOINT_RW (3) of linux/hw_breakpoint.h.
        inherited: by the threads that it will start, too.
        forks: if inherited, by the processes too.

    Returns:
        The event's descriptor; closing it detaches, from the later threads too.

    Raises:
        OSError: ENOSPC where all of the thread's debug registers are taken; ESRCH where it has ended.
    """
    flags = _flags(inherited=inherited, forks=forks)
    return event_with_program(_watchpoint(address, length, access, flags), tid, -1, program_fd, _WHAT)


def idle_watchpoint(
    program_fd: int, address: int, length: int, access: int, tid: int, *, inherited: bool = True, forks: bool = False
) -> int:
    """The same, but it sees nothing until ``enable_watchpoint``."""
    flags = _flags(inherited=inherited, forks=forks)
    return idle_event(_watchpoint(address, length, access, flags), tid, -1, program_fd, _WHAT)


def enable_watchpoint(event_fd: int) -> None:
    """See accesses from now on, in the threads that have inherited it too. Raises OSError; it is closed then."""
    enable_event(event_fd, _WHAT)


def move_watchpoint(event_fd: int, address: int, length: int, access: int, *, off: bool = False) -> None:
    """Let an event of ``attach_watchpoint``, inherited and not by forks, watch something else, in the threads that
    have inherited it too. When this returns, no program runs any more for what it watched before (Linux 4.17).

    Args:
        off: watch nothing; the registers stay taken.
    """
    flags = _WATCHPOINT_FLAGS & ~_DISABLED | _INHERITED | (_DISABLED if off else 0)
    change_event(event_fd, _watchpoint(address, length, access, flags))


def signal_at(address: int, tid: int) -> int:
    """Let a thread get a SIGTRAP before it executes an instruction, until its program is replaced (Linux 5.13).

    Returns:
        The event's descriptor; closing it takes the breakpoint away.

    Raises:
        OSError
    """
    flags = _WATCHPOINT_FLAGS & ~_DISABLED | _SIGTRAP
    return open_event(_watchpoint(address, _LONG_BYTES, _EXECUTE, flags), tid, -1, "breakpoint")


def _flags(*, inherited: bool, forks: bool) -> int:
    return _WATCHPOINT_FLAGS | (0 if not inherited else _BY_FORKS_TOO if forks else _INHERITED)


def _watchpoint(address: int, length: int, access: int, flags: int) -> PerfEventAttr:
    return PerfEventAttr(
        type=_PERF_TYPE_BREAKPOINT,
        size=PERF_ATTR_BYTES,
        sample_period=1,
        flags=flags,
        bp_type=access,
        config1=address,
        config2=length,
    )
