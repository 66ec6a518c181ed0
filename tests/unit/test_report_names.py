"""Names come from a target: nothing in them may move a cursor, reverse a line or flood a report."""

from __future__ import annotations

import tracemalloc
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from latency.report.names import cut, escape


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Api.get", "Api.get"),
        ("<lambda>", "<lambda>"),
        ("größe", "größe"),
        ("計算", "計算"),
        ("[red]x[/]", "[red]x[/]"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\nb\tc\0", "a\\x0ab\\x09c\\x00"),
        ("\x9b2J", "\\x9b2J"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),
        ("\u2028", "\\u2028"),
        ("\udcff", "\\udcff"),
        ("\U000e0001", "\\U000e0001"),
        ("a\u00a0b", "a\\xa0b"),
    ],
)
def test_what_is_hidden_or_harmful_becomes_visible(name: str, shown: str) -> None:
    assert escape(name) == shown


@given(st.text(st.characters(), max_size=200), st.integers(1, 80))
def test_an_escaped_name_is_harmless_and_within_its_limit(name: str, limit: int) -> None:
    shown = escape(name, limit)
    assert cell_len(shown) <= limit
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_a_long_name_loses_its_middle() -> None:
    assert escape("abcdefghijklmnopqrstuvwxyz", 9) == "abcd…wxyz"


def test_wide_characters_are_never_cut_in_half() -> None:
    assert cut("計算計算計算", 7) == "計…算"
    assert cell_len(cut("計算計算計算", 7)) <= 7


def test_a_thousand_combining_marks_are_not_one_character() -> None:
    assert len(escape("a" + "\u0301" * 1000, 20)) == 20


def test_a_name_of_megabytes_costs_nothing() -> None:
    name = "x\x1b" * 10_000_000
    tracemalloc.start()
    try:
        assert len(escape(name, 40)) <= 40
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 100_000  # only its ends are looked at
