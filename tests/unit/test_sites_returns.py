"""Where a returned value is: followed through machine code from the exit site to ``ret``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import capstone
import pytest

from latency.cpython.offsets import load
from latency.cpython.sites import Role, Site, returns

NEW, OLD = (3, 9, 0), (3, 6, 0)
# mov rdx, r15; xor esi, esi; mov rdi, rbp; call +0; add rsp, 8; ret
CHECKED = "4c89fa 31f6 4889ef e800000000 4883c408 c3"


class Machine:
    """Machine code from address 0 on, as ``Code`` gives it."""

    def __init__(self, text: str) -> None:
        disassembler = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        disassembler.detail = True
        self._steps = {step.address: step for step in disassembler.disasm(bytes.fromhex(text), 0)}

    def at(self, address: int) -> Any:
        return self._steps[address]

    def straight(self, address: int, *, limit: int) -> Any:
        for _ in range(limit):
            if address not in self._steps:
                return
            yield self._steps[address]
            address += self._steps[address].size


def returned(text: str, site: int = 0, version: tuple[int, int, int] = NEW) -> Any:
    return returns._returned(Machine(text), 0, site, version)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("4c89f8 5b c3", ("register", "r15")),  # mov rax, r15; pop rbx; ret
        ("488b442420 c3", ("stack", 32)),  # mov rax, [rsp + 32]; ret
        ("4989c7 4c89f8 c3", ("register", "rax")),  # mov r15, rax; mov rax, r15; ret
        ("4d85ff 7404 4c89f8 c3 31c0 c3", ("register", "r15")),  # or nothing, on the other way
        (CHECKED, ("register", "r15")),
    ],
)
def test_what_becomes_the_result_is_followed_back_to_the_site(text: str, where: Any) -> None:
    assert returned(text) == where


@pytest.mark.parametrize(
    "text",
    [
        "5b 488b442420 c3",  # pop rbx; mov rax, [rsp + 32]: no longer the site's stack pointer
        "488b03 c3",  # mov rax, [rbx]
        "31c0 c3",  # xor eax, eax
        "e800000000 c3",  # the result of a call that is given no NULL
        "4d85ff 7404 4c89f8 c3 4c89f0 c3",  # r15 on one way, r14 on the other
    ],
)
def test_what_is_not_one_thing_is_not_guessed(text: str) -> None:
    assert returned(text) is None


def test_a_zero_that_was_put_there_before_the_site_counts() -> None:
    # xor esi, esi; then the site: call; ret
    assert returned("31f6 e800000000 c3", site=2) == ("register", "rdx")
    assert returned("31f6 e800000000 c3", site=2, version=OLD) is None


def test_the_order_of_arguments_is_that_of_the_version() -> None:
    # xor edi, edi; call; ret: to 3.8 there is no thread state before the NULL
    assert returned("31ff e800000000 c3", version=OLD) == ("register", "rsi")


def test_a_call_of_the_function_that_checks_results_needs_no_zero_to_be_known_by() -> None:
    # manylinux 3.10: the site is the call itself
    code: Any = Machine("e800000000 c3")
    assert returns._returned(code, 0, 0, NEW) is None
    assert returns._returned(code, 0, 0, NEW, checks=5) == ("register", "rdx")
    assert returns._returned(code, 0, 0, OLD, checks=5) == ("register", "rsi")
    assert returns._returned(code, 0, 0, NEW, checks=6) is None


STORES_UNIT, STORES_TOP = "4c895538", "894540"  # mov [rbp + 0x38], r10; mov [rbp + 0x40], eax
ASKS = "807d4600 7501 90 c3"  # cmp byte [rbp + 0x46], 0; jne: the site


@pytest.mark.parametrize(
    ("text", "name", "stored"),
    [
        (f"{STORES_UNIT} {STORES_TOP} {ASKS}", "RETURN_VALUE", True),
        (f"{STORES_UNIT} {ASKS}", "RETURN_VALUE", False),
        (f"{STORES_UNIT} {ASKS}", "INSTRUMENTED_RETURN_CONST", True),
        (f"{STORES_TOP} {ASKS}", "RETURN_CONST", False),
        (f"{STORES_UNIT} 7403 {STORES_TOP} {ASKS}", "RETURN_VALUE", False),  # je over the store
        (f"{STORES_UNIT} 7401 c3 {STORES_TOP} {ASKS}", "RETURN_VALUE", True),  # je over a ret
        (f"{STORES_UNIT} {STORES_TOP} c3", "RETURN_VALUE", False),  # the site is not reached
    ],
    ids=["both", "no top", "a constant", "no unit", "only on one way", "the other way ends", "elsewhere"],
)
def test_a_value_in_a_frame_can_be_found_if_all_ways_to_the_site_store_where_it_lies(
    text: str, name: str, stored: bool
) -> None:
    code: Any = Machine(text)
    address = next((at for at, step in code._steps.items() if step.mnemonic == "jne"), 0x1000)
    site = Site(Role.RETURN, name, address, address, 0, "jne", emulated=True)
    assert returns._is_stored(code, site, load((3, 13, 5))) is stored


def test_a_build_whose_exit_sites_differ_is_refused() -> None:
    plan = SimpleNamespace(engine="eval", of=lambda role: iter(()))
    image: Any = SimpleNamespace(name="python")
    with pytest.raises(returns.UnsupportedBuild, match="does not know"):
        returns.return_place(image, NEW, SimpleNamespace(), plan)  # type: ignore[arg-type]
