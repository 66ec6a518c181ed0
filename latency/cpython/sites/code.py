"""Reading machine code around a site: straight lines, register copies, jumps into a stretch (capstone, x86-64)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import capstone
import capstone.x86_const as x86

from latency.cpython.sites.plan import REGISTERS, Role, Site
from latency.errors import UnsupportedBuild
from latency.target.elf import Image

_MAX_INSTRUCTION_BYTES = 15
_BY_SLOT = re.compile(r"qword ptr \[rip ([+-]) (0x[0-9a-f]+|\d+)\]")

_CALLER_SAVED = frozenset({"rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11"})
CALLEE_SAVED = frozenset({"rbx", "rbp", "r12", "r13", "r14", "r15"})
_LEGACY = {
    **{name[1:]: name for name in REGISTERS[:8]},  # ax
    **{"e" + name[1:]: name for name in REGISTERS[:8]},  # eax
    **{name[1] + "l": name for name in ("rax", "rbx", "rcx", "rdx")},
    **{name[1] + "h": name for name in ("rax", "rbx", "rcx", "rdx")},
    **{name[1:] + "l": name for name in ("rsp", "rbp", "rsi", "rdi")},
}

Instruction: TypeAlias = capstone.CsInsn


def full_register(name: str) -> str:
    """The 64-bit register that ``name`` is a part of: ``"al"`` -> ``"rax"``, ``"r8d"`` -> ``"r8"``."""
    if name in _LEGACY:
        return _LEGACY[name]
    return name.rstrip("bwd") if re.fullmatch(r"r\d+[bwd]", name) else name


def emulated(instruction: Instruction) -> bool:
    """Whether the kernel emulates this instruction under a uprobe, instead of single-stepping a copy.

    Source: Linux arch/x86/kernel/uprobes.c, branch_setup_xol_ops (nop, relative jmp, call and jcc, without prefixes)
    and push_setup_xol_ops (push of a register).
    """
    code = bytes(instruction.bytes)
    if code[0] in (0x90, 0xE8, 0xE9, 0xEB) or 0x70 <= code[0] <= 0x7F or 0x50 <= code[0] <= 0x57:
        return True
    if code[0] == 0x0F and len(code) > 1 and 0x80 <= code[1] <= 0x8F:
        return True
    return len(code) == 2 and code[0] == 0x41 and 0x50 <= code[1] <= 0x57


def text(instruction: Instruction) -> str:
    """``"mov rbx, rdi"``."""
    return f"{instruction.mnemonic} {instruction.op_str}".strip()


def written(instruction: Instruction) -> frozenset[str]:
    """The 64-bit names of the registers that an instruction changes, a call's by the System V ABI."""
    if instruction.group(capstone.CS_GRP_CALL):
        return _CALLER_SAVED
    _, registers = instruction.regs_access()
    return frozenset(full_register(instruction.reg_name(register)) for register in registers)


def memory(instruction: Instruction, operand: int) -> tuple[str, int] | None:
    """(base register, displacement) if this operand is ``[base + displacement]``."""
    if operand >= len(instruction.operands):
        return None
    value = instruction.operands[operand]
    if value.type != x86.X86_OP_MEM or value.mem.index or not value.mem.base:
        return None
    return full_register(instruction.reg_name(value.mem.base)), value.mem.disp


def register(instruction: Instruction, operand: int) -> str | None:
    """The 64-bit register that this operand is, whole; None for anything else."""
    if operand >= len(instruction.operands):
        return None
    value = instruction.operands[operand]
    if value.type != x86.X86_OP_REG or value.size != 8:
        return None
    return str(instruction.reg_name(value.reg))


def target(instruction: Instruction) -> int | None:
    """Where a direct jump or call goes."""
    if not instruction.operands or instruction.operands[0].type != x86.X86_OP_IMM:
        return None
    if not (instruction.group(capstone.CS_GRP_JUMP) or instruction.group(capstone.CS_GRP_CALL)):
        return None
    return int(instruction.operands[0].imm)


def is_jump(instruction: Instruction) -> bool:
    """An unconditional jump, direct or not."""
    return bool(instruction.id == x86.X86_INS_JMP)


def is_branch(instruction: Instruction) -> bool:
    """A conditional jump."""
    return bool(instruction.group(capstone.CS_GRP_JUMP)) and not is_jump(instruction)


class Line(NamedTuple):
    """One instruction, as text."""

    address: int
    size: int
    mnemonic: str
    operands: str


