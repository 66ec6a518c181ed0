"""How often BPF programs ran and how long that took, as the kernel counts it (BPF_ENABLE_STATS, Linux 5.8)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from latency.tracing.kernel.uprobes import bpf

_ENABLE_STATS, _RUN_TIME = 32, 0  # enum bpf_cmd, enum bpf_stats_type


class _EnableStats(ctypes.Structure):
    _fields_ = (("type", ctypes.c_uint32),)


class Runs(NamedTuple):
    """Of one program, since it was loaded, while anybody had them counted."""

    count: int
    total_ns: int

    def __sub__(self, earlier: Runs) -> Runs:
        return Runs(self.count - earlier.count, self.total_ns - earlier.total_ns)

    @property
    def each_ns(self) -> float:
        """Of one run."""
        return self.total_ns / self.count if self.count else 0.0


@contextmanager
def counted() -> Iterator[None]:
    """The kernel counts runs, of all programs; that adds two readings of the clock to each."""
    fd = bpf(_ENABLE_STATS, _EnableStats(type=_RUN_TIME), "count the runs of BPF programs")
    try:
        yield
    finally:
        os.close(fd)


def runs(program_fd: int) -> Runs:
    """So far (Linux kernel/bpf/syscall.c, bpf_prog_show_fdinfo)."""
    lines = Path(f"/proc/self/fdinfo/{program_fd}").read_text().splitlines()
    values = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return Runs(int(values["run_cnt"]), int(values["run_time_ns"]))
