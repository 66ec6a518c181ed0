"""A loop over two probed places, as machine code: what a hit takes is measured on it, in pylat's own process."""

from __future__ import annotations

import time
from collections.abc import Callable

from latency.cpython.sites import REGISTERS

CALLS = 1000
"""Rounds of the loop."""
NOP, MOV = b"\x90", b"\x4d\x89\xc0"
"""Instructions to be probed: emulated by the kernel; single-stepped (mov r8, r8)."""
_SAVED = ("rbx", "rbp", "r12", "r13", "r14", "r15")


def loop(values: dict[str, int], entry: bytes, left: bytes) -> tuple[bytes, int, int]:
    """(machine code of ``for _ in range(CALLS): entry; left``, offsets of the two instructions)."""
    counter = next(name for name in ("rax", "rcx", "rdx", "r9", "r10") if name not in values)
    text = b"".join(_push(name) for name in _SAVED)
    text += b"".join(_move(name, value) for name, value in {**values, counter: CALLS}.items())
    entry_at = len(text)
    text += entry
    left_at = len(text)
    text += left
    number = REGISTERS.index(counter)
    text += bytes([0x48 | number >> 3, 0xFF, 0xC8 | number & 7])  # dec counter
    text += b"\x0f\x85" + (entry_at - len(text) - 6).to_bytes(4, "little", signed=True)  # jnz entry
    text += b"".join(_pop(name) for name in reversed(_SAVED)) + b"\xc3"  # ret
    return text, entry_at, left_at


def timed(run: Callable[[], None]) -> float:
    """The fastest of three runs, in nanoseconds."""
    best = float("inf")
    for _ in range(3):
        begin = time.perf_counter_ns()
        run()
        best = min(best, time.perf_counter_ns() - begin)
    return best


def _push(name: str) -> bytes:
    number = REGISTERS.index(name)
    return bytes([0x40 | number >> 3, 0x50 | number & 7])


def _pop(name: str) -> bytes:
    number = REGISTERS.index(name)
    return bytes([0x40 | number >> 3, 0x58 | number & 7])


def _move(name: str, value: int) -> bytes:
    number = REGISTERS.index(name)
    return bytes([0x48 | number >> 3, 0xB8 | number & 7]) + value.to_bytes(8, "little")
