"""From what is asked for to the compiled programs of the watch engine: flags, the compiler, their names."""

from __future__ import annotations

from collections.abc import Mapping

from latency.cache import Cache
from latency.cpython.offsets import Offsets
from latency.cpython.sites import Role
from latency.cpython.watch_points import WatchPlan
from latency.errors import CompileError
from latency.tracing.counted import wire
from latency.tracing.counted.parameters import PT_REGS, cflags, defined, process_flags
from latency.tracing.kernel import calls as kernel
from latency.tracing.kernel.compiler import Object, kept_or_compiled
from latency.tracing.kernel.tracepoints import twice
from latency.tracing.watch import wire as watching

SOURCE = "watch.bpf.c"
WATCH, RAISE = "pylat_watch", "pylat_watch_raise"
_THREADS = twice({"pylat_thread_exit": "sched_process_exit"})
_FORKS = twice({"pylat_fork": "sched_process_fork", "pylat_exec": "sched_process_exec"})
TRACEPOINTS = {**_THREADS, **_FORKS}
CALLED = {
    "pylat_watch_slow": "slow_programs",
    "pylat_watch_take": "take_programs",
    "pylat_watch_raise_slow": "raise_programs",
}
"""BPF functions to which others go on, each with the map (a program array) through which they do."""
_OF_PROBES = (RAISE, "pylat_watch_raise_slow")
_INSTRUCTION_POINTER = 8 * 16  # offset in x86-64's struct pt_regs, in bytes
_NO_OPCODE = -1
_MOST_RETURNS = 4


def watch_flags(
    offsets: Offsets, plan: WatchPlan, *, children: bool = False, slow: Mapping[str, int] | None = None
) -> list[str]:
    """The compiler flags for ``bpf/watch.bpf.c``, sorted.

    Args:
        children: follow forks.
        slow: what slow calls need beside (``watch.slow.WatchSlow.flags``); None where none are told.

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
                children=children,
                further={**(slow or {}), **(process_flags() if children else {})},
            ),
            *defined({f"WATCH_{name}": value for name, value in values.items()}),
            *(["-DPYLAT_WATCH_HOMES=1"] if plan.homes else []),
            f"-DPYLAT_FRAME_EXECUTING={-1 if executing is None else executing}",
            f"-DPYLAT_FRAME_BLOCKS={-1 if blocks is None else blocks}",
        ]
    )


def compile_watch(
    offsets: Offsets, plan: WatchPlan, *, children: bool = False, slow: Mapping[str, int] | None = None
) -> Object:
    """What ``WatchProgram`` loads. Raises MissingBcc, CompileError, NoPrivilege."""
    flags = watch_flags(offsets, plan, children=children, slow=slow)
    names = needed(plan, children=children, slow=slow)
    made = kept_or_compiled(flags, names, Cache(), source=SOURCE)
    sizes = {shape.name: shape.value_size for shape in made.maps}
    expected = {
        "config": watching.WATCH_CONFIG,
        "statistics": wire.STATISTICS,
        "counters": wire.COUNTERS,
        "watched": watching.WATCHED,
        "threads": watching.WATCH_THREAD,
        "frames": watching.WATCH_CALL,
        "processes": watching.WATCH_PROCESS,
        **({"homes": watching.WATCH_HOME} if plan.homes else {}),
    }
    if any(sizes.get(name) != dtype.itemsize for name, dtype in expected.items()):
        raise CompileError("bpf/watch.h and latency/tracing/watch/wire.py disagree on a struct", "reinstall pylat")
    return made


def needed(plan: WatchPlan, *, children: bool, slow: Mapping[str, int] | None) -> list[str]:
    """The names of the BPF functions that a measurement needs; ``slow`` as for ``watch_flags``."""
    raises = [RAISE] if any(plan.of(Role.RAISE)) else []
    found = [WATCH, *_THREADS, *(_FORKS if children else ()), *raises]
    if slow is not None:
        found += ["pylat_watch_slow"]
        found += ["pylat_watch_take"] if slow["SLOW_VALUES"] else []
        found += ["pylat_watch_raise_slow"] if raises else []
    return found


def kind_of(name: str) -> int:
    """The type of a BPF function, as the kernel takes it."""
    if name in TRACEPOINTS:
        return kernel.PROG_TYPE_RAW_TRACEPOINT
    return kernel.PROG_TYPE_KPROBE if is_of_probes(name) else kernel.PROG_TYPE_PERF_EVENT


def is_of_probes(name: str) -> bool:
    """Whether it runs where the probe on exceptions fires."""
    return name in _OF_PROBES
