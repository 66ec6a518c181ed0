"""Where a USDT marker's arguments are: the text of its note (``"8@%rdi -4@112(%rsp)"``) as data.

sys/sdt.h gives GCC the constraint "nor": an argument is a constant, at a place in memory, or in a register, and the
note holds the assembler's own spelling of it. What is not spelled as these are on x86-64 is refused, never guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from latency.errors import UnsupportedBuild

_NUMBER = r"[+-]?(?:0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})"
_ARGUMENT = re.compile(r"(?P<sign>-?)(?P<size>[1248])@(?P<place>.+)")
_CONSTANT = re.compile(rf"\$(?P<value>{_NUMBER})")
_REGISTER = re.compile(r"%(?P<name>[a-z0-9]{2,5})")
_MEMORY = re.compile(
    rf"(?P<displacement>{_NUMBER}(?:[+-][0-9]{{1,10}})*)?"
    r"\((?:%(?P<base>[a-z0-9]{2,3}))?(?:,%(?P<index>[a-z0-9]{2,3})(?:,(?P<scale>[1248]))?)?\)"
)
_WORD = 1 << 64
_NUMBERED = {"": 8, "d": 4, "w": 2, "b": 1}
_LEGACY = {"a": "rax", "b": "rbx", "c": "rcx", "d": "rdx"}
_POINTERS = {"si": "rsi", "di": "rdi", "bp": "rbp", "sp": "rsp"}


def _names() -> dict[str, tuple[str, int, int]]:
    """Assembler name -> (64-bit register, size in bytes, where it begins in it in bits)."""
    found: dict[str, tuple[str, int, int]] = {}
    for letter, register in _LEGACY.items():
        found |= {register: (register, 8, 0), f"e{letter}x": (register, 4, 0), f"{letter}x": (register, 2, 0)}
        found |= {f"{letter}l": (register, 1, 0), f"{letter}h": (register, 1, 8)}
    for name, register in _POINTERS.items():
        found |= {register: (register, 8, 0), f"e{name}": (register, 4, 0), name: (register, 2, 0)}
        found[f"{name}l"] = (register, 1, 0)
    for number in range(8, 16):
        register = f"r{number}"
        found |= {f"{register}{part}": (register, size, 0) for part, size in _NUMBERED.items()}
    return found


_REGISTERS = _names()


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument: the sum of ``value``, ``base`` and ``index`` times ``scale``, or what memory holds there.

    Attributes:
        size: in bytes: 1, 2, 4 or 8.
        signed: whether it is extended to 64 bits by its sign.
        memory: whether the sum is an address.
        value: a constant or a displacement, signed.
        base, index: 64-bit registers such as ``"rax"``, or ``""``.
        shift: where it begins in a register, in bits (8 for %ah).
    """

    size: int
    signed: bool
    memory: bool
    value: int = 0
    base: str = ""
    index: str = ""
    scale: int = 1
    shift: int = 0


def argument(text: str, number: int) -> Argument:
    """One argument of a marker.

    Args:
        text: all of them, as the note has them.
        number: which, from 0.

    Raises:
        UnsupportedBuild: there are fewer, or it is spelled in a way that is not known: a symbol, a segment, a
            floating-point register.
    """
    spelled = text.split()
    if number >= len(spelled):
        raise UnsupportedBuild(
            f"there is no arg{number}: the marker has {len(spelled)} arguments", "its arguments count from arg0"
        )
    found = _parsed(spelled[number])
    if found is None:
        raise UnsupportedBuild(
            f"arg{number} of the marker is spelled {spelled[number]!r}, which pylat cannot read",
            "constants, general registers and memory at these can be read; take another argument",
        )
    return found


def _parsed(spelled: str) -> Argument | None:
    match = _ARGUMENT.fullmatch(spelled)
    if match is None:
        return None
    size, signed, place = int(match["size"]), bool(match["sign"]), match["place"]
    if constant := _CONSTANT.fullmatch(place):
        value = _number(constant["value"])
        return None if value is None else Argument(size, signed, memory=False, value=value)
    if register := _REGISTER.fullmatch(place):
        return _in_register(size, signed, register["name"])
    memory = _MEMORY.fullmatch(place)
    return _in_memory(size, signed, memory) if memory else None


def _in_register(size: int, signed: bool, name: str) -> Argument | None:
    known = _REGISTERS.get(name)
    # A narrower name than the size would leave the upper bits to chance; a wider one holds it in its lower bits.
    if known is None or known[1] < size:
        return None
    return Argument(size, signed, memory=False, base=known[0], shift=known[2])


def _in_memory(size: int, signed: bool, memory: re.Match[str]) -> Argument | None:
    registers = []
    for name in (memory["base"], memory["index"]):
        known = _REGISTERS.get(name) if name else ("", 8, 0)
        if known is None or known[1] != 8:  # %rip too: what belongs to it is a symbol
            return None
        registers.append(known[0])
    if not any(registers) or registers[1] == "rsp":
        return None
    value = 0
    for part in re.findall(_NUMBER, memory["displacement"] or ""):
        number = _number(part)
        if number is None:
            return None
        value += number
    if not -(1 << 31) <= value < 1 << 31:  # what an x86-64 instruction can have
        return None
    return Argument(size, signed, True, value, registers[0], registers[1], int(memory["scale"] or 1))


def _number(text: str) -> int | None:
    """The signed 64-bit value of an assembler's number, or None if it has more bits."""
    digits = text.lstrip("+-")
    if not digits.lower().startswith("0x") and len(digits) > 1 and digits.startswith("0"):
        return None  # octal to the assembler; no compiler writes it
    value = int(digits, 0) * (-1 if text.startswith("-") else 1)
    if not -(_WORD >> 1) <= value < _WORD:
        return None
    return value - _WORD if value >= _WORD >> 1 else value
