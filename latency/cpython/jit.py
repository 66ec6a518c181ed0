"""Whether a process runs with CPython's JIT, whose code goes past the places where calls are seen (3.13 to 3.15).

A build can have the JIT switched off until ``PYTHON_JIT=1`` (``--enable-experimental-jit=yes-off``, as Debian's), or on
until ``PYTHON_JIT=0``: which of the two does not stand in its file. But what the JIT makes stands in the process.
"""

from __future__ import annotations

from latency.errors import TargetError
from latency.target.build import Build
from latency.target.maps import Mapping
from latency.target.process import Process

VARIABLE = "PYTHON_JIT"


def require_off(process: Process, build: Build) -> None:
    """Whether probes can count calls: those in code that the JIT compiled are not seen, and not even all of their ends.

    Raises:
        TargetError: the JIT is switched on.
        NoPrivilege, TargetGone: the process cannot be looked into.
    """
    if switched_on(process, build):
        raise TargetError(
            f"the JIT is on in process {process.pid} ({VARIABLE} is set): probes do not see calls in what it compiles",
            f"measure functions of it with --engine watch, or start it with {VARIABLE}=0",
        )


def may_run(process: Process, build: Build) -> bool:
    """Whether code of the JIT may run in this process.

    Raises:
        NoPrivilege, TargetGone: the process cannot be looked into.
    """
    return switched_on(process, build) or bool(blind_spots(process, build))


def blind_spots(process: Process, build: Build) -> tuple[str, ...]:
    """What a plan cannot see in this process for the JIT, where it may be on by default; one line each.

    Raises:
        NoPrivilege, TargetGone: the process cannot be looked into.
    """
    if "jit-capable" not in build.flags or process.environ().get(VARIABLE, ""):
        return ()
    if any(_made_at_run_time(mapping) for mapping in process.maps()):
        return (
            "there is code that was made at run time, by the JIT perhaps: calls in what it compiled are not seen, or "
            f"not whole; {VARIABLE}=0 switches it off",
        )
    return ()


def switched_on(process: Process, build: Build) -> bool:
    """Whether it was switched on for this process. Raises as ``may_run``."""
    if "jit-capable" not in build.flags:
        return False
    # Python/pylifecycle.c, init_interp_main: empty is unset, and anything that does not begin with 0 is on
    setting = process.environ().get(VARIABLE, "")
    return bool(setting) and not setting.startswith("0")


def _made_at_run_time(mapping: Mapping) -> bool:
    """Anonymous code that cannot be written to, as the JIT leaves it (Python/jit.c, mark_executable)."""
    anonymous = not mapping.inode and (not mapping.path or mapping.path.startswith("[anon:"))
    return anonymous and mapping.executable and not mapping.writable
