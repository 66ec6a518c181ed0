"""Where clang keeps the frame while it uses its register for something else: on handlers made up here."""

from __future__ import annotations

from pathlib import Path

import pytest

from latency.cpython.offsets import load
from latency.cpython.sites import Place, SitePlan
from latency.cpython.sites.handlers import home_of_frames
from latency.tracing.counted.parameters import cflags
from tests.unit.made_handlers import made_handlers

LOADS, LOADS_ANOTHER = "488b6c2410", "488b6c2418"  # mov rbp, [rsp + 0x10]; mov rbp, [rsp + 0x18]


def home(directory: Path, code: str, frame: str = "rbp") -> Place | None:
    return home_of_frames(made_handlers(directory, {"NOP": f"{code} c3"}, frame=frame))


def test_a_word_from_which_the_register_is_loaded_again_and_again_is_the_frames_home(tmp_path: Path) -> None:
    assert home(tmp_path, 16 * LOADS + 3 * LOADS_ANOTHER) == Place("rsp", (0x10,))


@pytest.mark.parametrize(
    ("code", "frame"),
    [
        (15 * LOADS, "rbp"),
        (8 * LOADS + 8 * LOADS_ANOTHER, "rbp"),
        (16 * "488b5c2410", "rbp"),  # another register
        (16 * "488b6b10", "rbp"),  # mov rbp, [rbx + 0x10]
        (16 * LOADS, "rsp+16"),
        (16 * "488b5d10", "rbx"),  # mov rbx, [rbp + 0x10], and rbp is no frame pointer
        ("", "rbp"),
    ],
    ids=["a few", "several words", "another register", "no stack", "a frame on the stack", "no frame pointer", "none"],
)
def test_otherwise_it_has_none(tmp_path: Path, code: str, frame: str) -> None:
    assert home(tmp_path, code, frame) is None


def test_beside_a_frame_pointer_it_is_known(tmp_path: Path) -> None:
    assert home(tmp_path, "4889e5" + 16 * "488b5d10", "rbx") == Place("rbp", (0x10,))  # mov rbp, rsp


def test_the_program_is_told_of_a_home_only_where_there_is_one() -> None:
    plan = SitePlan("watch", (), {"entry.frame": Place("rbp"), "entry.home": Place("rsp", (16,))}, "oparg")
    flags = cflags(load((3, 13, 5)), plan, every_function=False)
    assert {"-DPYLAT_ENTRY_HOME=152", "-DPYLAT_ENTRY_HOME_LOADS=1", "-DPYLAT_ENTRY_HOME_AT=16"} <= set(flags)
