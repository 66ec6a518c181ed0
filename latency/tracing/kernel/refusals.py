"""What the kernel refuses, in words that help: what was refused, why, on which kernel, and what to do about it."""

from __future__ import annotations

import errno
import os
import platform

from latency.errors import CompileError, HostError, NoPrivilege
from latency.tracing.kernel import calls


def refused_program(error: calls.Refused) -> CompileError:
    """Of a program; ``detail`` is the end of the verifier's log."""
    name = errno.errorcode.get(error.number, str(error.number))
    why = error.reason or os.strerror(error.number)
    return CompileError(
        f"the kernel refused the BPF program {error.program}: {why} ({name}, Linux {platform.release()})",
        "report it, with what is said of it with -v",
        detail=error.log,
    )


def refused_call(error: OSError) -> HostError:
    """Of a map, or a program that was not even looked at."""
    if error.errno == errno.EPERM:
        return NoPrivilege(
            "the kernel does not let this user load BPF programs", "run as root, or with CAP_BPF and CAP_PERFMON"
        )
    return HostError(f"the kernel refused: {error.strerror}", "run pylat check to see what is missing")
