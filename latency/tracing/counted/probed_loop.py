"""A loop over two probed places, as machine code: what a hit takes is measured on it, in pylat's own process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from latency.cpython.sites import REGISTERS

CALLS = 1000
"""Rounds of the loop."""
NOP, MOV = b"\x90", b"\x4d\x89\xc0"
"""Instructions to be probed: emulated by the kernel; single-stepped (mov r8, r8)."""
_STACK_SUB, _STACK_ADD, _STACK_STORE = b"\x48\x81\xec", b"\x48\x81\xc4", b"\x48\x89\x84\x24"  # rsp; [rsp + …] = rax
_SAVED = ("rbx", "rbp", "r12", "r13", "r14", "r15")


def loop(
    values: Mapping[str, int], entry: bytes, left: bytes, stack: Mapping[int, int] | None = None
) -> tuple[bytes, int, int]:
    """(machine code of ``for _ in range(CALLS): entry; left``, offsets of the two instructions).

    Args:
        values: of the registers, which are given back as they were; none of the stack pointer.
        stack: of words of the machine's stack, by how far above the stack pointer they lie.
    """
    counter = next(name for name in ("rax", "rcx", "rdx", "r9", "r10") if name not in values)
    room = (max(stack) + 15 & -16) + 16 if stack else 0  # bytes: the stack pointer stays aligned
    text = b"".join(_push(name) for name in _SAVED)
    text += _STACK_SUB + room.to_bytes(4, "little") if stack else b""
    for distance, value in (stack or {}).items():
        text += _move("rax", value) + _STACK_STORE + distance.to_bytes(4, "little")
    text += b"".join(_move(name, value) for name, value in {**values, counter: CALLS}.items())
    entry_at = len(text)
    text += entry
    left_at = len(text)
    text += left
    number = REGISTERS.index(counter)
    text += bytes([0x48 | number >> 3, 0xFF, 0xC8 | number & 7])  # dec counter
    text += b"\x0f\x85" + (entry_at - len(text) - 6).to_bytes(4, "little", signed=True)  # jnz entry
    text += _STACK_ADD + room.to_bytes(4, "little") if stack else b""
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
