"""What pylat needs of the machine that it runs on, each thing with what to do where it is missing."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latency.errors import HostError, KernelTooOld, MissingBcc, NoPrivilege
from latency.tracing.kernel import multi
from latency.tracing.kernel.compiler import import_bcc

_OLDEST_KERNEL = (5, 8)  # ring buffer
_ATTACHED = {
    multi.PROCESSES: "uprobe-multi links",
    multi.THREADS: "perf events, since this kernel's uprobe-multi links lose the calls of all threads but one",
    multi.NONE: "perf events, since there are no uprobe-multi links",
}
FIRST_PID_NAMESPACE = 0xEFFFFFFC
"""The inode of the one in which the kernel itself counts (PROC_PID_INIT_INO, linux/proc_ns.h)."""
# linux/capability.h
_CAP_SYS_PTRACE, _CAP_SYS_ADMIN, _CAP_PERFMON, _CAP_BPF = 19, 21, 38, 39
_M_ARENA_MAX = -8  # malloc.h


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: ``"kernel"``, ``"bcc"``, ….
        met: whether it is as pylat needs it.
        found: what there is.
        error: what a measurement fails with; None if it is met.
    """

    name: str
    met: bool
    found: str
    error: HostError | None = None


def checks(
    *,
    sys: Path = Path("/sys"),
    proc: Path = Path("/proc"),
    release: str | None = None,
    machine: str | None = None,
    bcc: Callable[[], Any] | None = import_bcc,
    links: Callable[[], str] = multi.links,
) -> Iterator[Check]:
    """Look at everything. The arguments are seams for tests; without ``bcc`` it is not looked for."""
    yield _machine(machine or platform.machine())
    yield _kernel(release or platform.release(), links)
    yield _bpf(proc)
    yield _uprobes(sys)
    yield _privileges(proc)
    if bcc:
        yield _bcc(bcc)


def require(**seams: Any) -> None:
    """Raises the HostError of the first thing that is missing. bcc is not tried: whoever compiles finds out."""
    for check in checks(**{"bcc": None, **seams}):
        if check.error:
            raise check.error


def own_pid_namespace(*, proc: Path = Path("/proc")) -> int:
    """The inode of the PID namespace that pylat runs in, where that is not the kernel's own; else 0."""
    inode = int(os.readlink(proc / "self/ns/pid").removeprefix("pid:[").removesuffix("]"))
    return 0 if inode == FIRST_PID_NAMESPACE else inode


def require_first_pid_namespace(*, proc: Path = Path("/proc")) -> None:
    """For what needs the PIDs that the kernel itself uses.

    Raises:
        HostError: pylat runs in a PID namespace of its own, where processes have other numbers.
    """
    if own_pid_namespace(proc=proc):
        raise HostError(
            "the watch engine does not follow children inside a PID namespace (a container)",
            "take another --engine, or run pylat on the host",
        )


def resident_bytes(*, proc: Path = Path("/proc")) -> int:
    """The memory of pylat's own process that is in use now."""
    pages = int((proc / "self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def one_heap() -> None:
    """From now on all threads allocate from one heap: of a heap each, every one keeps what its largest look needed.

    By glibc's ``mallopt(M_ARENA_MAX)``; nothing, where the C library has no such thing.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Memory that was freed goes back to the kernel, by glibc's ``malloc_trim``; nothing, where there is none."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _machine(machine: str) -> Check:
    if machine == "x86_64":
        return Check("machine", True, machine)
    error = KernelTooOld(f"pylat does not know {machine} machines yet", "it runs on x86-64 Linux")
    return Check("machine", False, machine, error)


def _kernel(release: str, links: Callable[[], str]) -> Check:
    match = re.match(r"(\d+)\.(\d+)", release)
    version = (int(match[1]), int(match[2])) if match else (0, 0)
    if version < _OLDEST_KERNEL:
        error = KernelTooOld(f"Linux {release} is too old: pylat needs 5.8 for BPF ring buffers", "use a newer kernel")
        return Check("kernel", False, f"Linux {release}", error)
    return Check("kernel", True, f"Linux {release}: {_ATTACHED[links()]}")


def _bpf(proc: Path) -> Check:
    # The switch exists where the bpf system call does (Linux kernel/bpf/syscall.c, bpf_syscall_table).
    if (proc / "sys/kernel/unprivileged_bpf_disabled").exists():
        return Check("bpf", True, "the kernel has it")
    error = KernelTooOld("this kernel has no BPF", "use a kernel with CONFIG_BPF_SYSCALL and CONFIG_BPF_JIT")
    return Check("bpf", False, "sys/kernel/unprivileged_bpf_disabled is missing in /proc", error)


def _uprobes(sys: Path) -> Check:
    kind = sys / "bus/event_source/devices/uprobe/type"
    if kind.exists():
        return Check("uprobes", True, "the kernel has them")
    error = KernelTooOld(
        "this kernel has no uprobes",
        "use a kernel with CONFIG_UPROBE_EVENTS and CONFIG_BPF_EVENTS",
    )
    return Check("uprobes", False, f"{kind} is missing", error)


def _privileges(proc: Path) -> Check:
    status = (proc / "self/status").read_text("utf-8", "replace")
    match = re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)
    held = int(match[1], 16) if match else 0

    def has(number: int) -> bool:
        return bool(held >> number & 1)

    user = f"user {os.geteuid()}"
    if has(_CAP_SYS_ADMIN) and has(_CAP_SYS_PTRACE):
        return Check("privileges", True, f"{user}, with CAP_SYS_ADMIN and CAP_SYS_PTRACE")
    if has(_CAP_BPF) and has(_CAP_PERFMON):
        return Check("privileges", True, f"{user}, with CAP_BPF and CAP_PERFMON")
    error = NoPrivilege(
        "pylat may not use BPF here",
        "run it as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE (to read the target's memory)",
    )
    return Check("privileges", False, f"{user}, without CAP_BPF and CAP_PERFMON", error)


def _bcc(load: Callable[[], Any]) -> Check:
    try:
        module = load()
    except MissingBcc as error:
        return Check("bcc", False, str(error), error)
    return Check("bcc", True, f"bcc {getattr(module, '__version__', '?')} at {os.path.dirname(module.__file__)}")
