"""How the BPF program learns a build: compile-time integers, ``-DPYLAT_NAME=<int>``, from pure data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from latency.cpython.offsets import Offsets
from latency.cpython.sites import Place, Role, SitePlan
from latency.target.process import Process
from latency.tracing.kernel.allocation import NO_PREALLOC
from latency.tracing.kernel.btf import member_offset
from latency.tracing.kernel.host import FIRST_PID_NAMESPACE, own_pid_namespace

# Offsets of the registers in x86-64's struct pt_regs (Linux arch/x86/include/uapi/asm/ptrace.h), in bytes.
PT_REGS = {
    name: 8 * place
    for place, name in enumerate(
        ("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi")
    )
}
REGISTERS_AT = {**PT_REGS, "rsp": 8 * 19}  # beyond rdi: orig_rax, rip, cs, eflags
_FIRST_ARGUMENT = "rdi"  # System V ABI

BPF_F_MMAPABLE = 1 << 10  # linux/bpf.h
_CO_SUSPENDS = 0x20 | 0x80 | 0x100 | 0x200  # CO_GENERATOR, CO_COROUTINE, CO_ITERABLE_COROUTINE, CO_ASYNC_GENERATOR
_NO_CREATOR = 0x100  # no oparg is that large
_NO_OPCODE = -1
_PIDTYPE_TGID = 1  # enum pid_type (linux/pid.h)
_MOST_RESUMES = 4
_FEW_THREADS, _FEW_SUSPENDED, _FEW_FUNCTIONS = 512, 65_536, 65_536
GENERATIONS = 8
"""Of forks, over which the knowledge of code objects is inherited."""
_POINTER_MASK = 0xFFFF_FFFF_FFFF_FFFF


@dataclass(frozen=True)
class Capacity:
    """How much the tables hold. What does not fit is counted as ``table_full``.

    Attributes:
        slots: functions with statistics (a suspending function takes two), at most 65,535; 4.7 kB each.
        functions: code objects that are known, wanted or not, of each process; 24 bytes each and some while it is.
        threads: threads with an open call at one time; 24 kB each while it lives.
        suspended: generators and coroutines of wanted functions that are suspended at one time.
        processes: followed at one time.
        names: bare names that patterns ask for.
        closing: generators whose deallocation has begun, by age.
        event_bytes: of the ring buffer, a power of two and whole pages.
        slow_bytes: of the ring buffer of slow calls, likewise.
        extremes: of slots and threads, where several run Python at once; a thread takes one where it goes beyond all.
        told_codes: code objects on the stacks of slow calls; beyond these their names are told again each time.
        slow_threads: threads in which a slow call is told at one moment.
    """

    slots: int = 1024
    functions: int = 262_144
    threads: int = 8192
    suspended: int = 262_144
    processes: int = 4096
    names: int = 64
    closing: int = 4096
    event_bytes: int = 1 << 20
    slow_bytes: int = 4096
    told_codes: int = 1
    slow_threads: int = 1
    extremes: int = 131_072

    def preallocated(self, alive: int) -> Capacity:
        """The same for a kernel where a table takes all of its memory beforehand (``kernel.allocation``).

        Args:
            alive: threads that there are now.
        """
        return replace(
            self,
            functions=min(self.functions, _FEW_FUNCTIONS),
            threads=max(_FEW_THREADS, 2 * alive),
            suspended=min(self.suspended, _FEW_SUSPENDED),
        )

    def entries(self) -> dict[str, int]:
        """``max_entries`` of the maps that it sizes, by name."""
        return {
            "statistics": self.slots,
            "free_slots": self.slots,
            "functions": self.functions,
            "claims": self.functions,
            "extremes": self.extremes,
            "threads": self.threads,
            "trace_threads": self.threads,
            "suspended": self.suspended,
            "processes": self.processes,
            "ancestors": 4 * self.processes,
            "wanted_names": self.names,
            "closing": self.closing,
            "events": self.event_bytes,
            "splits": self.slots,
            "self_times": self.slots,
            "slow_events": self.slow_bytes,
            "told_codes": self.told_codes,
            "slow_work": self.slow_threads,
        }


def cflags(
    offsets: Offsets,
    plan: SitePlan,
    *,
    every_function: bool,
    children: bool = False,
    by_name: bool = False,
    by_module: bool = False,
    task_slept: int = -1,
    further: Mapping[str, int] | None = None,
) -> list[str]:
    """The compiler flags for ``bpf/pylat.bpf.c``, sorted.

    Args:
        every_function: nearly every call is wanted, so exits look at the open calls before the table of functions.
        children: follow forks, with probes in every process that maps the file and a filter in BPF.
        by_name: code objects that are met while running are first asked for their bare name, in the kernel.
        by_module: of each of these the module is asked too, in the kernel.
        task_slept: offset of ``nvcsw`` in it; -1 where it is not known.
        further: of what is only there when it is asked for (``probes.part.Part.flags``, ``process_flags``).

    Raises:
        UnsupportedBuild: the offsets lack a member that the plan needs.
    """
    generator_frame = offsets.get("gen.iframe")
    resumes = (*plan.resume_opcodes, *[_NO_OPCODE] * _MOST_RESUMES)[:_MOST_RESUMES]
    values = {
        **{flag: value for name, place in plan.places.items() for flag, value in place_flags(name, place).items()},
        **{f"RESUME_{number}": opcode for number, opcode in enumerate(resumes, 1)},
        "ARGUMENT_1": PT_REGS[_FIRST_ARGUMENT],
        "MMAPABLE": BPF_F_MMAPABLE,
        "NO_PREALLOC": NO_PREALLOC,
        "EVERY_FUNCTION": int(every_function),
        "MANY_PROCESSES": int(children),
        "PARALLEL": int(offsets.free_threaded),  # several threads run Python at once
        "GENERATIONS": GENERATIONS,
        "TASK_SLEPT": task_slept,
        "ENTRY_MAY_REPEAT": int(plan.may_repeat),
        "START": {"lasti": 1, "oparg": 2, "owner": 3}[plan.start_by],
        "RESUME_MASK": plan.resume_mask,
        "RESUME_CREATOR": _NO_CREATOR if plan.creator_oparg is None else plan.creator_oparg,
        "FRAME_CODE": offsets["frame.code"],
        "FRAME_INSTR": offsets["frame.instr"],
        "FRAME_OF_GENERATOR": _or_absent(offsets.constants.get("FRAME_OWNED_BY_GENERATOR")),
        # To 3.10 one exit site sees suspensions too: f_state (3.10) or f_stacktop (to 3.9) tells them.
        "FRAME_STATE": _or_absent(offsets.get("frame.state")),
        "FRAME_STACKTOP": _or_absent(None if "frame.owner" in offsets else offsets.get("frame.stacktop")),
        "OBJECT_TYPE": offsets["object.type"],
        "TYPE_NAME": offsets["type.name"],
        "TSTATE_EXCEPTION": offsets["tstate.curexc"],
        # 3.12 keeps the exception itself (current_exception), older ones its type (curexc_type).
        "EXCEPTION_IS_VALUE": int("current_exception" in offsets.structs["PyThreadState"]),
        "CODE_FLAGS": offsets["code.flags"],
        "CODE_LINE": offsets["code.firstlineno"],
        "CODE_NAME": offsets["code.qualname" if "code.qualname" in offsets else "code.name"],
        "CODE_FILENAME": offsets["code.filename"],
        "BY_NAME": int(by_name),
        "CODE_BARE_NAME": offsets["code.name"],
        "UNICODE_LENGTH": offsets["unicode.length"],
        "UNICODE_STATE": offsets["unicode.state"],
        "UNICODE_KIND": offsets.string_kind,
        "UNICODE_ASCII_DATA": offsets["unicode.ascii_data"],
        "BY_MODULE": int(by_module),
        "FRAME_GLOBALS": offsets["frame.globals"],
        "FRAME_FUNCTION": _or_absent(offsets.get("frame.function")),
        "FUNCTION_CODE": offsets["function.code"],
        "FUNCTION_QUALNAME": offsets["function.qualname"],
        "FUNCTION_MODULE": offsets["function.module"],
        "DICT_KEYS": offsets["dict.keys"],
        "DICT_VALUES": offsets["dict.values"],
        "KEYS_INDICES": offsets["keys.indices"],
        "KEYS_NENTRIES": offsets["keys.nentries"],
        "KEYS_SIZE": _or_absent(offsets.get("keys.size")),
        "KEYS_LOG2_BYTES": _or_absent(offsets.get("keys.log2_index_bytes")),
        "KEYS_KIND": _or_absent(offsets.get("keys.kind")),
        "ENTRY_BYTES": offsets["entry.sizeof"],
        "UNICODE_ENTRY_BYTES": _or_absent(offsets.get("unicode_entry.sizeof")),
        "CODE_UNITS": offsets["code.code_bytes"],
        "CODE_TLBC": _or_absent(offsets.get("code.tlbc")),
        "FRAME_TLBC_INDEX": _or_absent(offsets.get("frame.tlbc_index")),
        "CODE_FIRST_TRACEABLE": _or_absent(offsets.get("code.first_traceable")),
        "CO_SUSPENDS": _CO_SUSPENDS,
        "FRAME_PREVIOUS": offsets["frame.previous"],
        "FRAME_INSTR_BYTES": offsets.size("frame.instr"),
        "FRAME_OWNER": _or_absent(offsets.get("frame.owner")),
        "CODE_LINES": offsets["code.lnotab" if "code.lnotab" in offsets else "code.linetable"],
        "BYTES_SIZE": offsets["var.size"],
        "BYTES_DATA": offsets["bytes.data"],
        "FRAME_LOCALS": offsets["frame.localsplus"],
        "CODE_ARGCOUNT": offsets["code.argcount"],
        "CODE_KWONLYARGCOUNT": offsets["code.kwonlyargcount"],
        "CODE_ARGUMENT_NAMES": offsets[
            "code.localsplusnames" if "code.localsplusnames" in offsets else "code.varnames"
        ],
        "CODE_LOCAL_KINDS": _or_absent(offsets.get("code.localspluskinds")),
        "CODE_NLOCALS": offsets["code.nlocals"],
        "CODE_CELLVARS": _or_absent(offsets.get("code.cellvars")),
        "GENERATOR_FRAME": offsets["gen.frame"] if generator_frame is None else generator_frame,
        "GENERATOR_FRAME_IS_POINTER": int(generator_frame is None),
        **(further or {}),
    }
    mask = f"-DPYLAT_FRAME_CODE_MASK={offsets.stackref_mask & _POINTER_MASK:#x}ULL"
    return sorted([*defined(values), mask])


def namespace_flags(process: Process) -> dict[str, int]:
    """Of ``bpf/namespaces.h``: the PID namespace of a process, where it has numbers of its own in it; else zeros."""
    device = inode = 0
    with suppress(OSError):  # it has ended, which is found by whoever measures it
        about = os.stat(process.proc / str(process.pid) / "ns/pid")
        if about.st_ino != FIRST_PID_NAMESPACE:
            # dev_t as linux/kdev_t.h has it
            device, inode = os.major(about.st_dev) << 20 | os.minor(about.st_dev), about.st_ino
    return {"PIDNS_DEV": device, "PIDNS_INO": inode}


def process_flags() -> dict[str, int]:
    """Of ``bpf/followed.h``, ``processes.h`` and ``last_thread.h``: where the kernel has what is asked of processes.

    Raises:
        KernelTooOld: it does not say.
    """
    flags = {
        "TASK_TGID": member_offset("task_struct", "tgid"),
        "TASK_SIGNAL": member_offset("task_struct", "signal"),
        "SIGNAL_LIVE": member_offset("signal_struct", "live"),
        "INSIDE": (inside := own_pid_namespace()),
    }
    if inside:
        flags |= {
            "SIGNAL_TGID": member_offset("signal_struct", "pids") + _PIDTYPE_TGID * 8,
            "PID_LEVEL": member_offset("pid", "level"),
            "PID_NUMBERS": member_offset("pid", "numbers"),
            "NAMESPACE_INODE": member_offset("pid_namespace", "ns") + member_offset("ns_common", "inum"),
        }
    return flags


def place_flags(name: str, place: Place) -> dict[str, int]:
    """How ``PYLAT_PLACE`` of ``bpf/cpython.h`` reads a place of this name: ``"entry.frame"``, say."""
    flag = name.upper().replace(".", "_")
    at, beside = (*place.path, 0, 0)[: Place.MOST_LOADS]
    return {
        flag: REGISTERS_AT[place.register],
        f"{flag}_LOADS": len(place.path),
        f"{flag}_AT": at,
        f"{flag}_BESIDE": beside,
    }


def defined(flags: Mapping[str, int]) -> list[str]:
    """``-DPYLAT_NAME=VALUE`` of each."""
    return [f"-DPYLAT_{name}={value}" for name, value in flags.items()]


def programs(plan: SitePlan) -> dict[Role, str]:
    """The BPF function of each role that the plan has sites for, in the order in which they are attached."""
    roles = dict.fromkeys(site.role for site in plan.sites)
    return {role: f"pylat_{role.value}" for role in roles}


def _or_absent(offset: int | None) -> int:
    return -1 if offset is None else offset
