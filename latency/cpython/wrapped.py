"""A PID that people have is often that of what started the Python: a shell, a service's wrapper, a boot loader.

Such a program is followed for the Pythons that it has and will have, where children are wanted; else they are named.
"""

from __future__ import annotations

from latency.cpython.interpreter import Stopwatch, Target
from latency.errors import NotCPython, TargetError, UnsupportedBuild
from latency.target.build import identify
from latency.target.process import Process

_MOST_NAMED = 4


def target_of(pid: int, *, engine: str = "auto", children: bool = False, stopwatch: Stopwatch | None = None) -> Target:
    """The target of a PID. With ``children`` it may be that of a program around it: then its first Python is the one
    that is looked at, and ``Target.around`` the program.

    Raises:
        NotCPython: it is none; the hint names those of its children that are.
        TargetError, UsageError: as ``Target`` does.
    """
    try:
        return Target(pid, engine=engine, stopwatch=stopwatch)
    except NotCPython as error:
        pythons = python_children(Process(pid))
        if not pythons:
            raise
        if not children:
            raise with_children(error, pid, pythons) from None
    target = Target(pythons[0].pid, engine=engine, stopwatch=stopwatch)
    target.around = Process(pid)
    return target


def python_children(process: Process) -> list[Process]:
    """The nearest descendants that are CPythons, by PID: below one of these nobody is looked at."""
    found = []
    for pid in process.children():
        try:
            child = Process(pid)
            found += [child] if _is_python(child) else python_children(child)
        except TargetError:
            continue  # it ended meanwhile
    return found


def with_children(error: NotCPython, pid: int, pythons: list[Process]) -> NotCPython:
    """The error of a process that is no CPython, where children of its are some."""
    named = [f"{each.pid} ({each.comm})" for each in pythons[:_MOST_NAMED] if each.alive()]
    more = ", …" if len(pythons) > _MOST_NAMED else ""
    are = "its child {} is" if len(pythons) == 1 else "its children {} are"
    return NotCPython(
        f"{error}, but {are.format(', '.join(named) + more)}",
        f"give -p {pythons[0].pid}; or --children with -p {pid}, for all that it has and will have",
    )


def _is_python(process: Process) -> bool:
    try:
        identify(process)
    except NotCPython:
        return False
    except UnsupportedBuild:
        pass  # but a Python, whose refusal is of more use than none
    return True
