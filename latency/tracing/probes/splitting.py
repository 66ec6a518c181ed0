"""On and off the CPU, and self time (``--offcpu``, ``--self``): what ``bpf/split.h`` needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from latency.cpython.interpreter import Target
from latency.cpython.sites import Role, Site
from latency.recording import Options
from latency.tracing.counted import wire
from latency.tracing.counted.divided import Splits
from latency.tracing.counted.switches import GREENLETS, SWITCHES, has_greenlets, switch_flags
from latency.tracing.kernel.btf import VMLINUX
from latency.tracing.probes.part import Host, Part

_U32 = np.dtype("<u4")


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
        self.tracepoints = SWITCHES if offcpu else {}
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
        if self._offcpu:
            return switch_flags(self_time=self._self_time, btf=btf)
        return {"SPLIT": 1, "OFFCPU": 0, "SELF": int(self._self_time)}

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
