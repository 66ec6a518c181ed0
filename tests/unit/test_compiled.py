"""Functions that are C: how they are told, and named."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from latency.cpython.compiled import compiled_to_c, extension_modules, remark
from latency.cpython.functions import LiveFunction
from latency.cpython.offsets import load
from latency.recording import Function
from latency.target.maps import parse

OFFSETS = load((3, 12, 0), "x86_64")
EMPTY, LONG = 0x9000, 0xA000


def live(address: int, qualname: str) -> LiveFunction:
    return LiveFunction(address, Function(qualname, "f.py", 1), "")


class Memory:
    """Of code objects: (their constants, their names) by address."""

    def __init__(self, codes: dict[int, tuple[int, int]]) -> None:
        self.words = {EMPTY + OFFSETS["var.size"]: 0, LONG + OFFSETS["var.size"]: 1}
        for address, (consts, names) in codes.items():
            self.words |= {address + OFFSETS["code.consts"]: consts, address + OFFSETS["code.names"]: names}

    def read_many(self, addresses: list[int], size: int) -> list[bytes | None]:
        return [struct.pack("<Q", self.words[it]) if it in self.words else None for it in addresses]


def test_only_a_named_function_without_constants_and_names_is_c() -> None:
    both = {0x1000: (EMPTY, EMPTY), 0x2000: (LONG, EMPTY), 0x3000: (EMPTY, LONG), 0x4000: (EMPTY, EMPTY)}
    memory: Any = Memory(both)
    lives = [live(0x1000, "Api.get"), live(0x2000, "f"), live(0x3000, "g"), live(0x4000, "f.<locals>.<listcomp>")]
    lives.append(live(0x5000, "freed"))
    assert compiled_to_c(memory, OFFSETS, lives) == lives[:1]


@pytest.mark.parametrize(("count", "said"), [(1, ", as f0 is"), (2, ", as f0, f1 are"), (7, ", f4, … are")])
def test_a_few_are_named(count: int, said: str) -> None:
    assert remark([live(number, f"f{number}") for number in range(count)]).endswith(said)
    assert remark([]) == ""


def test_extension_modules_are_told_by_their_files() -> None:
    lines = [
        f"{number}000-{number + 1}000 r-xp 00000000 08:01 {number} {path}"
        for number, path in enumerate(
            [
                "/venv/site-packages/app/views.cpython-311-x86_64-linux-gnu.so",
                "/usr/lib/python3.11/lib-dynload/_ssl.cpython-311-x86_64-linux-gnu.so",
                "/usr/lib/libc.so.6",
                "/venv/site-packages/fast.abi3.so",
            ],
            1,
        )
    ]

    class Mapped:
        def maps(self) -> Any:
            return parse("\n".join(lines))

    process: Any = Mapped()
    assert extension_modules(process) == ["fast", "views"]