def slot_of(line: Line) -> int | None:
    """The address of the word that a call or jump takes its goal from, if that lies at a distance from the code itself:
    in the global offset table."""
    found = _BY_SLOT.fullmatch(line.operands)
    if found is None or line.mnemonic.split()[-1] not in ("call", "jmp"):
        return None
    return line.address + line.size + int(found[1] + found[2], 16)


class Sweep:
    """Every instruction of some stretches of code.

    Attributes:
        lines: the instructions, in order.
        jumps: (source, target) addresses of the direct jumps among them (not of calls).
    """

    def __init__(self, lines: list[Line]) -> None:
        self.lines = lines
        self.jumps = [
            (line.address, int(line.operands, 16))
            for line in lines
            if line.mnemonic[0] == "j" and line.operands.startswith("0x")
        ]

    def jumps_into(self, first: int, last: int) -> set[int]:
        """Addresses of the direct jumps that go to [first, last]."""
        return {source for source, goal in self.jumps if first <= goal <= last}


class Code:
    """The machine code of one image."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self._disassembler = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        self._disassembler.detail = True
        self._instructions = lru_cache(maxsize=4096)(self._decode)

    def at(self, address: int) -> Instruction:
        """The instruction at an address. Raises UnsupportedBuild if there is none."""
        return self._instructions(address)

    def straight(self, address: int, *, limit: int = 64, follow: bool = False) -> Iterator[Instruction]:
        """The instructions that run one after the other when no conditional jump is taken.

        Ends behind a return or an unconditional jump, which is followed instead if it is direct and ``follow`` is set.
        """
        for _ in range(limit):
            instruction = self.at(address)
            yield instruction
            address = instruction.address + instruction.size
            if is_jump(instruction):
                goal = target(instruction)
                if not follow or goal is None:
                    return
                address = goal
            elif instruction.group(capstone.CS_GRP_RET) or instruction.id in (x86.X86_INS_UD2, x86.X86_INS_HLT):
                return

    def site(self, role: Role, name: str, start: int, instruction: Instruction, semaphore_offset: int = 0) -> Site:
        """The site on this instruction."""
        return Site(
            role=role,
            name=name,
            address=instruction.address,
            offset=self.image.offset_of(instruction.address),
            start=start,
            instruction=text(instruction),
            emulated=emulated(instruction),
            semaphore_offset=semaphore_offset,
        )

    def lands(self, address: int) -> int:
        """Where a call of this address gets to: through an entry of the linkage table, or there."""
        for step in self.straight(address, limit=2):
            slot = memory(step, 0)
            if is_jump(step) and slot and slot[0] == "rip":
                bound = self.image.bound_symbol(step.address + step.size + slot[1])
                return bound.address if bound else address
            if step.id != x86.X86_INS_ENDBR64:
                break
        return address

    def sweep(self, ranges: Iterable[tuple[int, int]]) -> Sweep:
        """These stretches of code, in order, without details (fast: half a million instructions a second).

        Compilers keep data out of x86-64 code, so decoding one after the other stays in step.
        """
        lines: list[Line] = []
        for low, high in ranges:
            lines.extend(map(Line._make, self._disassembler.disasm_lite(self.image.read(low, high - low), low)))
        return Sweep(lines)

    def _decode(self, address: int) -> Instruction:
        segment = self.image.segment_at(address)
        size = min(_MAX_INSTRUCTION_BYTES, segment.address + segment.file_size - address)
        for instruction in self._disassembler.disasm(self.image.read(address, size), address, 1):
            return instruction
        raise UnsupportedBuild(
            f"{self.image.name} has no instruction at {address:#x} that capstone knows",
            "send pylat what pylat check -p PID --report FILE writes of this build",
        )


def copies(instructions: Iterable[Instruction], argument: str) -> Iterator[tuple[Instruction, frozenset[str]]]:
    """Walks a straight line and says, *before* each instruction, which registers hold what ``argument`` held first."""
    holders = frozenset({argument})
    for instruction in instructions:
        yield instruction, holders
        source = register(instruction, 1) if instruction.id == x86.X86_INS_MOV else None
        destination = register(instruction, 0) if source else None
        holders -= written(instruction)
        if source in holders and destination:
            holders |= {destination}


def first_emulated(
    steps: Iterable[tuple[Instruction, frozenset[str]]], usable: Callable[[Instruction, frozenset[str]], bool]
) -> tuple[Instruction, frozenset[str]] | None:
    """The first step whose instruction the kernel emulates while ``usable`` still holds."""
    for instruction, holders in steps:
        if not usable(instruction, holders):
            return None
        if emulated(instruction):
            return instruction, holders
    return None
