"""The text of a marker's arguments: what GCC spells is read, what is not known is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.errors import UnsupportedBuild
from latency.target.arguments import Argument, argument


def register(name: str, size: int = 8, signed: bool = False, shift: int = 0) -> Argument:
    return Argument(size, signed, memory=False, base=name, shift=shift)


def memory(
    value: int, base: str = "", index: str = "", scale: int = 1, size: int = 8, signed: bool = False
) -> Argument:
    return Argument(size, signed, True, value, base, index, scale)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        # of Debian's CPython 3.9.2 to 3.15.2
        ("8@%rbp", register("rbp")),
        ("-8@%r14", register("r14", signed=True)),
        ("-4@%r14d", register("r14", 4, True)),
        ("-4@%eax", register("rax", 4, True)),
        ("-4@112(%rsp)", memory(112, "rsp", size=4, signed=True)),
        ("-4@-292(%rbp)", memory(-292, "rbp", size=4, signed=True)),
        # what else sys/sdt.h can make of "nor"
        ("4@$5", Argument(4, False, memory=False, value=5)),
        ("-4@$-1", Argument(4, True, memory=False, value=-1)),
        ("8@$0x10", Argument(8, False, memory=False, value=16)),
        ("8@$18446744073709551615", Argument(8, False, memory=False, value=-1)),
        ("8@$-9223372036854775808", Argument(8, False, memory=False, value=-(1 << 63))),
        ("1@%al", register("rax", 1)),
        ("-1@%ah", register("rax", 1, True, 8)),
        ("2@%cx", register("rcx", 2)),
        ("1@%sil", register("rsi", 1)),
        ("1@%r8b", register("r8", 1)),
        ("2@%r15w", register("r15", 2)),
        ("4@%rdx", register("rdx", 4)),  # the lower half of a wider register
        ("1@%bpl", register("rbp", 1)),
        ("8@(%rax)", memory(0, "rax")),
        ("8@-16(%rbp)", memory(-16, "rbp")),
        ("8@8(%rax,%rdx)", memory(8, "rax", "rdx")),
        ("8@(%rax,%rdx,8)", memory(0, "rax", "rdx", 8)),
        ("8@8(,%r9,4)", memory(8, "", "r9", 4)),
        ("8@16+8(%rsp)", memory(24, "rsp")),
    ],
)
def test_every_form_of_gcc_is_read(text: str, found: Argument) -> None:
    assert argument(text, 0) == found


def test_arguments_are_counted_from_zero() -> None:
    text = "8@%rdi -4@%esi 4@$7"
    assert [argument(text, number).size for number in range(3)] == [8, 4, 4]
    with pytest.raises(UnsupportedBuild, match="no arg3: the marker has 3"):
        argument(text, 3)
    with pytest.raises(UnsupportedBuild, match="no arg0"):
        argument("", 0)


@pytest.mark.parametrize(
    "text",
    [
        "8@counter(%rip)",  # a symbol
        "8@counter",
        "8@$counter",
        "8@0(%rip)",
        "8@%fs:16",
        "8@%fs:(%rax)",
        "8f@%xmm0",
        "8@%xmm0",
        "16@%rax",
        "3@%rax",
        "8@%eax",  # the upper half is not said to be zero
        "4@%al",
        "%rax",  # no size
        "8@",
        "@%rax",
        "8@%rax,",
        "8@(%rax",
        "8@()",
        "8@(%eax)",
        "8@(%rax,%rsp)",
        "8@(%rax,%rdx,3)",
        "8@99999999999(%rax)",
        "8@$99999999999999999999",
        "8@010(%rax)",
        "8@$\u0665",
    ],
)
def test_what_is_not_known_is_refused_by_its_spelling(text: str) -> None:
    with pytest.raises(UnsupportedBuild, match="cannot read") as refused:
        argument(text, 0)
    assert repr(text) in str(refused.value)
    assert refused.value.hint


@given(st.text(alphabet="-@$%()0123456789abcdefgilprsx,:+ ", max_size=24), st.integers(0, 3))
def test_no_text_of_a_file_is_more_than_refused(text: str, number: int) -> None:
    try:
        found = argument(text, number)
    except UnsupportedBuild:
        return
    assert found.size in (1, 2, 4, 8)
    assert -(1 << 63) <= found.value < 1 << 63
