"""From what is asked for to the compiled programs of the watch engine: flags, the compiler, their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from latency.cache import Cache
from latency.cpython.offsets import Offsets
from latency.cpython.sites import Role, Site
from latency.cpython.watch_points import WatchPlan
from latency.errors import CompileError
from latency.tracing.counted import wire
from latency.tracing.counted.parameters import PT_REGS, cflags, defined, process_flags
from latency.tracing.counted.switches import SWITCHES
from latency.tracing.kernel import calls as kernel
from latency.tracing.kernel.compiler import Object, kept_or_compiled
from latency.tracing.kernel.tracepoints import twice
from latency.tracing.watch import wire as watching

SOURCE = "watch.bpf.c"
WATCH, RAISE = "pylat_watch", "pylat_watch_raise"
_THREADS = twice({"pylat_thread_exit": "sched_process_exit"})
_FORKS = twice({"pylat_fork": "sched_process_fork", "pylat_exec": "sched_process_exec"})
TRACEPOINTS = {**_THREADS, **_FORKS, **SWITCHES}
CALLED = {
    "pylat_watch_slow": "slow_programs",
    "pylat_watch_take": "take_programs",
    "pylat_watch_raise_slow": "raise_programs",
}
"""BPF functions to which others go on, each with the map (a program array) through which they do."""
COLLECTOR = {Role.GC_DONE: "pylat_gc_done", Role.GC_START: "pylat_gc_start"}
_OF_PROBES = (RAISE, "pylat_watch_raise_slow", *COLLECTOR.values())
_INSTRUCTION_POINTER = 8 * 16  # offset in x86-64's struct pt_regs, in bytes
_NO_OPCODE = -1
_MOST_RETURNS = 4


@dataclass(frozen=True)
class Beside:
    """What is wanted beside counts and latencies: it decides which programs and tables there are.

    Attributes:
        children: forks are followed.
        slow: the flags of slow calls (``watch.slow.WatchSlow.flags``); None where none are told.
        offcpu: those of time off the CPU (``counted.switches.switch_flags``); None where it is not told.
        collector: where the build says then that it collects garbage.
        jit: the target may run code of CPython's JIT.
    """

    children: bool = False
    slow: Mapping[str, int] | None = None
    offcpu: Mapping[str, int] | None = None
    collector: Sequence[Site] = ()
    jit: bool = False

    @property
    def thread(self) -> np.dtype[Any]:
        """What is kept of a thread."""
        return watching.WATCH_THREAD if self.offcpu is None else watching.SPLIT_WATCH_THREAD


def watch_flags(offsets: Offsets, plan: WatchPlan, beside: Beside) -> list[str]:
    """The compiler flags for ``bpf/watch.bpf.c``, sorted.

    Raises:
        UnsupportedBuild: the offsets lack a member that the plan needs.
    """
    returns = [*plan.returns, *[_NO_OPCODE] * _MOST_RETURNS][:_MOST_RETURNS]
    before_3_11 = plan.start_by == "lasti"
    values = {
        "REGISTERS": len(PT_REGS),
        "PLACE": _INSTRUCTION_POINTER,
        "LEAVE": 1 if before_3_11 else 3 if plan.leave else 2,
        "FRESH": plan.fresh,
        "LASTI_BYTES": plan.lasti_bytes,
        "FRAME_BACK": offsets["frame.previous"],
        **{f"RETURN_{number}": opcode for number, opcode in enumerate(returns, 1)},
    }
    executing, blocks = offsets.get("frame.executing"), offsets.get("frame.blocks")
    return sorted(
        [
            *cflags(
                offsets,
                plan,
                every_function=False,
                children=beside.children,
                further={
                    **(beside.slow or {}),
                    **(beside.offcpu or {}),
                    **(process_flags() if beside.children else {}),
                },
            ),
            *defined({f"WATCH_{name}": value for name, value in values.items()}),
            *(["-DPYLAT_WATCH_HOMES=1"] if plan.homes else []),
            *(_of_jit(offsets, beside) if beside.jit else []),
            f"-DPYLAT_FRAME_EXECUTING={-1 if executing is None else executing}",
            f"-DPYLAT_FRAME_BLOCKS={-1 if blocks is None else blocks}",
        ]
    )


def _of_jit(offsets: Offsets, beside: Beside) -> list[str]:
    assert beside.slow is None  # whose flags have it, too
    return defined({"WATCH_JIT": 1, "TSTATE_FRAME": offsets["tstate.frame"]})


def compile_watch(offsets: Offsets, plan: WatchPlan, beside: Beside) -> Object:
    """What ``WatchProgram`` loads. Raises MissingBcc, CompileError, NoPrivilege."""
    flags, names = watch_flags(offsets, plan, beside), needed(plan, beside)
    made = kept_or_compiled(flags, names, Cache(), source=SOURCE)
    sizes = {shape.name: shape.value_size for shape in made.maps}
    expected = {
        "config": watching.WATCH_CONFIG,
        "statistics": wire.STATISTICS,
        "counters": wire.COUNTERS,
        "watched": watching.WATCHED,
        "threads": beside.thread,
        "frames": watching.WATCH_CALL,
        "processes": watching.WATCH_PROCESS,
        **({"homes": watching.WATCH_HOME} if plan.homes else {}),
    }
    if any(sizes.get(name) != dtype.itemsize for name, dtype in expected.items()):
        raise CompileError("bpf/watch.h and latency/tracing/watch/wire.py disagree on a struct", "reinstall pylat")
    return made


def needed(plan: WatchPlan, beside: Beside) -> list[str]:
    """The names of the BPF functions that a measurement needs."""
    raises = [RAISE] if any(plan.of(Role.RAISE)) else []
    found = [WATCH, *_THREADS, *(_FORKS if beside.children else ()), *raises]
    found += SWITCHES if beside.offcpu is not None else ()
    found += COLLECTOR.values() if beside.collector else ()
    if beside.slow is not None:
        found += ["pylat_watch_slow"]
        found += ["pylat_watch_take"] if beside.slow["SLOW_VALUES"] else []
        found += ["pylat_watch_raise_slow"] if raises else []
    return found


def kind_of(name: str) -> int:
    """The type of a BPF function, as the kernel takes it."""
    if name in TRACEPOINTS:
        return kernel.PROG_TYPE_RAW_TRACEPOINT
    return kernel.PROG_TYPE_KPROBE if is_of_probes(name) else kernel.PROG_TYPE_PERF_EVENT


def is_of_probes(name: str) -> bool:
    """Whether it runs where a probe fires: on exceptions, and on the markers of the garbage collector."""
    return name in _OF_PROBES
