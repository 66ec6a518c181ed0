"""Whether hash maps may take their memory while programs of probes run.

Before Linux 6.1 the kernel warns of it, with a stack trace in its log (`check_map_prog_compatibility` in
`kernel/bpf/verifier.c`, "trace type BPF program uses run-time allocation"), and where it is set to panic on warnings it
would panic. There all memory is taken beforehand. Distributions take BPF into older versions, so it is not the version
that is asked, but a helper that came in the same one.
"""

from __future__ import annotations

import os
import struct
from functools import cache

from latency.tracing.kernel import calls

NO_PREALLOC = 1 << 0  # linux/bpf.h
_KTIME_GET_TAI_NS = 208  # enum bpf_func_id, Linux 6.1
_ASKS = struct.pack("<BBhi", 0x85, 0, 0, _KTIME_GET_TAI_NS) + calls.EMPTY_PROGRAM


@cache
def grows() -> bool:
    """Whether such maps may grow while programs run."""
    try:
        os.close(calls.load_program("pylat_try", calls.PROG_TYPE_KPROBE, _ASKS))
    except (OSError, calls.Refused):
        return False
    return True


def flags(of: int) -> int:
    """The flags of a map as they may be here."""
    return of if grows() else of & ~NO_PREALLOC
