"""Threads that lose their CPU and have one again (``--offcpu``): what ``bpf/switches.h`` needs to know."""

from __future__ import annotations

from pathlib import Path

from latency.errors import KernelTooOld
from latency.target.process import Process
from latency.tracing.kernel.btf import VMLINUX, member_offset

SWITCHES = {"pylat_switch": "sched_switch", "pylat_wakeup": "sched_wakeup"}
"""The BPF functions, each with the raw tracepoint that it hangs on."""
GREENLETS = "which greenlet of a thread runs: a call's parts (--offcpu, --self) hold what others do meanwhile"
"""What nobody sees of a process with greenlets."""

# The state of a task, the newer name first (Linux 5.14: unsigned int __state; before: long state).
_STATES = (("__state", 4), ("state", 8))


def has_greenlets(process: Process) -> bool:
    """Whether the package greenlet is loaded (gevent and eventlet are made of it)."""
    return any("_greenlet." in mapping.path for mapping in process.maps())


def switch_flags(*, self_time: bool = False, btf: Path = VMLINUX) -> dict[str, int]:
    """The compiler flags (``PYLAT_…``) of a program that sees these.

    Args:
        self_time: and tells the time in callees apart.

    Raises:
        KernelTooOld: the kernel's BTF does not say where a thread has its state.
    """
    for name, size in _STATES:
        try:
            state = member_offset("task_struct", name, path=btf)
            pid = member_offset("task_struct", "pid", path=btf)
        except KernelTooOld:
            continue
        found = {"TASK_PID": pid, "TASK_STATE": state, "TASK_STATE_BYTES": size}
        return {"SPLIT": 1, "OFFCPU": 1, "SELF": int(self_time), **found}
    raise KernelTooOld(
        "this kernel has no BTF that says where a thread has its state, which --offcpu needs",
        "measure without --offcpu",
    )
