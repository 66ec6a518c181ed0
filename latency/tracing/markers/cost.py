"""What one hit of a marker costs on this machine; ``calibration.py`` says how that is found out."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Sequence

import numpy as np

from latency.errors import PylatError
from latency.tracing.counted.probed_loop import CALLS, NOP, loop, timed
from latency.tracing.counted.wire import NO_SLOT
from latency.tracing.markers import wire as marking
from latency.tracing.markers.program import MarkerProgram
from latency.tracing.markers.wanted import COUNT, DONE, START, Point


def marker_cost_ns(program: MarkerProgram, points: Sequence[Point], *, by_name: bool) -> float | None:
    """Nanoseconds that one hit adds to the target, the trap included; None where pylat may not probe itself.

    The program must be detached from the target and read already: its tables are used, and its counters move.

    Args:
        by_name: with a name that is read and looked up.
    """
    functions = [name for name in (START, DONE) if any(point.function == name for point in points)] or [COUNT]
    text = ctypes.create_string_buffer(b"application.module")
    record = np.zeros(1, marking.POINT)
    for name in ("name", "number", "key", "amount"):
        record[name]["base"] = record[name]["index"] = marking.NO_REGISTER
    if by_name:
        record["slot"] = NO_SLOT
        record["name"] = ctypes.addressof(text), marking.PRESENT, 8, 0, marking.NO_REGISTER, marking.NO_REGISTER, 1, 0
    machine_code, first, second = loop({}, NOP, NOP)
    fd = os.memfd_create("pylat-calibration", os.MFD_CLOEXEC)
    try:
        os.write(fd, machine_code.ljust(mmap.PAGESIZE, NOP))
        with mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC) as memory:
            pointer = np.frombuffer(memory, np.uint8).ctypes.data
            run = ctypes.CFUNCTYPE(None)(pointer)
            run()
            bare_ns = timed(run)
            sites = dict(zip(functions, (first, second), strict=False))
            with program.attached_to_self(f"/proc/self/fd/{fd}", sites, record):
                program.maps.config["enabled"] = 1
                run()
                cost_ns = (timed(run) - bare_ns) / (len(functions) * CALLS)
                program.maps.config["enabled"] = 0
            del run, pointer
            return max(cost_ns, 0.0)
    except (OSError, PylatError):
        return None
    finally:
        os.close(fd)
