"""Whether a uprobe's BPF program keeps its stack when its task loses the CPU; docs/kernels.md tells why it may not.

The program writes what is only its task's own all over its stack, takes its time, and looks at it again. Programs of
many tasks do so on each CPU. One that has a tail call, which is never taken, is said to be spared.

    script/kernels --private-stack 6.12 6.18 6.18-full
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from latency.target.maps import parse
from latency.tracing.kernel import calls
from latency.tracing.kernel.calls import Map

_RUNS = 20_000
_TASKS_PER_CPU = 4
_CALLS = 1000
"""Of a helper, between writing and looking: some 50 µs, and many times more in a virtual machine."""
_WORDS = 16
_STACK_BYTES = 8 * (_WORDS + 1)  # and the key of the map
_RAN, _CHANGED = 0, 1
_ARRAY, _PROG_ARRAY = 2, 3  # enum bpf_map_type
_LOOKUP, _CLOCK, _TAIL_CALL, _PID_TGID = 1, 5, 12, 14  # enum bpf_func_id
_INSTRUCTION = struct.Struct("<BBhi")  # struct bpf_insn: code, dst:4 src:4, off, imm
_WORKER = "import os\nwhile True: os.getppid()"


def _instruction(code: int, to: int = 0, of: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return _INSTRUCTION.pack(code, of << 4 | to, offset, value)


def _move(to: int, of: int) -> bytes:
    return _instruction(0xBF, to, of)


def _set(to: int, value: int) -> bytes:
    return _instruction(0xB7, to, value=value)


def _map(to: int, fd: int) -> bytes:
    return _instruction(0x18, to, 1, value=fd) + _instruction(0)


def _call(helper: int) -> bytes:
    return _instruction(0x85, value=helper)


def _count(counts: int, which: int) -> bytes:
    """counts[which] += 1; r0 to r5 are lost."""
    key = -_STACK_BYTES
    return b"".join(
        (
            _instruction(0x62, 10, offset=key, value=which),
            _map(1, counts),
            _move(2, 10),
            _instruction(0x07, 2, value=key),
            _call(_LOOKUP),
            _instruction(0x15, 0, offset=2, value=0),  # if r0 == 0 goto + 2
            _set(1, 1),
            _instruction(0xDB, 0, 1),  # lock *(u64 *)r0 += r1
        )
    )


def program(counts: int, called: int | None) -> bytes:
    """The instructions. r6: the context, r7: what is the task's own, r8: to go, r9: what has changed of it.

    Args:
        counts: the descriptor of a map, which gets how often it ran, and how often its stack had changed.
        called: the descriptor of an empty program array, for a tail call that is never taken; None for none.
    """
    never = b""
    if called is not None:
        never = _move(1, 6) + _map(2, called) + _set(3, 0) + _call(_TAIL_CALL)
        never = _instruction(0x55, 7, offset=len(never) // 8, value=0) + never  # if r7 != 0 goto beyond it
    places = [-8 * (word + 1) for word in range(_WORDS)]
    write = b"".join(_instruction(0x7B, 10, 7, offset=place) for place in places)
    wait = _call(_CLOCK) + _instruction(0x07, 8, value=-1)
    wait = _set(8, _CALLS) + wait + _instruction(0x55, 8, offset=-len(wait) // 8 - 1)  # while r8 != 0
    look = b"".join(
        _instruction(0x79, 1, 10, offset=place) + _instruction(0xAF, 1, 7) + _instruction(0x4F, 9, 1)
        for place in places
    )
    changed = _count(counts, _CHANGED)
    return b"".join(
        (
            *(_move(6, 1), _call(_PID_TGID), _move(7, 0), never, write, wait, _set(9, 0), look),
            *(_instruction(0x15, 9, offset=len(changed) // 8), changed),  # if r9 == 0 goto beyond it
            *(_count(counts, _RAN), _set(0, 0), _instruction(0x95)),
        )
    )


def place() -> tuple[str, int]:
    """getppid of the libc that this process has mapped: the file, and the offset in it."""
    address = ctypes.cast(ctypes.CDLL(None).getppid, ctypes.c_void_p).value or 0
    mapping = next(each for each in parse(Path("/proc/self/maps").read_text()) if address in each)
    return mapping.path, address - mapping.start + mapping.offset


def tried(*, tail_call: bool) -> tuple[int, int]:
    """How often the program ran, and how often its stack had changed.

    Raises:
        Refused, OSError
    """
    number = np.dtype("<u4")
    counts = Map(calls.create_map("counts", _ARRAY, 4, 8, 2, 0), number, np.dtype("<u8"))
    called = calls.create_map("called", _PROG_ARRAY, 4, 4, 1, 0) if tail_call else None
    loaded = calls.load_program("stack", calls.PROG_TYPE_KPROBE, program(counts.fd, called))
    probe = calls.attach_uprobe(loaded, *place(), 0, 0)
    tasks = [
        subprocess.Popen([sys.executable, "-S", "-c", _WORKER]) for _ in range(_TASKS_PER_CPU * (os.cpu_count() or 1))
    ]

    def count(which: int) -> int:
        found = counts.lookup(np.array([which], number))
        return int(found[0]) if found is not None else 0

    try:
        while count(_RAN) < _RUNS:
            time.sleep(0.1)
    finally:
        for each in tasks:
            each.kill()
            each.wait()
        os.close(probe)
    return count(_RAN), count(_CHANGED)


def main() -> int:
    """Says both."""
    print(f"Linux {platform.release()} {platform.version()}")
    for tail_call, name in ((False, "as it is"), (True, "with a tail call")):
        ran, changed = tried(tail_call=tail_call)
        print(f"{name}: ran {ran} times, and had another stack {changed} times", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
