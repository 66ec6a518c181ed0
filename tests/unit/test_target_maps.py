"""``/proc/PID/maps`` as data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from latency.target.maps import Mapping, parse

LINE = "55de2075b000-55de20760000 r-xp 00002000 fe:00 260131                     /usr/bin/cat"


def one(line: str) -> Mapping:
    (mapping,) = parse(line + "\n")
    return mapping


def test_every_column_is_read() -> None:
    assert one(LINE) == Mapping(
        start=0x55DE2075B000,
        end=0x55DE20760000,
        readable=True,
        writable=False,
        executable=True,
        private=True,
        offset=0x2000,
        device="fe:00",
        inode=260131,
        path="/usr/bin/cat",
    )


def test_anonymous_memory_has_no_path() -> None:
    assert one("7f0000000000-7f0000001000 rw-p 00000000 00:00 0 ").path == ""


def test_size_is_in_bytes() -> None:
    assert one(LINE).size == 0x5000


def test_the_end_is_not_within() -> None:
    mapping = one(LINE)
    assert mapping.start in mapping
    assert mapping.end not in mapping


@pytest.mark.parametrize(
    ("text", "path", "deleted"),
    [
        ("/usr/bin/cat (deleted)", "/usr/bin/cat", True),
        ("/memfd:code (deleted)", "/memfd:code", True),
        ("/a file with spaces", "/a file with spaces", False),
        (r"/two\012lines", "/two\nlines", False),
        ("/ends in blank ", "/ends in blank ", False),
    ],
)
def test_paths_lose_the_marks_of_the_kernel_and_nothing_else(text: str, path: str, deleted: bool) -> None:
    mapping = one(LINE.replace("/usr/bin/cat", text))
    assert (mapping.path, mapping.deleted) == (path, deleted)


def test_shared_memory_is_not_private() -> None:
    assert not one(LINE.replace("r-xp", "rw-s")).private


def test_a_line_that_is_no_mapping_is_passed_over() -> None:
    assert len(parse(f"Size: 4 kB\n{LINE}\nzz-zz r-xp 0 0:0 0\n\n")) == 1


def test_the_whole_of_a_real_process_is_parsed() -> None:
    text = Path(f"/proc/{os.getpid()}/maps").read_text()
    assert len(parse(text)) == len(text.splitlines())
