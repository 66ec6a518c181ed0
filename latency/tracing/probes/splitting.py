"""On and off the CPU, and self time (``--offcpu``, ``--self``): what ``bpf/split.h`` needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from latency.cpython.interpreter import Target
from latency.cpython.sites import Role, Site
from latency.errors import KernelTooOld
from latency.recording import Options
from latency.target.process import Process
from latency.tracing.counted import wire
from latency.tracing.counted.divided import Splits
from latency.tracing.kernel.btf import VMLINUX, member_offset
from latency.tracing.probes.part import Host, Part

_U32 = np.dtype("<u4")

# The state of a task, the newer name first (Linux 5.14: unsigned int __state; before: long state).
_STATES = (("__state", 4), ("state", 8))


GREENLETS = "which greenlet of a thread runs: a call's parts (--offcpu, --self) hold what others do meanwhile"
"""What nobody sees of a process with greenlets."""


def has_greenlets(process: Process) -> bool:
    """Whether the package greenlet is loaded (gevent and eventlet are made of it)."""
    return any("_greenlet." in mapping.path for mapping in process.maps())


class Splitting(Part):
    """What is to be told apart.

    Args:
        offcpu: running, waiting and garbage collection.
        self_time: the time in a call from that in its callees.
        collector: where the build says that it collects garbage.
    """

    structs = wire.SPLIT_STRUCTS

    def __init__(self, *, offcpu: bool = False, self_time: bool = False, collector: Sequence[Site] = ()) -> None:
        self._offcpu = offcpu
        self._self_time = self_time
        self._collector = collector
        self.tracepoints = {"pylat_switch": "sched_switch", "pylat_wakeup": "sched_wakeup"} if offcpu else {}
        self.maps = {
            **({"splits": (_U32, wire.SPLIT)} if offcpu else {}),
            **({"self_times": (_U32, wire.STATISTICS)} if self_time else {}),
        }

    @classmethod
    def of(cls, target: Target, options: Options) -> Splitting:
        """As the options ask for it."""
        collector: Sequence[Site] = ()
        if options.offcpu:
            from latency.cpython.sites.collector import gc_sites  # it imports the disassembler

            collector = gc_sites(target.build.image, target.build.markers)
        return cls(offcpu=options.offcpu, self_time=options.self_time, collector=collector)

    def flags(self, *, btf: Path = VMLINUX) -> dict[str, int]:
        """As ``Part`` says.

        Raises:
            KernelTooOld: the kernel's BTF does not say where a thread has its state.
        """
        flags = {"SPLIT": 1, "OFFCPU": int(self._offcpu), "SELF": int(self._self_time)}
        return {**flags, **_task_flags(btf)} if self._offcpu else flags

    def sites(self) -> Sequence[Site]:
        """Where garbage collections begin and end."""
        return self._collector

    def loaded(self, session: Host) -> None:
        """The statistics have their parts from now on."""
        maps = session.maps
        maps.splits = Splits(
            maps.mapped("splits", wire.SPLIT, maps.slots) if self._offcpu else None,
            maps.mapped("self_times", wire.STATISTICS, maps.slots) if self._self_time else None,
            gc_known=any(site.role is Role.GC_START for site in session.target.plan.sites),
            extremes=maps.extremes,
        )
        if has_greenlets(session.target.process):
            session.unseen.append(GREENLETS)


def _task_flags(btf: Path) -> dict[str, int]:
    for name, size in _STATES:
        try:
            state = member_offset("task_struct", name, path=btf)
            pid = member_offset("task_struct", "pid", path=btf)
            return {"TASK_PID": pid, "TASK_STATE": state, "TASK_STATE_BYTES": size}
        except KernelTooOld:
            continue
    raise KernelTooOld(
        "this kernel has no BTF that says where a thread has its state, which --offcpu needs",
        "measure without --offcpu",
    )
