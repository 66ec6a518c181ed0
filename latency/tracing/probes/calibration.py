"""What one probe hit costs on this machine: measured in pylat's own process, with the very programs that measured.

A few bytes of machine code in a memory-backed file stand for the interpreter: a loop over an entry site and an exit
site, with a made-up frame in the registers. The probed instructions are of the kinds that the plan has: emulated by the
kernel, or single-stepped.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from collections.abc import Mapping

import numpy as np

from latency.cpython.offsets import Offsets
from latency.cpython.sites import Place, Role, SitePlan
from latency.errors import AttachError
from latency.tracing.counted import wire
from latency.tracing.counted.probed_loop import CALLS, MOV, NOP, loop, timed
from latency.tracing.probes.cost import HitCost
from latency.tracing.probes.program import Program

_STRUCT_BYTES = 4096
_MOST_OFFSET = 1 << 14  # bytes, of a place from a register


def hit_cost(program: Program, plan: SitePlan, offsets: Offsets) -> HitCost | None:
    """Measure it; about 10 ms and the time to attach. None where the kernel does not let pylat probe itself.

    Nothing may be attached to the target. The program's counters move; its tables are afterwards as they were.
    """
    exit_role = Role.EXIT if any(plan.of(Role.EXIT)) else Role.RETURN
    frame = ctypes.create_string_buffer(_STRUCT_BYTES)
    nothing = ctypes.create_string_buffer(_STRUCT_BYTES)
    code = ctypes.addressof(nothing)
    _put(frame, offsets["frame.code"], code)
    _put(frame, offsets["frame.instr"], ctypes.addressof(nothing))
    pointers = {name: ctypes.addressof(frame if name.endswith(".frame") else nothing) for name in plan.places}
    values, stack, kept = laid_out(plan.places, pointers)
    instructions = _instruction(plan, Role.ENTRY), _instruction(plan, exit_role)
    machine_code, entry, left = loop(values, *instructions, stack)
    try:
        fd = os.memfd_create("pylat-calibration", os.MFD_CLOEXEC)
    except OSError:
        return None
    try:
        os.write(fd, machine_code.ljust(mmap.PAGESIZE, NOP))
        with mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC) as memory:
            return _measure(program, memory, fd, {Role.ENTRY: entry, exit_role: left}, code)
    except (OSError, AttachError):
        return None
    finally:
        os.close(fd)
        del kept


def laid_out(
    places: Mapping[str, Place], pointers: Mapping[str, int]
) -> tuple[dict[str, int], dict[int, int], list[ctypes.Array[ctypes.c_char]]]:
    """Registers and memory in which each place holds its pointer.

    Returns:
        the values of registers; those of words of the machine's stack, by their distance above the stack pointer; and
        the memory that these point to, which must be kept. A place that would need what another one has is left out:
        what is read there leads nowhere.
    """
    values: dict[str, int] = {}
    stack: dict[int, int] = {}
    kept: list[ctypes.Array[ctypes.c_char]] = []
    bases: dict[str, ctypes.Array[ctypes.c_char]] = {}
    for name, place in sorted(places.items(), key=lambda each: len(each[1].path)):
        if any(abs(offset) > _MOST_OFFSET for offset in place.path):
            continue
        pointer = pointers[name]
        for offset in place.path[:0:-1]:
            beside = ctypes.create_string_buffer(2 * _MOST_OFFSET + 8)
            _put(beside, _MOST_OFFSET + offset, pointer)
            kept.append(beside)
            pointer = ctypes.addressof(beside) + _MOST_OFFSET
        if not place.path:
            values[place.register] = pointer
        elif place.register == "rsp":
            if place.path[0] >= 0:
                stack.setdefault(place.path[0], pointer)
        elif place.register in bases or place.register not in values:
            if place.register not in bases:
                bases[place.register] = ctypes.create_string_buffer(2 * _MOST_OFFSET + 8)
                values[place.register] = ctypes.addressof(bases[place.register]) + _MOST_OFFSET
            _put(bases[place.register], _MOST_OFFSET + place.path[0], pointer)
    return values, stack, [*kept, *bases.values()]


def _measure(program: Program, memory: mmap.mmap, fd: int, sites: dict[Role, int], code: int) -> HitCost:
    pointer = np.frombuffer(memory, np.uint8).ctypes.data
    run = ctypes.CFUNCTYPE(None)(pointer)
    run()
    bare_ns = timed(run)
    key, function = np.zeros(1, wire.FUNCTION_KEY), np.zeros(1, wire.FUNCTION)
    key["code"] = code
    slot = program.maps.slots - 1  # the last that a function would get
    function["slot"], function["active_slot"] = slot, wire.NO_SLOT
    kept = program.maps.statistics[slot].copy()
    program.maps.statistics["code"][slot] = code
    costs = []
    with program.attached_to_self(f"/proc/self/fd/{fd}", sites):
        program.maps.config["enabled"] = 1
        for flags in (wire.WANTED, 0):
            function["flags"] = flags
            program.maps.functions.update(key, function)
            program.maps.forget_known()
            run()
            costs.append((timed(run) - bare_ns) / (2 * CALLS))
        program.maps.config["enabled"] = 0
    program.maps.functions.delete(key)
    program.maps.forget_known()
    program.maps.threads.delete(np.array([threading.get_native_id()], "<u4"))
    program.maps.statistics[slot : slot + 1] = kept
    del run, pointer
    return HitCost(wanted_ns=max(costs[0], 0.0), unwanted_ns=max(costs[1], 0.0))


def _instruction(plan: SitePlan, role: Role) -> bytes:
    return NOP if all(site.emulated for site in plan.usual(role)) else MOV


def _put(buffer: ctypes.Array[ctypes.c_char], offset: int, value: int) -> None:
    ctypes.memmove(ctypes.addressof(buffer) + offset, value.to_bytes(8, "little"), 8)
